// Every key with a good value and what comes of it. The bad values are in config_mistakes_test.cc.

#include "config/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "config/keys.h"
#include "tests/unit/config_testing.h"

namespace transship::config {
namespace {

using ::testing::ElementsAre;
using testing::read;
using testing::Sample;
using namespace std::chrono_literals;

struct Good {
  std::string key;  // section and key, as in keys.h
  Sample sample;
  std::function<bool(const Config&)> holds;
};

const Registry& us(const Config& config) { return config.registries.front(); }
const Rule& rule(const Config& config) { return config.rules.front(); }
const JetStreamBus& jetstream(const Config& config) { return std::get<JetStreamBus>(config.bus); }

Sample registry(std::string text) { return {.registry = std::move(text)}; }
Sample rule_with(std::string text) { return {.rule = std::move(text)}; }
Sample top(std::string text) { return {.top = std::move(text)}; }

const std::vector<Good>& good_values() {
  static const std::vector<Good> values = {
      {"region", top("region: eu-west"), [](auto& c) { return c.region == "eu-west"; }},
      {"registries", {}, [](auto& c) { return c.registries.size() == 2 && us(c).name == "us"; }},
      {"state", top("state: /s"), [](auto& c) { return c.state == "/s"; }},
      {"rules", {}, [](auto& c) { return c.rules.size() == 1; }},
      {"shutdown", top("shutdown: 0s"), [](auto& c) { return c.shutdown == 0s; }},
      {"shutdown", top("shutdown: 10m"), [](auto& c) { return c.shutdown == 10min; }},

      {"registries.*.url",
       {},
       [](auto& c) { return to_string(us(c).url) == "https://us.example.com"; }},
      {"registries.*.region", registry("region: us_1"),
       [](auto& c) { return us(c).region == "us_1"; }},
      {"registries.*.auth", registry("auth: ecr"),
       [](auto& c) { return us(c).auth == Auth(EcrAuth{}); }},
      {"registries.*.auth", registry("auth: docker_config"),
       [](auto& c) { return us(c).auth == Auth(DockerConfigAuth{}); }},
      {"registries.*.auth", registry("auth: anonymous"),
       [](auto& c) { return us(c).auth == Auth(AnonymousAuth{}); }},
      {"registries.*.auth.type", registry("auth: {type: docker_config}"),
       [](auto& c) { return us(c).auth == Auth(DockerConfigAuth{}); }},
      {"registries.*.auth.type", registry("auth: {type: ecr}"),
       [](auto& c) { return us(c).auth == Auth(EcrAuth{}); }},
      {"registries.*.auth.username",
       registry("auth: {type: basic, username: u, password_file: /p}"),
       [](auto& c) { return us(c).auth == Auth(BasicAuth{"u", "/p"}); }},
      {"registries.*.auth.password_file",
       registry("auth: {type: basic, username: robot$x, password_file: p}"),
       [](auto& c) { return us(c).auth == Auth(BasicAuth{"robot$x", "p"}); }},
      {"registries.*.auth.helper", registry("auth: {type: credential_helper, helper: ecr-login}"),
       [](auto& c) { return us(c).auth == Auth(CredentialHelperAuth{"ecr-login"}); }},
      {"registries.*.events", registry("events: {}"),
       [](auto& c) { return us(c).events == Events{}; }},
      {"registries.*.events.format", registry("events: {format: gar}"),
       [](auto& c) { return us(c).events.format == EventFormat::gar; }},
      {"registries.*.events.token_file", registry("events: {token_file: /t}"),
       [](auto& c) { return us(c).events.token_file == "/t"; }},
      {"registries.*.tls", registry("tls: {}"), [](auto& c) { return us(c).tls == Tls{}; }},
      {"registries.*.tls.ca_file", registry("tls: {ca_file: /ca}"),
       [](auto& c) { return us(c).tls.ca_file == "/ca"; }},
      {"registries.*.tls.cert_file", registry("tls: {cert_file: /c, key_file: /k}"),
       [](auto& c) { return us(c).tls.cert_file == "/c"; }},
      {"registries.*.tls.key_file", registry("tls: {cert_file: /c, key_file: /k}"),
       [](auto& c) { return us(c).tls.key_file == "/k"; }},
      {"registries.*.limits", registry("limits: {}"),
       [](auto& c) { return us(c).limits == Limits{}; }},
      {"registries.*.limits.connections", registry("limits: {connections: 1000}"),
       [](auto& c) { return us(c).limits.connections == 1000; }},
      {"registries.*.limits.requests_per_second", registry("limits: {requests_per_second: 0.1}"),
       [](auto& c) { return us(c).limits.requests_per_second == 0.1; }},
      {"registries.*.limits.requests_per_second", registry("limits: {requests_per_second: 100000}"),
       [](auto& c) { return us(c).limits.requests_per_second == 100000.0; }},
      {"registries.*.limits.upload_rate", registry("limits: {upload_rate: 1KiB/s}"),
       [](auto& c) { return us(c).limits.upload_bytes_per_second == 1024U; }},
      {"registries.*.limits.download_rate", registry("limits: {download_rate: 400MiB/s}"),
       [](auto& c) { return us(c).limits.download_bytes_per_second == 400U << 20; }},

      {"bus", top("bus: {type: journal}"), [](auto& c) { return c.bus == Bus(JournalBus{}); }},
      {"bus.type", top("bus: {type: jetstream, servers: [\"nats://n\"]}"),
       [](auto& c) {
         return c.bus ==
                Bus(JetStreamBus{{"nats://n"}, "REGISTRY_EVENTS", {"registry.events.>"}, {}});
       }},
      {"bus.servers",
       top("bus: {type: jetstream, servers: [\"nats://n:4222\", \"tls://[::1]:1\"]}"),
       [](auto& c) { return jetstream(c).servers.size() == 2; }},
      {"bus.servers", top("bus: {type: jetstream, servers: \"tls://n\"}"),
       [](auto& c) { return jetstream(c).servers.front() == "tls://n"; }},
      {"bus.stream", top("bus: {type: jetstream, servers: \"nats://n\", stream: S-1}"),
       [](auto& c) { return jetstream(c).stream == "S-1"; }},
      {"bus.subjects", top("bus: {type: jetstream, servers: \"nats://n\", subjects: [a.*, b]}"),
       [](auto& c) { return jetstream(c).subjects == std::vector<std::string>{"a.*", "b"}; }},
      {"bus.credentials_file",
       top("bus: {type: jetstream, servers: \"nats://n\", credentials_file: /c}"),
       [](auto& c) { return jetstream(c).credentials_file == "/c"; }},

      {"http", top("http: {}"), [](auto& c) { return c.http == Http{}; }},
      {"http.listen", top("http: {listen: \"[::1]:0\"}"),
       [](auto& c) { return c.http.listen == ListenAddress{"[::1]", 0}; }},
      {"http.listen", top("http: {listen: localhost:65535}"),
       [](auto& c) { return c.http.listen == ListenAddress{"localhost", 65535}; }},
      {"http.listen", top("http: {listen: 127.9.9.9:1}"),
       [](auto& c) { return c.http.listen == ListenAddress{"127.9.9.9", 1}; }},
      {"http.token_file", top("http: {listen: 0.0.0.0:9480, token_file: /t}"),
       [](auto& c) { return c.http.token_file == "/t"; }},

      {"rules[].name", {}, [](auto& c) { return rule(c).name == "r"; }},
      {"rules[].source", {}, [](auto& c) { return rule(c).source == "us"; }},
      {"rules[].targets",
       {},
       [](auto& c) { return rule(c).targets == std::vector<std::string>{"eu"}; }},
      {"rules[].repositories", rule_with("repositories: [\"a/**\", \"!a/b\"]"),
       [](auto& c) {
         return rule(c).repositories.matches("a/c") && !rule(c).repositories.matches("a/b");
       }},
      {"rules[].repositories", rule_with("repositories: a"),
       [](auto& c) { return rule(c).repositories.literal()->front() == "a"; }},
      {"rules[].tags", rule_with("tags: v*"),
       [](auto& c) { return rule(c).tags.matches("v1") && !rule(c).tags.matches("1"); }},
      {"rules[].tags", rule_with("tags: [1.2, latest, \"!x\"]"),
       [](auto& c) { return rule(c).tags.matches("1.2") && rule(c).tags.items().size() == 3; }},
      {"rules[].tags[].semver", rule_with("tags: {semver: \">=1.4 <3\"}"),
       [](auto& c) { return rule(c).tags.matches("v1.4.0") && !rule(c).tags.matches("3.0.0"); }},
      {"rules[].tags[].regex", rule_with("tags: [{regex: \"a+\"}, b]"),
       [](auto& c) { return rule(c).tags.matches("aa") && !rule(c).tags.matches("aab"); }},
      {"rules[].rename", rule_with("rename: \"m/{repository}\""),
       [](auto& c) { return rule(c).target_repository("a/b") == "m/a/b"; }},
      {"rules[].rename", rule_with("repositories: a/b, rename: other"),
       [](auto& c) { return rule(c).target_repository("a/b") == "other"; }},
      {"rules[].referrers", rule_with("referrers: false"),
       [](auto& c) { return !rule(c).referrers; }},
      {"rules[].deletes", rule_with("deletes: propagate"),
       [](auto& c) { return rule(c).deletes == Deletes::propagate; }},
      {"rules[].prefetch", rule_with("prefetch: never"),
       [](auto& c) { return rule(c).prefetch == Prefetch::never; }},
      {"rules[].priority", rule_with("priority: -5"),
       [](auto& c) { return rule(c).priority == -5; }},

      {"transfers", top("transfers: {}"), [](auto& c) { return c.transfers == Transfers{}; }},
      {"transfers.images", top("transfers: {images: 1}"),
       [](auto& c) { return c.transfers.images == 1; }},
      {"transfers.blobs", top("transfers: {blobs: 1000}"),
       [](auto& c) { return c.transfers.blobs == 1000; }},
      {"transfers.stall", top("transfers: {stall: 1h}"),
       [](auto& c) { return c.transfers.stall == 1h; }},
      {"retry", top("retry: {}"), [](auto& c) { return c.retry == Retry{}; }},
      {"retry.attempts", top("retry: {attempts: 10000}"),
       [](auto& c) { return c.retry.attempts == 10000; }},
      {"retry.first_pause", top("retry: {first_pause: 10ms}"),
       [](auto& c) { return c.retry.first_pause == 10ms; }},
      {"retry.longest_pause", top("retry: {first_pause: 1h, longest_pause: 1h}"),
       [](auto& c) { return c.retry.longest_pause == 1h; }},
      {"reconcile", top("reconcile: {}"), [](auto& c) { return c.reconcile == Reconcile{}; }},
      {"reconcile.interval", top("reconcile: {interval: 7d}"),
       [](auto& c) { return c.reconcile.interval == 168h; }},
      {"reconcile.at_start", top("reconcile: {at_start: false}"),
       [](auto& c) { return !c.reconcile.at_start; }},
      {"reconcile.closure", top("reconcile: {closure: 90d}"),
       [](auto& c) { return c.reconcile.closure == 2160h; }},
      {"log", top("log: {}"), [](auto& c) { return c.log == Log{}; }},
      {"log.level", top("log: {level: debug}"),
       [](auto& c) { return c.log.level == LogLevel::debug; }},
      {"log.format", top("log: {format: json}"),
       [](auto& c) { return c.log.format == LogFormat::json; }},
  };
  return values;
}

TEST(ConfigReaderTest, TakesEveryKey) {
  for (const auto& [key, sample, holds] : good_values()) {
    const ReadResult result = read(sample.text());
    ASSERT_TRUE(result) << key << ": " << to_string(result.error().front());
    EXPECT_TRUE(holds(*result)) << key << " in\n" << sample.text();
  }
}

TEST(ConfigReaderTest, TheTableAboveLeavesNoKeyOut) {
  std::set<std::string> tested;
  for (const Good& good : good_values()) tested.insert(good.key);
  for (const auto& [section, words] : keys::all) {
    for (const std::string_view word : words) {
      const std::string key =
          section.empty() ? std::string(word) : fmt::format("{}.{}", section, word);
      EXPECT_TRUE(tested.contains(key)) << key;
    }
  }
}

TEST(ConfigReaderTest, WhatIsLeftOutHasTheDefaultsOfTheContract) {
  const ReadResult result = read(Sample{}.text());
  ASSERT_TRUE(result);
  EXPECT_EQ(result->region, std::nullopt);
  EXPECT_EQ(result->bus, Bus(JournalBus{}));
  EXPECT_EQ(to_string(result->http.listen), "127.0.0.1:9480");
  EXPECT_EQ(result->http.token_file, std::nullopt);
  EXPECT_EQ(result->state, "/var/lib/transship");
  EXPECT_EQ(result->transfers, (Transfers{8, 16, 30s}));
  EXPECT_EQ(result->retry.for_daemon(), (RetryPolicy{8, 1s, 5min}));
  EXPECT_EQ(result->retry.for_one_shot(), (RetryPolicy{3, 1s, 5s}));
  EXPECT_EQ(result->reconcile, (Reconcile{15min, true, 24h}));
  EXPECT_EQ(result->shutdown, 30s);
  EXPECT_EQ(result->log, (Log{LogLevel::info, LogFormat::automatic}));
  const Registry& registry = us(*result);
  EXPECT_EQ(registry.auth, Auth(AnonymousAuth{}));
  EXPECT_EQ(registry.events.format, EventFormat::distribution);
  EXPECT_EQ(registry.limits, (Limits{32, {}, {}, {}}));
  EXPECT_EQ(registry.region, std::nullopt);
  EXPECT_TRUE(rule(*result).tags.matches_everything());
  EXPECT_EQ(rule(*result).target_repository("a/b"), "a/b");
  EXPECT_TRUE(rule(*result).referrers);
  EXPECT_EQ(rule(*result).deletes, Deletes::ignore);
  EXPECT_EQ(rule(*result).prefetch, Prefetch::automatic);
  EXPECT_EQ(rule(*result).priority, 0);
}

TEST(ConfigReaderTest, RetryKeepsWhatWasWrittenForBothKindsOfCommand) {
  const ReadResult result = read(Sample{.top = "retry: {attempts: 5, first_pause: 10s}"}.text());
  ASSERT_TRUE(result);
  EXPECT_EQ(result->retry.for_daemon(), (RetryPolicy{5, 10s, 5min}));
  EXPECT_EQ(result->retry.for_one_shot(), (RetryPolicy{5, 10s, 10s}));
}

TEST(ConfigReaderTest, KeepsTheOrderOfTheFile) {
  const ReadResult result = read(
      "rules:\n"
      "- {name: z, source: c, targets: [b, a], repositories: x}\n"
      "- {name: a, source: c, targets: [b, a], repositories: x}\n"
      "registries: {c: {url: 'http://c'}, b: {url: 'http://b'}, a: {url: 'http://a'}}\n");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->rules[0].name, "z");
  EXPECT_EQ(result->rules[1].name, "a");
  EXPECT_THAT(result->rules[0].targets, ElementsAre("b", "a"));
  EXPECT_EQ(result->registries[0].name, "c");
  EXPECT_EQ(result->registries[2].name, "a");
}

TEST(ConfigReaderTest, FindsRegistriesAndRulesByName) {
  const ReadResult result = read(Sample{}.text());
  ASSERT_TRUE(result);
  EXPECT_EQ(result->find_registry("eu"), &result->registries[1]);
  EXPECT_EQ(result->find_registry("e"), nullptr);
  EXPECT_EQ(result->find_rule("r"), &result->rules[0]);
  EXPECT_EQ(result->find_rule(""), nullptr);
}

TEST(ConfigReaderTest, TwoReadingsAreEqualAndADifferenceShows) {
  const std::string text = Sample{.rule = "tags: [{regex: a}, {semver: ^1}]"}.text();
  EXPECT_EQ(*read(text), *read(text));
  EXPECT_NE(*read(text), *read(Sample{.rule = "tags: [{regex: b}, {semver: ^1}]"}.text()));
  EXPECT_NE(*read(text), *read(text + "state: /s\n"));
}

TEST(ConfigReaderTest, TwoWayRulesAndRulesOfTheSamePairAreSound) {
  EXPECT_TRUE(
      read("registries: {a: {url: 'http://a'}, b: {url: 'http://b'}}\n"
           "rules:\n"
           "- {name: to, source: a, targets: b, repositories: '**'}\n"
           "- {name: fro, source: b, targets: a, repositories: '**'}\n"
           "- {name: again, source: a, targets: b, repositories: x, priority: 1}\n"));
}

TEST(ConfigReaderTest, ARuleMayTargetItsOwnSourceUnderAnotherName) {
  for (const char* rest :
       {"repositories: a, rename: b", "repositories: 'a/*', rename: 'm/{repository}'",
        "repositories: ['a/*', '!a/*', 'm/a/*'], rename: 'm/{repository}'",
        "repositories: ['**', '!m/**'], rename: 'm/{repository}'"}) {
    const auto text = fmt::format(
        "registries: {{a: {{url: 'http://a'}}}}\n"
        "rules: [{{name: r, source: a, targets: a, {}}}]\n",
        rest);
    EXPECT_TRUE(read(text)) << rest;
  }
}

TEST(ConfigReaderTest, ARenameFillsInTheRepositoryWhereverItIsCalledFor) {
  Rule rule;
  rule.rename = "{repository}/of/{repository}";
  EXPECT_EQ(rule.target_repository("a"), "a/of/a");
  EXPECT_EQ(rule.target_repository("{repository}"), "{repository}/of/{repository}");
}

TEST(ConfigReaderTest, FillsInVariablesAndReadsThemAsTheKeysType) {
  const ReadResult result = read(
      "region: ${R}\n"
      "registries: {a: {url: \"https://${HOST}:${PORT}\", limits: {connections: \"${N}\"}}}\n"
      "rules: [{name: \"r-${R}\", source: \"${A}\", targets: b, repositories: x, referrers: "
      "\"${B}\"}]\n"
      "registries: {b: {url: 'http://b'}}\n",
      {{"R", "eu"}});
  EXPECT_FALSE(result);  // a duplicate key, for one
  const ReadResult filled = read(
      "region: ${R}\n"
      "registries:\n"
      "  a: {url: \"https://${HOST}:${PORT}\", limits: {connections: \"${N}\"}}\n"
      "  b: {url: 'http://b'}\n"
      "rules: [{name: \"r-${R}\", source: \"${A}\", targets: b, repositories: x, referrers: "
      "\"${B}\"}]\n"
      "state: $HOME/$$${R}}\n",
      {{"R", "eu"}, {"HOST", "h"}, {"PORT", "1"}, {"N", "7"}, {"A", "a"}, {"B", "false"}});
  ASSERT_TRUE(filled) << to_string(filled.error().front());
  EXPECT_EQ(filled->region, "eu");
  EXPECT_EQ(to_string(filled->registries[0].url), "https://h:1");
  EXPECT_EQ(filled->registries[0].limits.connections, 7);
  EXPECT_EQ(filled->rules[0].name, "r-eu");
  EXPECT_FALSE(filled->rules[0].referrers);
  EXPECT_EQ(filled->state, "$HOME/$$eu}");
}

TEST(ConfigReaderTest, AVariableIsOneValueWhateverItHolds) {
  const ReadResult result =
      read("state: ${S}\n" + Sample{}.text(), {{"S", "/s # {a: b}, [c] ${R} \"'"}});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->state, "/s # {a: b}, [c] ${R} \"'");
}

TEST(ConfigReaderTest, AnAliasNamesTheSameValueAgain) {
  const ReadResult result = read(
      "registries:\n"
      "  us: {url: 'http://us', limits: &l {connections: 3}}\n"
      "  eu: {url: 'http://eu', limits: *l}\n"
      "rules: [{name: r, source: us, targets: eu, repositories: &a [x, y], tags: *a}]\n");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->registries[1].limits.connections, 3);
  EXPECT_TRUE(result->rules[0].tags.matches("y"));
}

TEST(ConfigReaderTest, ReadsAFile) {
  const auto path = std::filesystem::temp_directory_path() / "transship-config-reader-test.yaml";
  std::ofstream(path) << "\xEF\xBB\xBF" << Sample{}.text();
  const ReadResult result = read_file(path);
  ASSERT_TRUE(result) << to_string(result.error().front());
  EXPECT_EQ(*result, *read(Sample{}.text()));
  std::ofstream(path) << "state: 1";
  const ReadResult bad = read_file(path);
  ASSERT_FALSE(bad);
  EXPECT_EQ(to_string(bad.error().front()),
            path.string() + ":1:1: the file: registries is missing");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace transship::config
