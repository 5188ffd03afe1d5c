// What is wrong with a file, each with its exact place: `§` marks where the mistake is to be
// reported.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/reader.h"
#include "tests/unit/config_testing.h"

namespace transship::config {
namespace {

using testing::expect_at_top;
using testing::expect_in_registry;
using testing::expect_in_rule;
using testing::expect_mistakes;

TEST(ConfigMistakesTest, WholeNumbersAndTheirRanges) {
  const std::string none = " is not a whole number, such as 8";
  const std::string range = " is out of range; allowed are 1 to 1000";
  expect_at_top({
      {"transfers: {images: §0}", "images: \"0\"" + range},
      {"transfers: {images: §1001}", "images: \"1001\"" + range},
      {"transfers: {images: §-1}", "images: \"-1\"" + range},
      {"transfers: {images: §99999999999999999999}", "images: \"99999999999999999999\"" + range},
      {"transfers: {images: §many}", "images: \"many\"" + none},
      {"transfers: {images: §1.0}", "images: \"1.0\"" + none},
      {"transfers: {images: §0x10}", "images: \"0x10\"" + none},
      {"transfers: {images: §+8}", "images: \"+8\"" + none},
      {"transfers: {images: §1e2}", "images: \"1e2\"" + none},
      {"transfers: {images: §''}", "images: \"\"" + none},
      {"transfers: {images: §~}", "images: has no value"},
      {"transfers: {images: §[8]}", "images: must be a single value, not a list"},
      {"transfers: {images: §{a: 8}}", "images: must be a single value, not a map"},
      {"transfers: {blobs: §0}", "blobs: \"0\"" + range},
      {"transfers: {blobs: §1001}", "blobs: \"1001\"" + range},
      {"retry: {attempts: §0}", "attempts: \"0\" is out of range; allowed are 1 to 10000"},
      {"retry: {attempts: §10001}", "attempts: \"10001\" is out of range; allowed are 1 to 10000"},
  });
  expect_in_rule({
      {"priority: §2147483648",
       "priority: \"2147483648\" is out of range; allowed are -2147483648 to 2147483647"},
      {"priority: §high", "priority: \"high\"" + none},
  });
}

TEST(ConfigMistakesTest, DurationsAndTheirRanges) {
  const std::string none =
      " is not a duration; write a number and a unit (ms, s, m, h, d), such as 30s or 5m";
  for (const char* text :
       {"30", "s", "30 s", "1h30m", "-1s", "+1s", "1.5s", "30S", "1w", "1y", "0"}) {
    expect_at_top({{fmt::format("transfers: {{stall: §{}}}", text),
                    fmt::format("stall: \"{}\"{}", text, none)}});
  }
  const auto range = [](const char* key, const char* text, const char* allowed) {
    return fmt::format("{}: \"{}\" is out of range; allowed are {}", key, text, allowed);
  };
  expect_at_top({
      {"transfers: {stall: §999ms}", range("stall", "999ms", "1s to 1h")},
      {"transfers: {stall: §61m}", range("stall", "61m", "1s to 1h")},
      {"transfers: {stall: §99999999999999999999d}",
       range("stall", "99999999999999999999d", "1s to 1h")},
      {"transfers: {stall: §213503982334d}", range("stall", "213503982334d", "1s to 1h")},
      {"shutdown: §601s", range("shutdown", "601s", "0s to 10m")},
      {"retry: {first_pause: §9ms}", range("first_pause", "9ms", "10ms to 1h")},
      {"retry: {longest_pause: §2h}", range("longest_pause", "2h", "10ms to 1h")},
      // Multiplied out, it is 2^64 ms and some hours.
      {"reconcile: {interval: §213503982335d}", range("interval", "213503982335d", "1s to 7d")},
      {"reconcile: {interval: §0s}", range("interval", "0s", "1s to 7d")},
      {"reconcile: {interval: §8d}", range("interval", "8d", "1s to 7d")},
      {"reconcile: {closure: §999ms}", range("closure", "999ms", "1s to 90d")},
      {"reconcile: {closure: §91d}", range("closure", "91d", "1s to 90d")},
  });
}

TEST(ConfigMistakesTest, TheLongestPauseIsNotShorterThanTheFirst) {
  expect_at_top({
      {"retry: {first_pause: 2s, longest_pause: §1s}",
       "longest_pause: 1s is shorter than first_pause, 2s"},
      {"retry: {longest_pause: §500ms}",
       "longest_pause: 500ms is shorter than first_pause, 1s where it is left out"},
      {"retry: {first_pause: §10m}",
       "first_pause: 10m is longer than longest_pause, 5m where it is left out"},
      {"retry: {first_pause: §x, longest_pause: 500ms}",
       "first_pause: \"x\" is not a duration; write a number and a unit (ms, s, m, h, d), such as "
       "30s or 5m"},
  });
}

TEST(ConfigMistakesTest, Booleans) {
  for (const char* text : {"yes", "no", "on", "off", "y", "True", "TRUE", "1", "''"}) {
    expect_at_top({{fmt::format("reconcile: {{at_start: §{}}}", text),
                    fmt::format("at_start: \"{}\" is neither true nor false",
                                std::string_view(text) == "''" ? "" : text)}});
  }
  expect_in_rule({{"referrers: §yes", "referrers: \"yes\" is neither true nor false"}});
}

TEST(ConfigMistakesTest, Words) {
  expect_at_top({
      {"log: {level: §inf}",
       "level: \"inf\" is not trace, debug, info, warning or error; did you mean \"info\"?"},
      {"log: {level: §INFO}", "level: \"INFO\" is not trace, debug, info, warning or error"},
      {"log: {format: §xml}", "format: \"xml\" is not auto, journal, text or json"},
      {"bus: {type: §kafka}", "type: \"kafka\" is not journal or jetstream"},
      {"bus: {type: §jetsteam}",
       "type: \"jetsteam\" is not journal or jetstream; did you mean \"jetstream\"?"},
  });
  expect_in_rule({
      {"deletes: §never", "deletes: \"never\" is not ignore or propagate"},
      {"prefetch: §true", "prefetch: \"true\" is not auto, always or never"},
  });
  expect_in_registry({
      {"events: {format: §habor}",
       "format: \"habor\" is not distribution, harbor, cloudevents, ecr, acr, quay, gar or "
       "dockerhub; did you mean \"harbor\"?"},
  });
}

TEST(ConfigMistakesTest, Names) {
  const std::string none =
      " is not a name; write 1 to 63 letters, digits, '_' and '-', a letter or digit first";
  for (const std::string text : {"-a", "_a", "a.b", "a/b", "a b", "é"}) {
    expect_at_top({{"region: §" + text, fmt::format("region: \"{}\"{}", text, none)}});
  }
  expect_at_top(
      {{"region: §\"\"", "region: \"\"" + none},
       {"region: §" + std::string(64, 'a'), "region: \"" + std::string(64, 'a') + "\"" + none},
       {"region: §[a]", "region: must be a single value, not a list"}});
  expect_in_registry({{"region: §a.b", "region: \"a.b\"" + none}});
  expect_mistakes(
      "registries: {a: {url: 'http://a'}, §b.c: {url: 'http://b'}}\n"
      "rules: [{name: §r.1, source: a, targets: b.c, repositories: x}]\n",
      {"registries: \"b.c\"" + none, "name: \"r.1\"" + none});
}

TEST(ConfigMistakesTest, Auth) {
  const std::string types = " is not anonymous, basic, docker_config, credential_helper or ecr";
  expect_in_registry({
      {"auth: §token", "auth: \"token\"" + types},
      {"auth: §docker-config",
       "auth: \"docker-config\"" + types + "; did you mean \"docker_config\"?"},
      {"auth: §basic", "auth: basic needs more: {type: basic, username: …, password_file: …}"},
      {"auth: §credential_helper",
       "auth: credential_helper needs more: {type: credential_helper, helper: …}"},
      {"auth: §~", "auth: has no value"},
      {"auth: §[ecr]", "auth: must be a single value, not a list"},
      {"auth: §{}", "auth: type is missing"},
      {"auth: {type: §x}", "type: \"x\"" + types},
      {"auth: §{type: basic, username: u}", "auth: password_file is missing"},
      {"auth: §{type: basic, password_file: u}", "auth: username is missing"},
      {"auth: {type: basic, username: §'a:b', password_file: /p}",
       "username: \"a:b\" has a colon in it"},
      {"auth: {type: basic, username: §'', password_file: /p}", "username: is empty"},
      {"auth: {type: basic, username: u, password_file: §''}",
       "password_file: is empty; write the path of a file"},
      {"auth: {type: basic, username: u, password_file: /p, §helper: h}",
       "helper: does not belong to auth of type basic"},
      {"auth: {type: basic, username: u, §password: p, password_file: /p}",
       "auth: \"password\" is not a known key"},
      {"auth: §{type: credential_helper}", "auth: helper is missing"},
      {"auth: {type: credential_helper, helper: §../x}",
       "helper: \"../x\" is not a credential helper; write what follows docker-credential-, such "
       "as "
       "ecr-login"},
      {"auth: {type: credential_helper, helper: h, §username: u}",
       "username: does not belong to auth of type credential_helper"},
      {"auth: {type: ecr, §helper: h}", "helper: does not belong to auth of type ecr"},
      {"auth: {type: anonymous, §username: h}",
       "username: does not belong to auth of type anonymous"},
  });
}

TEST(ConfigMistakesTest, TlsAndLimits) {
  const std::string rate =
      " is not a rate; write a number and a unit (B/s, KiB/s, MiB/s, GiB/s, TiB/s), such as "
      "50MiB/s";
  const std::string range = " is out of range; allowed are 1KiB/s and more, below 1048576TiB/s";
  expect_in_registry({
      {"tls: §{cert_file: /c}", "tls: key_file is missing"},
      {"tls: §{key_file: /c}", "tls: cert_file is missing"},
      {"tls: {ca_file: §''}", "ca_file: is empty; write the path of a file"},
      {"tls: §true", "tls: must be a map, not a single value"},
      {"tls: {§insecure: true}", "tls: \"insecure\" is not a known key"},
      {"events: {token_file: §~}", "token_file: has no value"},
      {"limits: {connections: §0}", "connections: \"0\" is out of range; allowed are 1 to 1000"},
      {"limits: {connections: §1001}",
       "connections: \"1001\" is out of range; allowed are 1 to 1000"},
      {"limits: {requests_per_second: §0.09}",
       "requests_per_second: \"0.09\" is out of range; allowed are 0.1 to 100000"},
      {"limits: {requests_per_second: §100000.5}",
       "requests_per_second: \"100000.5\" is out of range; allowed are 0.1 to 100000"},
      {"limits: {requests_per_second: §.nan}",
       "requests_per_second: \".nan\" is not a number, such as 200 or 0.5"},
      {"limits: {requests_per_second: §1e3}",
       "requests_per_second: \"1e3\" is not a number, such as 200 or 0.5"},
      {"limits: {requests_per_second: §5.}",
       "requests_per_second: \"5.\" is not a number, such as 200 or 0.5"},
      {"limits: {upload_rate: §1023B/s}", "upload_rate: \"1023B/s\"" + range},
      {"limits: {upload_rate: §18446744073709551616B/s}",
       "upload_rate: \"18446744073709551616B/s\"" + range},
      {"limits: {upload_rate: §99999999999TiB/s}", "upload_rate: \"99999999999TiB/s\"" + range},
      {"limits: {upload_rate: §16777217TiB/s}", "upload_rate: \"16777217TiB/s\"" + range},
      {"limits: {upload_rate: §50MB/s}", "upload_rate: \"50MB/s\"" + rate},
      {"limits: {upload_rate: §50MiB}", "upload_rate: \"50MiB\"" + rate},
      {"limits: {download_rate: §50 MiB/s}", "download_rate: \"50 MiB/s\"" + rate},
      {"limits: {download_rate: §1.5MiB/s}", "download_rate: \"1.5MiB/s\"" + rate},
  });
  expect_mistakes(
      "registries: {a: {url: 'http://a', tls: §{ca_file: /c}}}\n"
      "rules: [{name: r, source: a, targets: a, repositories: x, rename: y}]\n",
      {"tls: has no meaning with an http:// URL; write https://"});
}

TEST(ConfigMistakesTest, Patterns) {
  expect_in_rule({
      {"repositories: §[]", "repositories: is an empty list"},
      {"repositories: §~", "repositories: has no value"},
      {"repositories: [a, §'***']",
       "repositories: the pattern \"***\" has more than two '*' in a row"},
      {"repositories: §'a b'", "repositories: the pattern \"a b\" has a blank in it"},
      {"repositories: [a, §'!!b']",
       "repositories: the pattern \"!!b\" has more than one leading '!'"},
      {"repositories: [a, §[b]]", "repositories: must be a single value, not a list"},
      {"repositories: [§App]",
       "repositories: \"App\" is not a repository name; write lower-case letters, digits, '.', "
       "'_', "
       "'-' and '/', such as team/app"},
      {"repositories: §[a, '!a']", "repositories: leaves no repository"},
      {"tags: §[]", "tags: is an empty list"},
      {"tags: [v*, §'v[0-9]']",
       "tags: the pattern \"v[0-9]\" has a special character; only *, ? and ** are known"},
      {"tags: [v*, {semver: §'>=y'}]",
       "semver: \"y\" is not a semver range; write comparators such as \">=1.4 <3\", \"^1.2\", "
       "\"~1.2\", "
       "\"1.x\" or \"1.2 - 2.3\", joined by ||"},
      {"tags: {regex: §'a('}", "regex: \"a(\" is not a regular expression: missing ): a("},
      {"tags: [§{semver: '1', regex: 'a'}]", "tags: write either {semver: …} or {regex: …}"},
      {"tags: [§{}]", "tags: write either {semver: …} or {regex: …}"},
      {"tags: [§~]", "tags: has no value"},
      {"tags: [{semver: '1', §glob: a}]", "tags: \"glob\" is not a known key"},
  });
}

TEST(ConfigMistakesTest, Rename) {
  const std::string braces = " has braces around something else than {repository}";
  const std::string same =
      "rename: without {repository} it gives every repository the same name; that is for a rule of "
      "one "
      "repository, named in full";
  expect_in_rule({
      {"rename: §''", "rename: is empty"},
      {"rename: §'" + std::string(256, 'a') + "'", "rename: is longer than 255 characters"},
      {"rename: §'m/{repo}'", "rename: \"m/{repo}\"" + braces},
      {"rename: §'m/{repository'", "rename: \"m/{repository\"" + braces},
      {"rename: §'}{repository}'", "rename: \"}{repository}\"" + braces},
      {"rename: §'M/{repository}'",
       "rename: \"M/{repository}\" makes \"M/sample/app\" of \"sample/app\", which is not a "
       "repository name"},
      {"rename: §'/{repository}'",
       "rename: \"/{repository}\" makes \"/sample/app\" of \"sample/app\", which is not a "
       "repository name"},
      {"rename: §'a'", same},
      {"repositories: [a, b], rename: §'c'", same},
      {"repositories: a*, rename: §'c'", same},
      {"repositories: a, rename: §'C'",
       "rename: \"C\" makes \"C\" of \"a\", which is not a repository name"},
      {"repositories: a, rename: §'{repository}-'",
       "rename: \"{repository}-\" makes \"a-\" of \"a\", which is not a repository name"},
  });
}

}  // namespace
}  // namespace transship::config
