#include <gtest/gtest.h>

#include <string>

#include "tests/unit/events_fixture.h"

namespace transship::events {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr Dialect dialect = Dialect::dockerhub;

// clang-format off
constexpr std::string_view tag_push = R"json({"callback_url":"https://registry.hub.docker.com/u/team/app/hook/0123456789abcdef/","push_data":{"pushed_at":1791188130,"pusher":"cibot","tag":"v1.4.0","images":[],"media_type":"application/vnd.oci.image.index.v1+json"},"repository":{"comment_count":0,"date_created":1700000000,"description":"","dockerfile":"","full_description":"","is_official":false,"is_private":true,"is_trusted":false,"name":"app","namespace":"team","owner":"team","repo_name":"team/app","repo_url":"https://hub.docker.com/r/team/app","star_count":0,"status":"Active"}})json";
// clang-format on

TEST(EventsDockerHub, TagPush) {
  const auto events = read(dialect, tag_push);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(shown(events[0]), "push team/app:v1.4.0");
  EXPECT_EQ(events[0].media_type, image_index);
  EXPECT_EQ(events[0].time, at_ms(example_ms));
  EXPECT_EQ(events[0].actor, "cibot");
  EXPECT_EQ(events[0].id, std::nullopt);
}

TEST(EventsDockerHub, TimeMayHaveAnExponent) {
  EXPECT_EQ(read(dialect, with(std::string(tag_push), "1791188130", "1.417566161e+09"))[0].time,
            at_ms(1'417'566'161'000));
}

TEST(EventsDockerHub, NoTagIsIgnored) {
  const std::string push(tag_push);
  for (const char* none : {"", "\"tag\":\"\",", "\"tag\":null,"}) {
    EXPECT_EQ(read_shown(dialect, with(push, R"("tag":"v1.4.0",)", none)), Lines{"ignored"});
  }
  EXPECT_EQ(read_shown(dialect, with(push, R"("tag":"v1.4.0",)", "\"tag\":5,")),
            Lines{"malformed"});
}

TEST(EventsDockerHub, Repository) {
  const std::string push(tag_push);
  EXPECT_EQ(read_shown(dialect, with(push, R"("repo_name":"team/app",)", "")),
            Lines{"push team/app:v1.4.0"});
  EXPECT_EQ(read_shown(dialect, with(push, R"("repo_name":"team/app")", R"("repo_name":"T")")),
            Lines{"malformed"});
}

TEST(EventsDockerHub, PushDataIsNeeded) {
  for (const char* broken : {"{}", "[]", R"({"push_data":null})", R"({"push_data":[]})"}) {
    EXPECT_EQ(read_shown(dialect, broken), Lines{"malformed"}) << broken;
  }
}

}  // namespace
}  // namespace transship::events
