#pragma once

#include <re2/re2.h>

#include <set>
#include <sstream>
#include <string>

#include "monitoring/ledger.h"
#include "monitoring/metrics.h"

// What dashboards, alerts and the runbook refer to, and what there is.
namespace transship::testing {

// The names that a query uses, without what it calls labels and functions.
inline std::set<std::string> metrics_in(const std::string& query) {
  static const RE2 name(R"(\b((?:transship|process)_[a-z_]+))");
  std::set<std::string> names;
  re2::StringPiece rest(query);
  for (std::string found; RE2::FindAndConsume(&rest, name, &found);) names.insert(found);
  return names;
}

// The families that the daemon exports, by the names that they have on /metrics.
inline std::set<std::string> families_of(const std::string& exposition) {
  std::set<std::string> names;
  std::istringstream lines(exposition);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) names.insert(line.substr(7, line.find(' ', 7) - 7));
  }
  return names;
}

// Everything that can be exported, as it is once each kind of thing has happened.
inline std::string exposition_of_everything() {
  monitoring::Metrics metrics("1", "eu");
  monitoring::Ledger ledger;
  const monitoring::Pair pair{"all", "us", "eu"};
  ledger.add_pair(pair);
  metrics.add_pair(pair);
  metrics.add_registry("us");
  metrics.request_done("us", "GET", 200, std::chrono::seconds(1));
  metrics.request_retried("us", "transient");
  metrics.set_certificate_end("us", "ca", monitoring::Time{});
  metrics.set_credential_end("us", "password", monitoring::Time{});
  return metrics.render(ledger, monitoring::Time{});
}

// The names of the series, those of histograms too.
inline std::set<std::string> exported_metrics() {
  std::set<std::string> names;
  for (const std::string& family : families_of(exposition_of_everything())) {
    for (const char* suffix : {"", "_bucket", "_sum", "_count"}) names.insert(family + suffix);
  }
  return names;
}

// The anchors of a Markdown file's headings, as GitHub makes them.
inline std::set<std::string> headings_of(const std::string& markdown) {
  std::set<std::string> anchors;
  std::istringstream lines(markdown);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('#')) continue;
    std::string anchor;
    for (const char c : line.substr(line.find(' ') + 1)) {
      if (std::isalnum(static_cast<unsigned char>(c)) != 0)
        anchor += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      else if (c == ' ' || c == '-')
        anchor += '-';
    }
    anchors.insert(anchor);
  }
  return anchors;
}

}  // namespace transship::testing
