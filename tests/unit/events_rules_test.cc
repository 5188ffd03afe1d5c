// The rules that all dialects share, tried on the simplest bodies that show them; and the pieces
// beneath them.

#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "daemon/events/json.h"
#include "daemon/events/time.h"
#include "tests/unit/events_fixture.h"

namespace transship::events {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr std::array all_dialects{Dialect::distribution, Dialect::harbor,   Dialect::cloudevents,
                                  Dialect::ecr,          Dialect::acr,      Dialect::quay,
                                  Dialect::gar,          Dialect::dockerhub};

// A push as `distribution` tells of it, with these in place of its names.
std::string push_of(const std::string& repository, const std::string& tag,
                    const std::string& digest) {
  return R"({"events":[{"action":"push","target":{"mediaType":")" + std::string(image_manifest) +
         R"(","repository":)" + repository + R"(,"tag":)" + tag + R"(,"digest":)" + digest + "}}]}";
}
std::string quoted(const std::string& text) { return '"' + text + '"'; }

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(EventsRules, DialectsHaveTheNamesOfTheConfiguration) {
  for (const Dialect dialect : all_dialects) {
    EXPECT_EQ(dialect_named(to_string(dialect)), dialect);
  }
  EXPECT_EQ(dialect_named("ghcr"), std::nullopt);
}

TEST(EventsRules, RepositoryNames) {
  const auto read_repository = [](const std::string& written) {
    return read_shown(Dialect::distribution, push_of(written, quoted("t"), "null")).at(0);
  };
  for (const std::string good : {"a", "a/b", "a.b/c_d/e__f/g-h/i---j", "0/1", "library/nginx"}) {
    EXPECT_EQ(read_repository(quoted(good)), "push " + good + ":t");
  }
  const std::string long_name = std::string(255, 'a');
  EXPECT_EQ(read_repository(quoted(long_name)), "push " + long_name + ":t");
  for (const std::string& bad :
       {"",   "/",  "a/",  "/a",  "a//b", "A",  "a..b",   "a._b",    "a___b", ".a",
        "a.", "a-", "a b", "a:b", "a@b",  "..", "a/../b", "\\u0000", "a\\nb", "\xC3\xA4"}) {
    EXPECT_EQ(read_repository(quoted(bad)), "malformed") << bad;
  }
  EXPECT_EQ(read_repository(quoted(std::string(257, 'a'))), "malformed");
  for (const char* other : {"null", "5", "[]", "{}", "true", R"("\ud800")"}) {
    EXPECT_EQ(read_repository(other), "malformed") << other;
  }
}

TEST(EventsRules, Tags) {
  const auto read_tag = [](const std::string& written) {
    return read_shown(Dialect::distribution,
                      push_of(quoted("a"), written, quoted(std::string(digest_d05))))
        .at(0);
  };
  for (const std::string good : {"v1", "_", "A.b-c_9", "1"}) {
    EXPECT_EQ(read_tag(quoted(good)), name("push a:" + good, digest_d05));
  }
  EXPECT_EQ(read_tag(quoted(std::string(128, 't'))),
            name("push a:" + std::string(128, 't'), digest_d05));
  for (const char* none : {"null", "\"\""}) {
    EXPECT_EQ(read_tag(none), name("push a", digest_d05)) << none;
  }
  for (const std::string& bad : {".a", "-a", "a/b", "a:b", "a b", "a\\u0000", "\xC3\xA4"}) {
    EXPECT_EQ(read_tag(quoted(bad)), "malformed") << bad;
  }
  EXPECT_EQ(read_tag(quoted(std::string(129, 't'))), "malformed");
  for (const char* other : {"5", "false", "[]", "{}"}) {
    EXPECT_EQ(read_tag(other), "malformed") << other;
  }
  EXPECT_EQ(read_tag(R"("\u0076\u0031")"), name("push a:v1", digest_d05));
}

TEST(EventsRules, Digests) {
  const auto read_digest = [](const std::string& written) {
    return read_shown(Dialect::distribution, push_of(quoted("a"), "null", written)).at(0);
  };
  const std::string sha512 = "sha512:" + std::string(128, '0');
  EXPECT_EQ(read_digest(quoted(sha512)), "push a@" + sha512);
  for (const std::string& bad :
       {"sha256:" + std::string(63, '0'), "sha256:" + std::string(65, '0'),
        "sha256:" + std::string(64, 'A'), "sha512:" + std::string(64, '0'),
        "md5:" + std::string(32, '0'), std::string(64, '0'), "SHA256:" + std::string(64, '0')}) {
    EXPECT_EQ(read_digest(quoted(bad)), "malformed") << bad;
  }
  // A push needs one of the two.
  for (const char* none : {"null", "\"\""}) EXPECT_EQ(read_digest(none), "malformed");
}

