// Mistakes that are in no single value: keys, references, variables, and many at once.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/reader.h"
#include "tests/unit/config_testing.h"

namespace transship::config {
namespace {

using ::testing::ElementsAre;
using testing::expect_mistakes;
using testing::lines_of;
using testing::read;
using testing::Sample;

TEST(ConfigReferencesTest, NamesThatNameNothingOrTwice) {
  expect_mistakes(
      "registries: {us-east: {url: 'http://us'}, eu-west: {url: 'http://eu'}}\n"
      "rules:\n"
      "- {name: a, source: §us-eats, targets: [eu-west, §asia, §eu-west, §[x]], repositories: x}\n"
      "- {name: §a, source: us-east, targets: §[], repositories: x}\n"
      "- name: b\n"
      "  source: us-east\n"
      "  targets:\n"
      "  - eu-west\n"
      "  - §eu-wets\n"
      "  repositories: x\n",
      {"source: \"us-eats\" is no registry of this file; did you mean \"us-east\"?",
       "targets: \"asia\" is no registry of this file", "targets: \"eu-west\" is there twice",
       "targets: must be a single value, not a list",
       "name: the rule \"a\" is there twice, first on line 3", "targets: is an empty list",
       "targets: \"eu-wets\" is no registry of this file; did you mean \"eu-west\"?"});
}

TEST(ConfigReferencesTest, ARuleThatTargetsItsOwnSource) {
  const std::string same = "targets: is the rule's own source; a rename is needed";
  expect_mistakes(
      "registries: {a: {url: 'http://a'}, b: {url: 'http://b'}}\n"
      "rules:\n"
      "- {name: c, source: a, targets: [b, §a], repositories: x}\n"
      "- {name: d, source: a, targets: §a, repositories: 'x/*', rename: '{repository}'}\n"
      "- {name: e, source: a, targets: §a, repositories: x, rename: x}\n"
      "- {name: f, source: a, targets: [b, §a], repositories: '**', rename: 'm/{repository}'}\n",
      {same, same, same,
       "targets: is the rule's own source, and the copies would be copied again: \"x\" becomes "
       "\"m/x\", which repositories match too; exclude them there"});
}

TEST(ConfigReferencesTest, RegistriesWithMistakesCanStillBeNamed) {
  expect_mistakes(
      "rules: [{name: r, source: a, targets: b, repositories: x}]\n"
      "registries:\n"
      "  a: §~\n"
      "  b: {url: §x}\n"
      "  c: §[]\n"
      "  §b: {url: 'http://b'}\n",
      {"registry \"a\": must be a map, not nothing",
       "url: \"x\" is not a URL; write https://HOST or http://HOST, such as "
       "https://registry.example.com",
       "registry \"c\": must be a map, not a list",
       "registries: \"b\" is there twice, first on line 4"});
}

TEST(ConfigReferencesTest, UnknownKeysAndKeysThatAreThereTwice) {
  expect_mistakes(
      "§regoin: eu\n"
      "registries:\n"
      "  us: {url: 'http://us', §Region: us, §<<: {}, §\"${X}\": y}\n"
      "  eu: {url: 'http://eu', limits: {§conections: 3, connections: 4, §connections: 5}}\n"
      "rules:\n"
      "  - name: r\n"
      "    source: us\n"
      "    §target: eu\n"
      "    targets: eu\n"
      "    repositories: x\n"
      "§rules: []\n",
      {"the file: \"regoin\" is not a known key; did you mean \"region\"?",
       "registry \"us\": \"Region\" is not a known key; did you mean \"region\"?",
       "registry \"us\": \"<<\" is not a known key", "registry \"us\": \"${X}\" is not a known key",
       "limits: \"conections\" is not a known key; did you mean \"connections\"?",
       "connections: is there twice, first on line 4",
       "rule: \"target\" is not a known key; did you mean \"targets\"?",
       "rules: is there twice, first on line 5"},
      {{"X", "region"}});
}

TEST(ConfigReferencesTest, WhatIsMissingIsToldAtTheMapThatLacksIt) {
  const std::string registries = "the file: registries is missing";
  const std::string rules = "the file: rules is missing";
  expect_mistakes("§§", {registries, rules});
  expect_mistakes("§§# nothing but a comment\n", {registries, rules});
  expect_mistakes("\n§§region: eu\n", {registries, rules});
  expect_mistakes("registries: §{}\nrules: §[]\n",
                  {"registries: must be a map of 1 to 1000 registries",
                   "rules: must be a list of 1 to 1000 rules"});
  expect_mistakes("§registries:\n§rules:\n", {"registries: must be a map of 1 to 1000 registries",
                                              "rules: must be a list of 1 to 1000 rules"});
  expect_mistakes("registries:\n  a: §{region: x}\nrules:\n  - §§§§§region: x\n",
                  {"registry \"a\": url is missing", "rule: \"region\" is not a known key",
                   "rule: name is missing", "rule: repositories is missing",
                   "rule: source is missing", "rule: targets is missing"});
}

TEST(ConfigReferencesTest, TheFileIsAMap) {
  expect_mistakes("§- a\n", {"the file: must be a map, not a list"});
  expect_mistakes("§text\n", {"the file: must be a map, not a single value"});
  expect_mistakes("registries: {a: {url: 'http://a'}}\nrules: §{name: r}\n",
                  {"rules: must be a list of 1 to 1000 rules"});
  expect_mistakes("registries: {a: {url: 'http://a'}}\nrules: [§r]\n",
                  {"rule: must be a map, not a single value"});
  expect_mistakes(
      "registries: §[a]\nrules: [{name: r, source: §a, targets: §b, repositories: x}]\n",
      {"registries: must be a map of 1 to 1000 registries",
       "source: \"a\" is no registry of this file", "targets: \"b\" is no registry of this file"});
}

TEST(ConfigReferencesTest, VariablesThatAreNotSetOrNotVariables) {
  const auto not_a_variable = [](const char* text) {
    return fmt::format("state: \"{}\" is not a variable; write ${{NAME}}", text);
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"state: §${UNSET}", "state: the variable ${UNSET} is not set"},
      {"state: §/a/${SET}/${UNSET}", "state: the variable ${UNSET} is not set"},
      {"state: §\"${\"", not_a_variable("${")},
      {"state: §\"a${SET\"", not_a_variable("${SET")},
      {"state: §${}", not_a_variable("${")},
      {"state: §${1A}", not_a_variable("${1A")},
      {"state: §${A-B}", not_a_variable("${A-B")},
      {"state: §\"${ SET}\"", not_a_variable("${ SET")},
      {"state: §${EMPTY}", "state: is empty; write the path of a file"},
      {"state: §${LINES}", "state: holds a line break or a control character"},
      {"transfers: {images: §\"${SET}\"}", "images: \"value\" is not a whole number, such as 8"},
      {"state: §${BIG}${BIG}", "state: with ${BIG} filled in, it is longer than 65536 bytes"},
  };
  for (const auto& [text, message] : cases) {
    expect_mistakes(
        Sample{.top = text}.text(), {message},
        {{"SET", "value"}, {"EMPTY", ""}, {"LINES", "a\nb"}, {"BIG", std::string(40'000, 'x')}});
  }
}

TEST(ConfigReferencesTest, AllMistakesAreToldAtOnceInTheFilesOrder) {
  expect_mistakes(
      "log: {level: §loud}\n"
      "rules:\n"
      "  - name: r\n"
      "    source: §asia\n"
      "    targets: [us, §africa]\n"
      "    repositories: [a/**, §'b[c]', §'']\n"
      "    referrers: §maybe\n"
      "    priority: §low\n"
      "registries:\n"
      "  us:\n"
      "    url: §us.example.com\n"
      "    auth: {type: §none}\n"
      "transfers:\n"
      "  stall: §30\n"
      "  §strall: 1s\n"
      "shutdown: §1d\n",
      {"level: \"loud\" is not trace, debug, info, warning or error",
       "source: \"asia\" is no registry of this file",
       "targets: \"africa\" is no registry of this file",
       "repositories: the pattern \"b[c]\" has a special character; only *, ? and ** are known",
       "repositories: the pattern \"\" is empty", "referrers: \"maybe\" is neither true nor false",
       "priority: \"low\" is not a whole number, such as 8",
       fmt::format(
           "url: \"us.example.com\" is not a URL; write https://HOST or http://HOST, such as "
           "https://registry.example.com"),
       "type: \"none\" is not anonymous, basic, docker_config, credential_helper or ecr",
       fmt::format("stall: \"30\" is not a duration; write a number and a unit (ms, s, m, h, d), "
                   "such as 30s or 5m"),
       "transfers: \"strall\" is not a known key; did you mean \"stall\"?",
       "shutdown: \"1d\" is out of range; allowed are 0s to 10m"});
}

TEST(ConfigReferencesTest, AMistakeInAnAliasIsToldOnce) {
  EXPECT_THAT(
      lines_of(read("registries:\n"
                    "  us: {url: 'http://us', limits: &l {connections: 0}}\n"
                    "  eu: {url: 'http://eu', limits: *l}\n"
                    "rules: [{name: r, source: us, targets: eu, repositories: x}]\n")),
      ElementsAre("t.yaml:2:51: connections: \"0\" is out of range; allowed are 1 to 1000"));
}

}  // namespace
}  // namespace transship::config
