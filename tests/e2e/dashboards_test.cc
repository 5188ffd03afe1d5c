// The dashboards against what the daemon exports, and against a real Prometheus that scrapes a real
// daemon.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "tests/e2e/monitoring_names.h"
#include "tests/support/certificates.h"
#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/process.h"
#include "tests/support/prometheus.h"
#include "tests/support/servers.h"

namespace transship::testing {
namespace {

const std::filesystem::path monitoring_folder{TRANSSHIP_SOURCE_DIR "/monitoring"};

std::map<std::string, nlohmann::json> dashboards() {
  std::map<std::string, nlohmann::json> all;
  for (const auto& entry : std::filesystem::directory_iterator(monitoring_folder / "dashboards")) {
    if (entry.path().extension() != ".json") continue;
    all[entry.path().stem()] = nlohmann::json::parse(read_file(entry.path()));
  }
  return all;
}

// The panels that ask something; the others are headings.
std::vector<nlohmann::json> panels_of(const nlohmann::json& dashboard) {
  std::vector<nlohmann::json> panels;
  for (const auto& panel : dashboard["panels"]) {
    if (panel["type"] != "row") panels.push_back(panel);
  }
  return panels;
}

// What Grafana puts in the place of the variables.
std::string filled_in(std::string query) {
  const std::vector<std::pair<std::string, std::string>> values{
      {"$__rate_interval", "1m"}, {"$job", ".*"},         {"$instance", ".*"},
      {"$region", ".*"},          {"$target", "eu-west"}, {"$rule", ".*"}};
  for (const auto& [name, value] : values) {
    for (std::size_t at = query.find(name); at != std::string::npos; at = query.find(name, at)) {
      query.replace(at, name.size(), value);
    }
  }
  EXPECT_EQ(query.find('$'), std::string::npos) << "a variable without a value: " << query;
  return query;
}

TEST(Dashboards, EachPanelHasAUnitALegendAndLinksThatLeadSomewhere) {
  const auto sections = headings_of(read_file(monitoring_folder / "RUNBOOK.md"));
  ASSERT_EQ(dashboards().size(), 3u);
  for (const auto& [name, dashboard] : dashboards()) {
    std::set<std::string> variables;
    for (const auto& variable : dashboard["templating"]["list"]) variables.insert(variable["name"]);
    EXPECT_TRUE(variables.contains("datasource") && variables.contains("job")) << name;
    for (const auto& panel : panels_of(dashboard)) {
      const std::string title = name + ": " + panel["title"].get<std::string>();
      EXPECT_FALSE(panel["fieldConfig"]["defaults"]["unit"].get<std::string>().empty()) << title;
      EXPECT_FALSE(panel["fieldConfig"]["defaults"]["thresholds"]["steps"].empty()) << title;
      EXPECT_EQ(panel["datasource"]["uid"], "${datasource}") << title;
      for (const auto& target : panel["targets"]) {
        if (panel["type"] == "timeseries") {
          EXPECT_FALSE(target["legendFormat"].get<std::string>().empty()) << title;
        }
      }
      for (const auto& link : panel.value("links", nlohmann::json::array())) {
        const std::string url = link["url"];
        EXPECT_TRUE(url.starts_with("${runbook}#")) << title;
        EXPECT_TRUE(sections.contains(url.substr(url.find('#') + 1))) << title << ": " << url;
      }
    }
  }
}

TEST(Dashboards, TheyShowEveryMetricThatThereIsAndNoOther) {
  const auto exported = exported_metrics();
  std::set<std::string> shown;
  for (const auto& [name, dashboard] : dashboards()) {
    for (const auto& panel : panels_of(dashboard)) {
      for (const auto& target : panel["targets"]) {
        for (const std::string& metric : metrics_in(target["expr"])) {
          EXPECT_TRUE(exported.contains(metric)) << name << " asks for " << metric;
          shown.insert(metric);
        }
      }
    }
  }
  for (const std::string& family : families_of(exposition_of_everything())) {
    EXPECT_TRUE(shown.contains(family) || shown.contains(family + "_bucket"))
        << "no panel shows " << family;
  }
}

TEST(Dashboards, TheReadmeDescribesEveryMetricThatThereIs) {
  const std::string readme = read_file(monitoring_folder / "README.md");
  for (const std::string& family : families_of(exposition_of_everything())) {
    if (family.starts_with("process_")) continue;
    EXPECT_NE(readme.find("`" + family + "`"), std::string::npos) << family;
  }
}

// us-east and eu-west, a daemon, and Prometheus, which has the alert rules too.
class Scraped : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"docker-registry", "openssl", "prometheus", "promtool"}) {
      if (!has_program(program)) GTEST_SKIP() << program << " is not installed";
    }
    const std::uint16_t port = free_port();
    source_.emplace(DockerRegistry::Options{
        fmt::format("http://127.0.0.1:{}/intake/us-east", port), true, 0, {}});
    target_.emplace();
    certificates_.emplace();
    DockerRegistry::Options with_tls;
    with_tls.tls = fmt::format("{{certificate: '{}', key: '{}'}}",
                               certificates_->certificate(Certificates::server),
                               certificates_->key(Certificates::server));
    secure_.emplace(with_tls);
    // {}, {"exp":4102444800} and a signature that is none.
    write_file(files_ / "token", "e30.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln");
    daemon_.emplace(
        TRANSSHIP_PROGRAM,
        fmt::format("registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'}}\n"
                    "  secure: {{url: '{}', tls: {{ca_file: '{}'}}, auth: {{type: basic, "
                    "username: transship, password_file: '{}'}}}}\n"
                    "retry: {{attempts: 2, first_pause: 20ms, longest_pause: 100ms}}\n"
                    "reconcile: {{interval: 1s}}\n"
                    "rules:\n  - {{name: all, source: us-east, targets: [eu-west], "
                    "repositories: '**'}}\n",
                    source_->url(), target_->url(), secure_->url(), certificates_->authority(),
                    (files_ / "token").string()),
        std::vector<std::string>{}, port);
    ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
    prometheus_.emplace(daemon_->url(), monitoring_folder / "alerts/transship.rules.yml");
    ASSERT_TRUE(eventually([&] { return prometheus_->answers("transship_build_info"); }))
        << prometheus_->log();
  }

  // Pushes until the condition holds, so that rates have something to show.
  bool under_load(const std::function<bool()>& condition) {
    return eventually([&] {
      push(source_->url(), "team/app", "latest", make_image(++seed_));
      return condition();
    });
  }

  TemporaryDirectory files_;
  std::optional<Certificates> certificates_;
  std::optional<DockerRegistry> secure_;
  std::optional<DockerRegistry> source_;
  std::optional<DockerRegistry> target_;
  std::optional<DaemonProcess> daemon_;
  std::optional<Prometheus> prometheus_;
  std::uint64_t seed_ = 0;
};