TEST(EventsRules, UnknownAndBadOptionalFieldsLoseNothing) {
  const Event event = read(Dialect::distribution, R"({"events":[{"action":"push","id":5,
      "timestamp":7,"new":[{}],"actor":"me","request":{"useragent":["x"]},"target":{
      "mediaType":{},"url":"/v2/a/manifests/t","repository":"a","tag":"t","size":"big"}}],"x":1})")
                          .at(0);
  EXPECT_EQ(everything(event), "push a:t type=- time=- host=- actor=- agent=- id=- ");
}

TEST(EventsRules, WhatIsNotJsonIsMalformed) {
  const std::string good = R"({"events":[]})";
  for (const std::string& broken : {std::string(),
                                    std::string(" "),
                                    std::string("x"),
                                    good + "x",
                                    good + good,
                                    good + " ,",
                                    good.substr(0, good.size() - 1),
                                    std::string("{\"events\":[],}"),
                                    std::string("{'a':1}"),
                                    std::string("{\"a\":\"\xFF\"}"),
                                    std::string("{\"a\":\"\xC0\x80\"}"),
                                    std::string("{\"a\":\"\xED\xA0\x80\"}"),
                                    std::string("{\"a\":\"\xF4\x90\x80\x80\"}"),
                                    std::string("{\"a\":\"\xE2\x82\"}"),
                                    std::string("{\"a\":\"\n\"}"),
                                    std::string("{\"a\":1}\0", 8),
                                    std::string("\xFF\xFE{\0}\0", 6),
                                    std::string("NaN"),
                                    std::string("{\"a\":01}"),
                                    std::string("{\"a\":1.}"),
                                    std::string("{\"a\":+1}"),
                                    std::string("{\"a\":.5}"),
                                    std::string("{\"a\":\"\\x\"}"),
                                    std::string("[1 2]"),
                                    std::string("{\"a\" 1}"),
                                    std::string("{1:1}"),
                                    std::string("[1,]"),
                                    std::string("[,1]"),
                                    std::string("\"\\u12g4\""),
                                    std::string("]"),
                                    std::string("{]")}) {
    for (const Dialect dialect : all_dialects) {
      EXPECT_EQ(read_shown(dialect, broken), Lines{"malformed"}) << to_string(dialect) << broken;
    }
  }
}

TEST(EventsRules, Nesting) {
  const auto with_extra = [](const std::string& extra) {
    return read_shown(Dialect::distribution, R"({"extra":)" + extra + R"(,"events":[]})");
  };
  EXPECT_EQ(with_extra(nested(32)), Lines{});
  EXPECT_EQ(with_extra(nested(511)), Lines{});
  EXPECT_EQ(with_extra(nested(512)), Lines{"malformed"});
  for (const Dialect dialect : all_dialects) {
    EXPECT_EQ(read_shown(dialect, nested(4'000'000)), Lines{"malformed"});
    EXPECT_EQ(read_shown(dialect, std::string(8'000'000, '[')), Lines{"malformed"});
  }
}

TEST(EventsRules, OfTwoMembersOfOneNameTheLastCounts) {
  EXPECT_EQ(read_shown(Dialect::gar, R"({"action":"OTHER","tag":"h/i:t","\u0061ction":"INSERT"})"),
            Lines{"push i:t"});
}

TEST(EventsRules, WhatTheLogSeesIsShortAndPrintable) {
  const std::string type = std::string(1000, 'x') + "\\n";
  const Event event = read(Dialect::harbor, R"({"type":"\u001b)" + type + "\"}").at(0);
  EXPECT_LE(event.detail.size(), 200U);
  for (const char c : event.detail) EXPECT_TRUE(c >= ' ' && c <= '~');
}

TEST(EventsJson, AgreesWithALibrary) {
  std::string problem;
  for (const std::string text : {"[]",
                                 "{}",
                                 " 1 ",
                                 "-0",
                                 "-",
                                 "1e5",
                                 "1e",
                                 "1E+3",
                                 "\"\\ud83d\\ude00\"",
                                 "[[],{}]",
                                 "{\"a\":{\"b\":[1,2,{\"c\":null}]}}",
                                 "true",
                                 "tru",
                                 "nulll",
                                 "\"\\\"\"",
                                 "\"",
                                 "[\"a\",]",
                                 "\xEF\xBB\xBF{}",
                                 "{\"a\":1,\"a\":2}",
                                 "0.5",
                                 "00",
                                 "\"\x7F\"",
                                 "\"\t\""}) {
    EXPECT_EQ(Json::parse(text, 512, &problem).has_value(), nlohmann::json::accept(text)) << text;
  }
}

