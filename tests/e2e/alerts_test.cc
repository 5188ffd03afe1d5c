// The alert rules: checked and tested by promtool, tied to the runbook and to the metrics that
// there are.
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <map>
#include <set>

#include "tests/e2e/monitoring_names.h"
#include "tests/support/process.h"

namespace transship::testing {
namespace {

const std::filesystem::path monitoring_folder{TRANSSHIP_SOURCE_DIR "/monitoring"};
const std::filesystem::path rules_file = monitoring_folder / "alerts/transship.rules.yml";

std::vector<std::filesystem::path> test_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(monitoring_folder / "alerts")) {
    if (entry.path().string().ends_with("_test.yml")) files.push_back(entry.path());
  }
  return files;
}

std::vector<YAML::Node> alerts() {
  std::vector<YAML::Node> all;
  for (const auto& group : YAML::LoadFile(rules_file.string())["groups"]) {
    for (const auto& rule : group["rules"]) all.push_back(rule);
  }
  return all;
}

TEST(Alerts, PromtoolAcceptsAndTestsEachOfThem) {
  if (!has_program("promtool")) GTEST_SKIP() << "promtool is not installed";
  const Finished checked = run({"promtool", "check", "rules", rules_file.string()});
  EXPECT_EQ(checked.exit_code, 0) << checked.output << checked.errors;
  std::vector<std::string> command{"promtool", "test", "rules"};
  for (const auto& file : test_files()) command.push_back(file.string());
  ASSERT_GT(command.size(), 3u);
  const Finished tested = run(command);
  EXPECT_EQ(tested.exit_code, 0) << tested.output << tested.errors;
}

TEST(Alerts, EachIsTestedFiringAndNotFiring) {
  std::map<std::string, std::set<bool>> tested;
  for (const auto& file : test_files()) {
    for (const auto& test : YAML::LoadFile(file.string())["tests"]) {
      for (const auto& look : test["alert_rule_test"]) {
        tested[look["alertname"].as<std::string>()].insert(look["exp_alerts"].size() > 0);
      }
    }
  }
  for (const YAML::Node& alert : alerts()) {
    const auto name = alert["alert"].as<std::string>();
    EXPECT_EQ(tested[name].size(), 2u) << name;
  }
}

TEST(Alerts, EachNamesItsSeverityItsSubjectAndItsSectionOfTheRunbook) {
  const auto sections = headings_of(read_file(monitoring_folder / "RUNBOOK.md"));
  const std::string runbook = read_file(monitoring_folder / "RUNBOOK.md");
  ASSERT_FALSE(alerts().empty());
  for (const YAML::Node& alert : alerts()) {
    const auto name = alert["alert"].as<std::string>();
    const auto severity = alert["labels"]["severity"].as<std::string>();
    EXPECT_TRUE(severity == "critical" || severity == "warning") << name;
    const auto summary = alert["annotations"]["summary"].as<std::string>();
    EXPECT_NE(summary.find("{{ "), std::string::npos) << name;
    const auto url = alert["annotations"]["runbook_url"].as<std::string>();
    EXPECT_TRUE(sections.contains(url.substr(url.find('#') + 1))) << url;
    EXPECT_NE(runbook.find(name), std::string::npos) << "the runbook does not name " << name;
  }
}

TEST(Alerts, TheyUseMetricsThatThereAre) {
  const auto exported = exported_metrics();
  for (const YAML::Node& alert : alerts()) {
    const auto used = metrics_in(alert["expr"].as<std::string>());
    EXPECT_FALSE(used.empty());
    for (const std::string& metric : used) {
      EXPECT_TRUE(exported.contains(metric)) << alert["alert"] << ": " << metric;
    }
  }
}

}  // namespace
}  // namespace transship::testing