TEST_F(Scraped, EveryQueryOfEveryPanelReturnsData) {
  // An image of which the source has lost a blob by the time that the target can take it makes
  // retries and a dead letter.
  target_->stop();
  const TestImage broken = make_image(1'000'000);
  push(source_->url(), "team/app", "v1", broken);
  const std::string lost = broken.blobs.begin()->first;
  ASSERT_EQ(http("DELETE", source_->url() + "/v2/team/app/blobs/" + lost).status, 202);
  target_->start();
  for (const auto& [name, dashboard] : dashboards()) {
    for (const auto& variable : dashboard["templating"]["list"]) {
      if (variable["type"] != "query") continue;
      const std::string query = variable["definition"];
      const std::string inner = query.substr(13, query.rfind(',') - 13);  // label_values(…, label)
      EXPECT_TRUE(eventually([&] { return prometheus_->answers(filled_in(inner)); })) << query;
    }
    for (const auto& panel : panels_of(dashboard)) {
      for (const auto& target : panel["targets"]) {
        const std::string query = filled_in(target["expr"]);
        EXPECT_TRUE(under_load([&] { return prometheus_->answers(query); }))
            << name << ", " << panel["title"] << ": " << query << "\n"
            << prometheus_->ask(query);
      }
    }
  }
}

TEST_F(Scraped, TheEndsOfCertificatesAndCredentialsAreKnownAndForgotten) {
  const auto end = [&](const std::string& what, const std::string& kind) {
    return daemon_->metric(fmt::format(
        R"(transship_{}_expiry_timestamp_seconds{{kind="{}",registry="secure"}})", what, kind));
  };
  ASSERT_TRUE(eventually([&] { return end("certificate", "server").has_value(); }));
  EXPECT_GT(*end("certificate", "server"), 1e9);
  EXPECT_GT(end("certificate", "ca").value_or(0), 1e9);
  EXPECT_EQ(end("credential", "password"), 4102444800.0);
  EXPECT_EQ(
      daemon_->metric(
          R"(transship_certificate_expiry_timestamp_seconds{kind="server",registry="us-east"})"),
      std::nullopt);
  // Without TLS and a password there is nothing that could end.
  std::string configuration = read_file(daemon_->config_file());
  const std::size_t at = configuration.find("  secure: ");
  configuration.replace(at, configuration.find('\n', at) - at,
                        fmt::format("  secure: {{url: '{}'}}", target_->url()));
  write_file(daemon_->config_file(), configuration);
  daemon_->process().signal(SIGHUP);
  EXPECT_TRUE(eventually([&] { return !end("certificate", "server"); }));
  EXPECT_EQ(end("certificate", "ca"), std::nullopt);
  EXPECT_EQ(end("credential", "password"), std::nullopt);
}

TEST_F(Scraped, TheExpositionAndTheAlertsAreFine) {
  ASSERT_TRUE(under_load([&] {
    return daemon_
               ->metric(R"(transship_images_total{outcome="copied",rule="all",target="eu-west"})")
               .value_or(0) > 0;
  }));
  TemporaryDirectory directory;
  write_file(directory / "metrics", http("GET", daemon_->url() + "/metrics").body);
  const Finished checked =
      run({"sh", "-c", "promtool check metrics < " + (directory / "metrics").string()});
  EXPECT_EQ(checked.exit_code, 0) << checked.output << checked.errors;
  EXPECT_EQ(checked.output + checked.errors, "");

  const auto rules = [&] { return prometheus_->rules(); };
  ASSERT_TRUE(eventually([&] {
    const auto all = rules();
    return !all.empty() && std::all_of(all.begin(), all.end(),
                                       [](const auto& rule) { return rule["health"] == "ok"; });
  })) << nlohmann::json(rules()).dump(1);
  for (const auto& rule : rules()) EXPECT_NE(rule["state"], "firing") << rule["name"];
}

}  // namespace
}  // namespace transship::testing