TEST(EventsJson, FindsAndDecodes) {
  std::string problem;
  const std::string text = R"( {"a" : [ 1 , "x\"]}" , {"b":-1.5e3} ] , "c": "\ud83d\ude00\/" } )";
  const auto json = Json::parse(text, 8, &problem);
  ASSERT_TRUE(json) << problem;
  EXPECT_EQ((*json)["a"].element_count(), 3U);
  std::vector<std::string> sources;
  (*json)["a"].for_each_element([&](const Json& each) { sources.emplace_back(each.source()); });
  EXPECT_EQ(sources, (std::vector<std::string>{"1", R"("x\"]}")", R"({"b":-1.5e3})"}));
  EXPECT_EQ((*json)["c"].text(), "\xF0\x9F\x98\x80/");
  EXPECT_TRUE((*json)["none"]["deeper"].is_missing());
  EXPECT_EQ((*json)["a"].text(), std::nullopt);
}

TEST(EventsTime, Rfc3339) {
  const auto ms = [](std::string_view text) -> std::int64_t {
    const auto time = time_of_rfc3339(text);
    return time ? time->time_since_epoch().count() : -1;
  };
  EXPECT_EQ(ms("2026-10-05T08:15:30Z"), example_ms);
  EXPECT_EQ(ms("2026-10-05T08:15:30.9Z"), example_ms + 900);
  EXPECT_EQ(ms("2026-10-05T08:15:30.999999999Z"), example_ms + 999);
  EXPECT_EQ(ms("2026-10-05T08:15:30.0009Z"), example_ms);
  EXPECT_EQ(ms("2026-10-05T10:15:30.5+02:00"), example_ms + 500);
  EXPECT_EQ(ms("2026-10-04T23:45:30-08:30"), example_ms);
  EXPECT_EQ(ms("2026-10-05t08:15:30z"), example_ms);
  EXPECT_EQ(ms("2028-02-29T00:00:00Z"), 1'835'395'200'000);
  EXPECT_EQ(ms("2016-12-31T23:59:60Z"), ms("2017-01-01T00:00:00Z"));
  for (const char* bad : {"",
                          "2026-10-05",
                          "2026-10-05T08:15:30",
                          "2026-10-05 08:15:30Z",
                          "2026-10-05T08:15Z",
                          "2026-10-05T08:15:30.Z",
                          "2026-10-05T08:15:30.1234567890Z",
                          "2026-10-05T08:15:30+0200",
                          "2026-10-05T08:15:30+02",
                          "2026-13-05T08:15:30Z",
                          "2026-02-29T08:15:30Z",
                          "2026-10-05T24:00:00Z",
                          "2026-10-05T08:60:30Z",
                          "2026-10-05T08:15:61Z",
                          "2026-10-05T08:15:30+24:00",
                          "2026-10-05T08:15:30Zx",
                          " 2026-10-05T08:15:30Z",
                          "26-10-05T08:15:30Z",
                          "2026-10-5T08:15:30Z",
                          "2026-10-05T08:15:30,5Z"}) {
    EXPECT_EQ(ms(bad), -1) << bad;
  }
}

TEST(EventsTime, Epoch) {
  const auto ms = [](std::string_view text) -> std::int64_t {
    const auto time = time_of_epoch(text);
    return time ? time->time_since_epoch().count() : -1;
  };
  EXPECT_EQ(ms("1791188130"), example_ms);
  EXPECT_EQ(ms("1791188130.123"), example_ms + 123);
  EXPECT_EQ(ms("1791188130.9999"), example_ms + 999);
  EXPECT_EQ(ms("1.79118813e9"), example_ms);
  EXPECT_EQ(ms("1.7911881301239e+09"), example_ms + 123);
  EXPECT_EQ(ms("17911881300E-1"), example_ms);
  EXPECT_EQ(ms("0.0017911881309E12"), example_ms + 900);
  EXPECT_EQ(ms("0"), 0);
  EXPECT_EQ(ms("0.0004"), 0);
  EXPECT_EQ(ms("253402300799"), 253'402'300'799'000);
  for (const char* bad : {"253402300800", "1e300", "1e99999999999999999999", "-1", "1e9999999"}) {
    EXPECT_EQ(ms(bad), -1) << bad;
  }
}

}  // namespace
}  // namespace transship::events
