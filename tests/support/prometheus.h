#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace transship::testing {

// Debian's Prometheus on a free port, which scrapes one server twice a second.
class Prometheus {
 public:
  Prometheus(const std::string& scraped_url, const std::filesystem::path& rules_file);

  // The answer to a query at this moment.
  [[nodiscard]] std::string ask(const std::string& query) const;
  // Whether it has any series for it, and a number.
  [[nodiscard]] bool answers(const std::string& query) const;
  // The alert rules, with their health and state.
  [[nodiscard]] std::vector<nlohmann::json> rules() const;
  [[nodiscard]] std::string log() const { return process_.output(); }

 private:
  std::uint16_t port_;
  TemporaryDirectory directory_;
  Process process_;
};

}  // namespace transship::testing
