#include <gtest/gtest.h>

#include <string>

#include "tests/unit/events_fixture.h"

namespace transship::events {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr Dialect dialect = Dialect::harbor;

// clang-format off
constexpr std::string_view tag_push = R"json({"type":"PUSH_ARTIFACT","occur_at":1791188130,"operator":"robot$team+ci","event_data":{"resources":[{"digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","tag":"v1.4.0","resource_url":"harbor.us-east.example.com/team/backend/app:v1.4.0"}],"repository":{"date_created":1790000000,"name":"backend/app","namespace":"team","repo_full_name":"team/backend/app","repo_type":"private"}}})json";
constexpr std::string_view digest_push = R"json({"type":"PUSH_ARTIFACT","occur_at":1791188130,"operator":"robot$team+ci","event_data":{"resources":[{"digest":"sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195","tag":"sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195","resource_url":"harbor.us-east.example.com/team/backend/app@sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195"}],"repository":{"date_created":1790000000,"name":"backend/app","namespace":"team","repo_full_name":"team/backend/app","repo_type":"private"}}})json";
constexpr std::string_view delete_tag = R"json({"type":"DELETE_ARTIFACT","occur_at":1791188130,"operator":"alice","event_data":{"resources":[{"digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","tag":"v1.4.0","resource_url":"harbor.us-east.example.com/team/backend/app:v1.4.0"}],"repository":{"date_created":1790000000,"name":"backend/app","namespace":"team","repo_full_name":"team/backend/app","repo_type":"private"}}})json";
constexpr std::string_view cloud_push = R"json({"specversion":"1.0","id":"7d1f2a30-0000-4000-8000-000000000001","source":"/projects/7/webhook/policies/3","type":"harbor.artifact.pushed","datacontenttype":"application/json","time":"2026-10-05T08:15:30Z","data":{"resources":[{"digest":"sha256:b3e81406e67adfbe9a633f6f2678e49e25b161b6d9843f815b1d0bd8366e807d","tag":"v1.4.0","resource_url":"harbor.us-east.example.com/team/backend/app:v1.4.0"}],"repository":{"date_created":1790000000,"name":"backend/app","namespace":"team","repo_full_name":"team/backend/app","repo_type":"private"}},"operator":"robot$team+ci","requestid":"1b6a0f4e-0000-4000-8000-000000000010"})json";
constexpr std::string_view cloud_delete = R"json({"specversion":"1.0","id":"7d1f2a30-0000-4000-8000-000000000002","source":"/projects/7/webhook/policies/3","type":"harbor.artifact.deleted","datacontenttype":"application/json","time":"2026-10-05T08:15:30Z","data":{"resources":[{"digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","tag":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","resource_url":"harbor.us-east.example.com/team/backend/app@sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71"}],"repository":{"date_created":1790000000,"name":"backend/app","namespace":"team","repo_full_name":"team/backend/app","repo_type":"private"}},"operator":"robot$team+ci","requestid":"1b6a0f4e-0000-4000-8000-000000000010"})json";
constexpr std::string_view pull = R"json({"type":"PULL_ARTIFACT","occur_at":1791188130,"operator":"robot$team+puller","event_data":{"resources":[{"digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","tag":"v1.4.0","resource_url":"harbor.us-east.example.com/team/backend/app:v1.4.0"}],"repository":{"date_created":1790000000,"name":"backend/app","namespace":"team","repo_full_name":"team/backend/app","repo_type":"private"}}})json";
constexpr std::string_view replication = R"json({"type":"REPLICATION","occur_at":1791188140,"operator":"MANUAL","event_data":{"replication":{"harbor_hostname":"harbor.us-east.example.com","job_status":"Success","artifact_type":"image","override_mode":true,"trigger_type":"EVENT_BASED","policy_creator":"admin","execution_timestamp":1791188100,"src_resource":{"registry_type":"harbor","endpoint":"https://harbor.us-east.example.com","namespace":"team"},"dest_resource":{"registry_name":"ap-south","registry_type":"harbor","endpoint":"https://harbor.ap-south.example.com","namespace":"team"},"successful_artifact":[{"type":"image","status":"Success","name_tag":"backend/app:v1.4.0"}]}}})json";
// clang-format on

TEST(EventsHarbor, TagPush) {
  const auto events = read(dialect, tag_push);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(shown(events[0]), name("push team/backend/app:v1.4.0", digest_d05));
  EXPECT_EQ(events[0].time, at_ms(example_ms));
  EXPECT_EQ(events[0].actor, "robot$team+ci");
  EXPECT_EQ(events[0].id, std::nullopt);
  EXPECT_EQ(events[0].media_type, std::nullopt);
}

