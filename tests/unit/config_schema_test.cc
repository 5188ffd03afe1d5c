// The example, the JSON Schema and the reference say what the reader does.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "config/enum_names.h"
#include "config/keys.h"
#include "config/reader.h"
#include "config/values.h"
#include "tests/unit/config_testing.h"

namespace transship::config {
namespace {

using nlohmann::json;
using testing::contents_of;
using testing::environment_of;
using testing::source_directory;
using Words = std::set<std::string>;

const json& schema() {
  static const json parsed = json::parse(contents_of(source_directory() / "transship.schema.json"));
  return parsed;
}

// The definition that describes a section's map.
const json& definition(std::string_view section) {
  if (section.empty()) return schema();
  static const std::map<std::string_view, std::string> names = {
      {"registries.*", "registry"},      {"registries.*.auth", "auth"},
      {"registries.*.events", "events"}, {"registries.*.tls", "tls"},
      {"registries.*.limits", "limits"}, {"rules[]", "rule"},
      {"rules[].tags[]", "tag"},
  };
  const auto found = names.find(section);
  return schema().at("$defs").at(found == names.end() ? std::string(section) : found->second);
}

TEST(ConfigSchemaTest, HasTheReadersKeysAndNoOthers) {
  for (const auto& [section, words] : keys::all) {
    Words expected(words.begin(), words.end());
    Words described;
    for (const auto& [key, value] : definition(section).at("properties").items())
      described.insert(key);
    EXPECT_EQ(described, expected) << section;
    EXPECT_EQ(definition(section).at("additionalProperties"), false) << section;
    EXPECT_EQ(definition(section).at("type"), "object") << section;
  }
}

void expect_references(const json& node) {
  if (node.is_object() && node.contains("$ref")) {
    const std::string reference = node.at("$ref");
    ASSERT_TRUE(reference.starts_with("#/"));
    EXPECT_TRUE(schema().contains(json::json_pointer(reference.substr(1)))) << reference;
  }
  if (node.is_structured()) {
    for (const json& child : node) expect_references(child);
  }
}

TEST(ConfigSchemaTest, ReferencesLeadSomewhere) { expect_references(schema()); }

TEST(ConfigSchemaTest, RequiresWhatTheReaderRequires) {
  const auto required = [](std::string_view section) {
    return definition(section).value("required", Words{});
  };
  EXPECT_EQ(required(""), (Words{"registries", "rules"}));
  EXPECT_EQ(required("registries.*"), (Words{"url"}));
  EXPECT_EQ(required("registries.*.auth"), (Words{"type"}));
  EXPECT_EQ(required("bus"), (Words{"type"}));
  EXPECT_EQ(required("rules[]"), (Words{"name", "source", "targets", "repositories"}));
}

Words enumeration(std::string_view section, const char* key) {
  return definition(section).at("properties").at(key).at("anyOf").at(0).at("enum");
}

template <class Enum>
Words words_of() {
  Words words;
  for (const auto& [value, word] : enum_names<Enum>) words.emplace(word);
  return words;
}

TEST(ConfigSchemaTest, HasTheReadersWords) {
  EXPECT_EQ(enumeration("registries.*.events", "format"), words_of<EventFormat>());
  EXPECT_EQ(enumeration("rules[]", "deletes"), words_of<Deletes>());
  EXPECT_EQ(enumeration("rules[]", "prefetch"), words_of<Prefetch>());
  EXPECT_EQ(enumeration("log", "level"), words_of<LogLevel>());
  EXPECT_EQ(enumeration("log", "format"), words_of<LogFormat>());
  EXPECT_EQ(enumeration("registries.*.auth", "type"), Words(auth_types.begin(), auth_types.end()));
  EXPECT_EQ(enumeration("bus", "type"), Words(bus_types.begin(), bus_types.end()));
}

TEST(ConfigSchemaTest, HasTheReadersDefaults) {
  const auto of = [](std::string_view section, const char* key) {
    return definition(section).at("properties").at(key).at("default");
  };
  const Config config;
  const Rule rule;
  const JetStreamBus bus;
  const RetryPolicy retry = config.retry.for_daemon();
  EXPECT_EQ(of("", "state"), config.state.string());
  EXPECT_EQ(of("", "shutdown"), format_duration(config.shutdown));
  EXPECT_EQ(of("registries.*.events", "format"), to_string(Events().format));
  EXPECT_EQ(of("registries.*.limits", "connections"), Limits().connections);
  EXPECT_EQ(of("bus", "stream"), bus.stream);
  EXPECT_EQ(of("bus", "subjects"), bus.subjects);
  EXPECT_EQ(of("http", "listen"), to_string(config.http.listen));
  EXPECT_EQ(of("rules[]", "rename"), rule.rename);
  EXPECT_EQ(of("rules[]", "referrers"), rule.referrers);
  EXPECT_EQ(of("rules[]", "deletes"), to_string(rule.deletes));
  EXPECT_EQ(of("rules[]", "prefetch"), to_string(rule.prefetch));
  EXPECT_EQ(of("rules[]", "priority"), rule.priority);
  EXPECT_EQ(of("transfers", "images"), config.transfers.images);
  EXPECT_EQ(of("transfers", "blobs"), config.transfers.blobs);
  EXPECT_EQ(of("transfers", "stall"), format_duration(config.transfers.stall));
  EXPECT_EQ(of("retry", "attempts"), retry.attempts);
  EXPECT_EQ(of("retry", "first_pause"), format_duration(retry.first_pause));
  EXPECT_EQ(of("retry", "longest_pause"), format_duration(retry.longest_pause));
  EXPECT_EQ(of("reconcile", "interval"), format_duration(config.reconcile.interval));
  EXPECT_EQ(of("reconcile", "at_start"), config.reconcile.at_start);
  EXPECT_EQ(of("log", "level"), to_string(config.log.level));
  EXPECT_EQ(of("log", "format"), to_string(config.log.format));
  EXPECT_EQ(of("reconcile", "closure"), "24h");
  EXPECT_EQ(config.reconcile.closure, std::chrono::hours(24));
}

ReadResult example() {
  return read_file(source_directory() / "transship.yaml", environment_of({{"REGION", "eu-west"}}));
}

TEST(ConfigExampleTest, IsValid) {
  const ReadResult config = example();
  ASSERT_TRUE(config) << to_string(config.error().front());
  EXPECT_EQ(config->region, "eu-west");
  EXPECT_TRUE(std::holds_alternative<JetStreamBus>(config->bus));
}

TEST(ConfigExampleTest, ShowsTheDefaultsWhereThereAreSome) {
  const ReadResult config = example();
  ASSERT_TRUE(config);
  const Config defaults;
  EXPECT_EQ(config->http.listen, defaults.http.listen);
  EXPECT_EQ(config->state, defaults.state);
  EXPECT_EQ(config->transfers, defaults.transfers);
  EXPECT_EQ(config->retry.for_daemon(), defaults.retry.for_daemon());
  EXPECT_EQ(config->reconcile, defaults.reconcile);
  EXPECT_EQ(config->shutdown, defaults.shutdown);
  EXPECT_EQ(config->log, defaults.log);
}

TEST(ConfigExampleTest, AndTheReferenceNameEveryKey) {
  const std::string example_text = contents_of(source_directory() / "transship.yaml");
  const std::string reference = contents_of(source_directory() / "README.md");
  for (const auto& [section, words] : keys::all) {
    for (const std::string_view word : words) {
      EXPECT_NE(example_text.find(fmt::format("{}:", word)), std::string::npos)
          << section << " " << word;
      const bool in_reference = reference.find(fmt::format("{}`", word)) != std::string::npos ||
                                reference.find(fmt::format("`{}.", word)) != std::string::npos ||
                                reference.find(fmt::format("{{{}:", word)) != std::string::npos;
      EXPECT_TRUE(in_reference) << section << " " << word;
    }
  }
}

}  // namespace
}  // namespace transship::config
