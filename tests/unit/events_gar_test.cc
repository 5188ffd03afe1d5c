#include <gtest/gtest.h>

#include <string>

#include "tests/unit/events_fixture.h"

namespace transship::events {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr Dialect dialect = Dialect::gar;

// clang-format off
constexpr std::string_view tag_push = R"json({"action":"INSERT","digest":"us-east1-docker.pkg.dev/acme-prod/images/team/app@sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","tag":"us-east1-docker.pkg.dev/acme-prod/images/team/app:v1.4.0"})json";
constexpr std::string_view digest_push = R"json({"action":"INSERT","digest":"us-east1-docker.pkg.dev/acme-prod/images/team/app@sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195"})json";
constexpr std::string_view tag_delete = R"json({"action":"DELETE","tag":"us-east1-docker.pkg.dev/acme-prod/images/team/app:v1.4.0"})json";
constexpr std::string_view image_delete = R"json({"action":"DELETE","digest":"us-east1-docker.pkg.dev/acme-prod/images/team/app@sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71"})json";
constexpr std::string_view envelope = R"json({"message":{"attributes":{},"data":"eyJhY3Rpb24iOiAiSU5TRVJUIiwgImRpZ2VzdCI6ICJ1cy1lYXN0MS1kb2NrZXIucGtnLmRldi9hY21lLXByb2QvaW1hZ2VzL3RlYW0vYXBwQHNoYTI1NjpkMDVlZDZlYWYxMDhhYjhiMTdiNzQyZTFjYmI3NzUyZTYyZTg0OTQyZGMzYzVmYjRmOWM2ODg0ZmMxMGFlYjcxIiwgInRhZyI6ICJ1cy1lYXN0MS1kb2NrZXIucGtnLmRldi9hY21lLXByb2QvaW1hZ2VzL3RlYW0vYXBwOnYxLjQuMCJ9","messageId":"9876543210123456","message_id":"9876543210123456","publishTime":"2026-10-05T08:15:30.864Z","publish_time":"2026-10-05T08:15:30.864Z"},"subscription":"projects/acme-prod/subscriptions/transship-eu-west"})json";
// clang-format on

constexpr std::string_view repository = "acme-prod/images/team/app";

TEST(EventsGar, Examples) {
  const std::string image(repository);
  EXPECT_EQ(read_shown(dialect, tag_push), Lines{name("push " + image + ":v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, digest_push), Lines{name("push " + image, digest_d91)});
  EXPECT_EQ(read_shown(dialect, tag_delete), Lines{"remove " + image + ":v1.4.0"});
  EXPECT_EQ(read_shown(dialect, image_delete), Lines{name("remove " + image, digest_d05)});
  EXPECT_EQ(read_shown(dialect, envelope), Lines{name("push " + image + ":v1.4.0", digest_d05)});
}

TEST(EventsGar, HostTimeAndId) {
  const Event bare = read(dialect, tag_push)[0];
  EXPECT_EQ(bare.host, "us-east1-docker.pkg.dev");
  EXPECT_EQ(bare.time, std::nullopt);
  EXPECT_EQ(bare.id, std::nullopt);
  const Event wrapped = read(dialect, envelope)[0];
  EXPECT_EQ(wrapped.host, "us-east1-docker.pkg.dev");
  EXPECT_EQ(wrapped.time, at_ms(example_ms + 864));
  EXPECT_EQ(wrapped.id, "9876543210123456");
}

TEST(EventsGar, EitherSpelling) {
  const std::string whole(envelope);
  const Event other =
      read(dialect, with(with(whole, "\"messageId\"", "\"x\""), "\"publishTime\"", "\"y\""))[0];
  EXPECT_EQ(other.time, at_ms(example_ms + 864));
  EXPECT_EQ(other.id, "9876543210123456");
}

TEST(EventsGar, FullReferences) {
  const auto tag = [](const std::string& text) {
    return read_shown(dialect, R"({"action":"INSERT","tag":")" + text + "\"}");
  };
  EXPECT_EQ(tag("host:5000/example.com/p/r/i:t"), Lines{"push example.com/p/r/i:t"});
  EXPECT_EQ(tag("h/i:t"), Lines{"push i:t"});
  for (const char* broken : {"i:t", "/i:t", "h/i", "h/:t", "h:1/i", "h/i:", "h/i@sha256:t", "h/I:t",
                             "h//i:t", "t", ":"}) {
    EXPECT_EQ(tag(broken), Lines{"malformed"}) << broken;
  }
  const auto digest = [](const std::string& text) {
    return read_shown(dialect, R"({"action":"DELETE","digest":")" + text + "\"}");
  };
  EXPECT_EQ(digest(name("h/p/i", digest_d05)), Lines{name("remove p/i", digest_d05)});
  for (const char* broken : {"h/p/i", "h/p/i@", "h/p/i@sha256:12", "@x", "h@/x"}) {
    EXPECT_EQ(digest(broken), Lines{"malformed"}) << broken;
  }
}

TEST(EventsGar, NeitherFieldIsMalformed) {
  for (const char* broken :
       {R"({"action":"INSERT"})", R"({"action":"DELETE"})", R"({"action":"DELETE","tag":""})",
        R"({"action":"INSERT","tag":5,"digest":null})", R"({"tag":"h/i:t"})", "{}", "[]",
        R"({"action":null,"tag":"h/i:t"})"}) {
    EXPECT_EQ(read_shown(dialect, broken), Lines{"malformed"}) << broken;
  }
  EXPECT_EQ(read_shown(dialect, R"({"action":"OTHER","tag":7})"), Lines{"ignored"});
}

TEST(EventsGar, BrokenEnvelopes) {
  for (const char* broken :
       {R"({"message":{}})", R"({"message":null})", R"({"message":5})",
        R"({"message":{"data":"****"}})", R"({"message":{"data":"bm90IEpTT04="}})",
        R"({"message":{"data":5}})", R"({"message":{"data":"e30="}})"}) {
    EXPECT_EQ(read_shown(dialect, broken), Lines{"malformed"}) << broken;
  }
}

}  // namespace
}  // namespace transship::events