TEST(EventsHarbor, Examples) {
  EXPECT_EQ(read_shown(dialect, digest_push), Lines{name("push team/backend/app", digest_d91)});
  EXPECT_EQ(read_shown(dialect, delete_tag),
            Lines{name("remove team/backend/app:v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, cloud_push),
            Lines{name("push team/backend/app:v1.4.0", digest_b3e)});
  EXPECT_EQ(read_shown(dialect, cloud_delete), Lines{name("remove team/backend/app", digest_d05)});
  EXPECT_EQ(read_shown(dialect, pull), Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, replication), Lines{"ignored"});
}

TEST(EventsHarbor, CloudEventsFormat) {
  const Event event = read(dialect, cloud_push)[0];
  EXPECT_EQ(event.time, at_ms(example_ms));
  EXPECT_EQ(event.id, "7d1f2a30-0000-4000-8000-000000000001");
  EXPECT_EQ(event.actor, "robot$team+ci");
}

TEST(EventsHarbor, OldNames) {
  EXPECT_EQ(read_shown(dialect, with(std::string(tag_push), "PUSH_ARTIFACT", "pushImage")),
            Lines{name("push team/backend/app:v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, with(std::string(tag_push), "PUSH_ARTIFACT", "deleteImage")),
            Lines{name("remove team/backend/app:v1.4.0", digest_d05)});
  for (const char* other : {"pullImage", "uploadChart", "SCANNING_COMPLETED", "QUOTA_EXCEED",
                            "TAG_RETENTION", "harbor.scan.completed", ""}) {
    EXPECT_EQ(read_shown(dialect, with(std::string(tag_push), "PUSH_ARTIFACT", other)),
              Lines{"ignored"});
  }
}

TEST(EventsHarbor, RepositoryFromItsParts) {
  const std::string push(tag_push);
  EXPECT_EQ(read_shown(dialect, with(push, R"("repo_full_name":"team/backend/app",)", "")),
            Lines{name("push team/backend/app:v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, with(push, R"("repo_full_name":"team/backend/app")",
                                     R"("repo_full_name":null)")),
            Lines{name("push team/backend/app:v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, with(push, R"("repo_full_name":"team/backend/app")",
                                     R"("repo_full_name":7)")),
            Lines{"malformed"});
}

TEST(EventsHarbor, OneResultForEachResource) {
  const std::string two = with(std::string(tag_push), R"("resources":[)",
                               R"("resources":[{"tag":"a"},{"tag":"-"},null,)");
  const auto messages = parse(dialect, two, {});
  expect_carried(dialect, messages);
  ASSERT_EQ(messages.size(), 1U);
  EXPECT_EQ(messages[0].body, two);
  EXPECT_EQ(shown(messages[0].events), (Lines{"push team/backend/app:a", "malformed", "malformed",
                                              name("push team/backend/app:v1.4.0", digest_d05)}));
}

TEST(EventsHarbor, NoResourcesIsMalformed) {
  for (const char* none : {R"({"type":"PUSH_ARTIFACT","event_data":{"resources":[]}})",
                           R"({"type":"PUSH_ARTIFACT","event_data":{"resources":{}}})",
                           R"({"type":"PUSH_ARTIFACT"})", R"({"type":1})", "{}", "[]", "7"}) {
    EXPECT_EQ(read_shown(dialect, none), Lines{"malformed"}) << none;
  }
}

TEST(EventsHarbor, ADigestInPlaceOfATagIsNeverTheWholeRepository) {
  std::string only_tag =
      with(std::string(cloud_delete), with(R"("digest":"DIGEST",)", "DIGEST", digest_d05), "");
  EXPECT_EQ(read_shown(dialect, only_tag), Lines{name("remove team/backend/app", digest_d05)});
}

TEST(EventsHarbor, TimeIsANumber) {
  const std::string push(tag_push);
  const auto time_of = [&](std::string_view written) {
    return read(dialect, with(push, "1791188130", written))[0].time;
  };
  EXPECT_EQ(time_of("1791188130.1239"), at_ms(example_ms + 123));
  EXPECT_EQ(time_of("1.79118813e9"), at_ms(example_ms));
  EXPECT_EQ(time_of("1e999"), std::nullopt);
  EXPECT_EQ(time_of("\"1791188130\""), std::nullopt);
  EXPECT_EQ(time_of("\"2026-10-05T08:15:30Z\""), std::nullopt);
  EXPECT_EQ(time_of("null"), std::nullopt);
}

}  // namespace
}  // namespace transship::events
