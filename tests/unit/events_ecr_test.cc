#include <gtest/gtest.h>

#include <string>

#include "tests/unit/events_fixture.h"

namespace transship::events {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr Dialect dialect = Dialect::ecr;

// clang-format off
constexpr std::string_view tag_push = R"json({"version":"0","id":"c3d9e850-0000-4000-8000-000000000001","detail-type":"ECR Image Action","source":"aws.ecr","account":"210987654321","time":"2026-10-05T08:15:30Z","region":"us-east-1","resources":[],"detail":{"result":"SUCCESS","repository-name":"team/app","image-digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","action-type":"PUSH","image-tag":"v1.4.0"}})json";
constexpr std::string_view digest_push = R"json({"version":"0","id":"c3d9e850-0000-4000-8000-000000000002","detail-type":"ECR Image Action","source":"aws.ecr","account":"210987654321","time":"2026-10-05T08:15:30Z","region":"us-east-1","resources":[],"detail":{"result":"SUCCESS","repository-name":"team/app","image-digest":"sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195","action-type":"PUSH","manifest-media-type":"application/vnd.oci.image.manifest.v1+json","artifact-media-type":"application/vnd.oci.image.config.v1+json"}})json";
constexpr std::string_view index_push = R"json({"version":"0","id":"c3d9e850-0000-4000-8000-000000000003","detail-type":"ECR Image Action","source":"aws.ecr","account":"210987654321","time":"2026-10-05T08:15:30Z","region":"us-east-1","resources":[],"detail":{"result":"SUCCESS","repository-name":"team/app","image-digest":"sha256:b3e81406e67adfbe9a633f6f2678e49e25b161b6d9843f815b1d0bd8366e807d","action-type":"PUSH","image-tag":"v1.4.0","manifest-media-type":"application/vnd.oci.image.index.v1+json"}})json";
constexpr std::string_view tag_delete = R"json({"version":"0","id":"c3d9e850-0000-4000-8000-000000000004","detail-type":"ECR Image Action","source":"aws.ecr","account":"210987654321","time":"2026-10-05T08:15:30Z","region":"us-east-1","resources":[],"detail":{"result":"SUCCESS","repository-name":"team/app","image-digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","action-type":"DELETE","image-tag":"v1.4.0"}})json";
constexpr std::string_view replicated = R"json({"version":"0","id":"c3d9e850-0000-4000-8000-000000000005","detail-type":"ECR Replication Action","source":"aws.ecr","account":"210987654321","time":"2026-10-05T08:15:30Z","region":"ap-south-1","resources":["arn:aws:ecr:ap-south-1:210987654321:repository/team/app"],"detail":{"result":"SUCCESS","repository-name":"team/app","image-digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","source-account":"210987654321","action-type":"REPLICATE","source-region":"us-east-1","image-tag":"v1.4.0"}})json";
constexpr std::string_view scan = R"json({"version":"0","id":"c3d9e850-0000-4000-8000-000000000006","detail-type":"ECR Image Scan","source":"aws.ecr","account":"210987654321","time":"2026-10-05T08:15:30Z","region":"us-east-1","resources":["arn:aws:ecr:us-east-1:210987654321:repository/team/app"],"detail":{"scan-status":"COMPLETE","repository-name":"team/app","finding-severity-counts":{"HIGH":1},"image-digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","image-tags":["v1.4.0"]}})json";
constexpr std::string_view storage_class = R"json({"version":"0","id":"c3d9e850-0000-4000-8000-000000000007","detail-type":"ECR Image Action","source":"aws.ecr","account":"210987654321","time":"2026-10-05T08:15:30Z","region":"us-east-1","resources":[],"detail":{"action-type":"UPDATE_STORAGE_CLASS","target-storage-class":"ARCHIVE","image-digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","repository-name":"team/app","result":"SUCCESS","manifest-media-type":"application/vnd.oci.image.manifest.v1+json","artifact-media-type":"application/vnd.oci.image.config.v1+json"}})json";
// clang-format on

TEST(EventsEcr, TagPush) {
  const Event event = read(dialect, tag_push).at(0);
  EXPECT_EQ(shown(event), name("push team/app:v1.4.0", digest_d05));
  EXPECT_EQ(event.time, at_ms(example_ms));
  EXPECT_EQ(event.id, "c3d9e850-0000-4000-8000-000000000001");
  EXPECT_EQ(event.media_type, std::nullopt);
  EXPECT_EQ(event.actor, std::nullopt);
}

TEST(EventsEcr, Examples) {
  EXPECT_EQ(read_shown(dialect, digest_push), Lines{name("push team/app", digest_d91)});
  EXPECT_EQ(read(dialect, digest_push)[0].media_type, image_manifest);
  EXPECT_EQ(read_shown(dialect, index_push), Lines{name("push team/app:v1.4.0", digest_b3e)});
  EXPECT_EQ(read(dialect, index_push)[0].media_type, image_index);
  EXPECT_EQ(read_shown(dialect, tag_delete), Lines{name("remove team/app:v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, replicated), Lines{name("push team/app:v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, scan), Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, storage_class), Lines{"ignored"});
}

TEST(EventsEcr, OnlyWhatSucceeded) {
  EXPECT_EQ(read_shown(dialect, with(std::string(tag_push), "SUCCESS", "FAILED")),
            Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, with(std::string(tag_push), R"("result":"SUCCESS",)", "")),
            Lines{"ignored"});
}

TEST(EventsEcr, ActionComesFirst) {
  const std::string push(tag_push);
  EXPECT_EQ(read_shown(dialect, with(push, "aws.ecr", "aws.s3")), Lines{"ignored"});
  for (const char* other : {"ECR Pull Through Cache Action", "ECR Referrer Action", "Other", ""}) {
    EXPECT_EQ(read_shown(dialect, with(push, "ECR Image Action", other)), Lines{"ignored"});
  }
  EXPECT_EQ(read_shown(dialect, with(push, "ECR Image Action", "ECR Replication Action")),
            Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, R"({"source":"aws.ecr","detail-type":"ECR Image Scan"})"),
            Lines{"ignored"});
  for (const char* broken :
       {"{}", "[]", R"({"source":"aws.ecr"})", R"({"source":1,"detail-type":"ECR Image Action"})",
        R"({"source":"aws.ecr","detail-type":null})",
        R"({"source":"aws.ecr","detail-type":"ECR Image Action"})",
        R"({"source":"aws.ecr","detail-type":"ECR Image Action","detail":[]})",
        R"({"source":"aws.ecr","detail-type":"ECR Image Action","detail":{"result":"SUCCESS"}})"}) {
    EXPECT_EQ(read_shown(dialect, broken), Lines{"malformed"}) << broken;
  }
}

TEST(EventsEcr, TagsOfOtherTypesAreMalformed) {
  EXPECT_EQ(read_shown(dialect, with(std::string(tag_push), R"("v1.4.0")", R"(["v1.4.0"])")),
            Lines{"malformed"});
}

}  // namespace
}  // namespace transship::events
