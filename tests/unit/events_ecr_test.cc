#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
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

// clang-format off
constexpr std::string_view confirmation = R"json({"Type":"SubscriptionConfirmation","MessageId":"165545c9-0000-4000-8000-000000000001","Token":"2336412f37","TopicArn":"arn:aws:sns:us-east-1:210987654321:ecr","Message":"You have chosen to subscribe to the topic.","SubscribeURL":"https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-east-1:210987654321:ecr&Token=2336412f37","Timestamp":"2026-10-05T08:00:00.123Z","SignatureVersion":"1","Signature":"c2ln","SigningCertURL":"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-00.pem"})json";
// clang-format on

std::string in_envelope(std::string_view event) {
  return nlohmann::json{{"Type", "Notification"},
                        {"MessageId", "22b80b92-0000-4000-8000-000000000002"},
                        {"TopicArn", "arn:aws:sns:us-east-1:210987654321:ecr"},
                        {"Message", event},
                        {"Timestamp", "2026-10-05T08:15:31.456Z"}}
      .dump();
}

TEST(EventsEcr, InTheEnvelopeOfSns) {
  for (const std::string_view event :
       {tag_push, digest_push, index_push, tag_delete, replicated, scan, storage_class}) {
    const auto bare = read(dialect, event);
    const auto wrapped = read(dialect, in_envelope(event));
    ASSERT_EQ(wrapped.size(), 1U);
    EXPECT_EQ(everything(wrapped[0]), everything(bare[0]));
  }
  // Only one envelope is opened.
  for (const std::string& inner :
       {std::string("not JSON"), std::string(), std::string("{}"), in_envelope(tag_push)}) {
    EXPECT_EQ(read_shown(dialect, in_envelope(inner)), Lines{"malformed"}) << inner;
  }
  EXPECT_EQ(read_shown(dialect, R"({"Type":"Notification"})"), Lines{"malformed"});
  EXPECT_EQ(read_shown(dialect, R"({"Type":"Notification","Message":{}})"), Lines{"malformed"});
  EXPECT_EQ(read_shown(dialect, R"({"Type":"UnsubscribeConfirmation"})"), Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, R"({"Type":5})"), Lines{"malformed"});
  const std::string deep = std::string(600, '[') + std::string(600, ']');
  EXPECT_EQ(read_shown(dialect, in_envelope(deep)), Lines{"malformed"});
}

TEST(EventsEcr, ASubscriptionIsForAPersonToConfirm) {
  const auto events = read(dialect, confirmation);
  ASSERT_EQ(shown(events), Lines{"ignored"});
  EXPECT_EQ(events[0].confirm_at,
            "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn="
            "arn:aws:sns:us-east-1:210987654321:ecr&Token=2336412f37");
  EXPECT_EQ(read(dialect, in_envelope(tag_push))[0].confirm_at, std::nullopt);
  const std::string host = "https://sns.us-east-1.amazonaws.com/";
  for (const char* good :
       {"https://sns.cn-north-1.amazonaws.com.cn/", "https://sns.a.amazonaws.com"}) {
    EXPECT_TRUE(read(dialect, with(std::string(confirmation), host, good))[0].confirm_at) << good;
  }
  for (const char* bad :
       {"http://sns.us-east-1.amazonaws.com/", "https://sns.us-east-1.amazonaws.com.example.com/",
        "https://example.com/", "https://sns.us-east-1.amazonaws.com@example.com/",
        "https://sns.amazonaws.com/", "https://sns..amazonaws.com/",
        "https://sns.x.y.amazonaws.com/", "https://x@sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com:444/", "https://sns.evil.example/.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com/ ", "https://sns.us-east-1.amazonaws.com/<b>", ""}) {
    const auto refused = read(dialect, with(std::string(confirmation), host, bad));
    EXPECT_EQ(shown(refused), Lines{"malformed"}) << bad;
    EXPECT_EQ(refused[0].confirm_at, std::nullopt) << bad;
  }
  EXPECT_EQ(read_shown(dialect, R"({"Type":"SubscriptionConfirmation"})"), Lines{"malformed"});
  const auto long_one = with(std::string(confirmation), host, host + std::string(3000, 'a'));
  EXPECT_EQ(read_shown(dialect, long_one), Lines{"malformed"});
}

}  // namespace
}  // namespace transship::events
