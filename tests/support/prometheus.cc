#include "tests/support/prometheus.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/support/http.h"

namespace transship::testing {

namespace {

std::string percent_encoded(const std::string& text) {
  std::string encoded;
  for (const char c : text) encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  return encoded;
}

}  // namespace

Prometheus::Prometheus(const std::string& scraped_url, const std::filesystem::path& rules_file)
    : port_(free_port()) {
  const std::string address = scraped_url.substr(scraped_url.find("//") + 2);
  write_file(directory_ / "prometheus.yml",
             fmt::format("global: {{scrape_interval: 500ms, scrape_timeout: 500ms, "
                         "evaluation_interval: 500ms}}\n"
                         "rule_files: ['{}']\n"
                         "scrape_configs:\n"
                         "  - {{job_name: transship, static_configs: [{{targets: ['{}']}}]}}\n",
                         rules_file.string(), address));
  process_ = Process({"prometheus", "--config.file=" + (directory_ / "prometheus.yml").string(),
                      "--storage.tsdb.path=" + (directory_ / "data").string(),
                      fmt::format("--web.listen-address=127.0.0.1:{}", port_), "--log.level=warn"},
                     directory_ / "log");
}

std::string Prometheus::ask(const std::string& query) const {
  return http("GET", fmt::format("http://127.0.0.1:{}/api/v1/query?query={}", port_,
                                 percent_encoded(query)))
      .body;
}

bool Prometheus::answers(const std::string& query) const {
  const auto answer = nlohmann::json::parse(ask(query), nullptr, false);
  return answer.is_object() && answer["status"] == "success" && !answer["data"]["result"].empty();
}

std::vector<nlohmann::json> Prometheus::rules() const {
  const auto answer = nlohmann::json::parse(
      http("GET", fmt::format("http://127.0.0.1:{}/api/v1/rules?type=alert", port_)).body, nullptr,
      false);
  std::vector<nlohmann::json> all;
  if (!answer.is_object()) return all;
  for (const auto& group : answer["data"]["groups"]) {
    for (const auto& rule : group["rules"]) all.push_back(rule);
  }
  return all;
}

}  // namespace transship::testing
