#include <gtest/gtest.h>

#include <string>

#include "tests/unit/events_fixture.h"

namespace transship::events {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr Dialect dialect = Dialect::quay;

// clang-format off
constexpr std::string_view one_tag = R"json({"repository":"team/app","namespace":"team","name":"app","docker_url":"quay.us-east.example.com/team/app","homepage":"https://quay.us-east.example.com/repository/team/app","updated_tags":["v1.4.0"]})json";
constexpr std::string_view two_tags = R"json({"repository":"team/app","namespace":"team","name":"app","docker_url":"quay.us-east.example.com/team/app","homepage":"https://quay.us-east.example.com/repository/team/app","updated_tags":["v1.4.0","latest"]})json";
constexpr std::string_view build = R"json({"repository":"team/app","namespace":"team","name":"app","docker_url":"quay.us-east.example.com/team/app","homepage":"https://quay.us-east.example.com/repository/team/app","build_id":"f6020c80-0000-4000-8000-000000000001","build_name":"b1","docker_tags":["v1.4.0"],"trigger_kind":"github"})json";
// clang-format on

TEST(EventsQuay, Examples) {
  EXPECT_EQ(read_shown(dialect, one_tag), Lines{"push team/app:v1.4.0"});
  EXPECT_EQ(read_shown(dialect, two_tags), (Lines{"push team/app:v1.4.0", "push team/app:latest"}));
  EXPECT_EQ(read_shown(dialect, build), Lines{"ignored"});
  const Event event = read(dialect, one_tag)[0];
  EXPECT_EQ(event.time, std::nullopt);
  EXPECT_EQ(event.id, std::nullopt);
}

TEST(EventsQuay, SeveralTagsShareTheirMessage) {
  const auto messages = parse(dialect, two_tags, {});
  ASSERT_EQ(messages.size(), 1U);
  EXPECT_EQ(messages[0].body, two_tags);
  EXPECT_EQ(messages[0].events.size(), 2U);
}

TEST(EventsQuay, Repository) {
  EXPECT_EQ(read_shown(dialect, R"({"namespace":"a","name":"b","updated_tags":["t"]})"),
            Lines{"push a/b:t"});
  EXPECT_EQ(read_shown(dialect,
                       R"({"repository":"x/y","namespace":"a","name":"b","updated_tags":["t"]})"),
            Lines{"push x/y:t"});
  EXPECT_EQ(read_shown(dialect, R"({"namespace":"a","updated_tags":["t"]})"), Lines{"malformed"});
}

TEST(EventsQuay, TagsOfOldAndBrokenForms) {
  const auto tags = [](const std::string& written) {
    return read_shown(dialect, R"({"repository":"a/b","updated_tags":)" + written + "}");
  };
  EXPECT_EQ(tags(R"({"t1":"id1","t2":"id2"})"), (Lines{"push a/b:t1", "push a/b:t2"}));
  EXPECT_EQ(tags("[]"), Lines{"ignored"});
  EXPECT_EQ(tags("{}"), Lines{"ignored"});
  EXPECT_EQ(tags("null"), Lines{"ignored"});
  EXPECT_EQ(tags("\"t\""), Lines{"malformed"});
  EXPECT_EQ(
      tags(R"(["t1",5,"",null,"-t","t2"])"),
      (Lines{"push a/b:t1", "malformed", "malformed", "malformed", "malformed", "push a/b:t2"}));
}

TEST(EventsQuay, OtherEvents) {
  for (const char* other : {R"({"repository":"a/b","message":"x"})", R"({"namespace":"a"})",
                            R"({"repository":5})", R"({"repository":"a/b","tags":["t"]})"}) {
    EXPECT_EQ(read_shown(dialect, other), Lines{"ignored"}) << other;
  }
  for (const char* broken : {"{}", "[]", R"({"homepage":"x"})", "\"a\""}) {
    EXPECT_EQ(read_shown(dialect, broken), Lines{"malformed"}) << broken;
  }
}

}  // namespace
}  // namespace transship::events
