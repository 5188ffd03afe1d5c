#include "daemon/page/history.h"

#include <set>

#include "daemon/status.h"

namespace transship {

void History::sample(const std::vector<monitoring::Ledger::Report>& reports, const CopiedOf& copied,
                     monitoring::Time now) {
  std::set<std::pair<std::string, std::string>> reported;
  for (const monitoring::Ledger::Report& report : reports) {
    const std::pair key(report.pair.rule, report.pair.target);
    reported.insert(key);
    Series& series = series_[key];
    series.pair = report.pair;
    series.samples.push_back(
        {report.oldest_pending_seconds, report.pending_images, copied(report.pair)});
    if (series.samples.size() > samples_max) series.samples.pop_front();
  }
  std::erase_if(series_, [&](const auto& entry) { return !reported.contains(entry.first); });
  at_ = now;
}

nlohmann::ordered_json History::report() const {
  using Json = nlohmann::ordered_json;
  Json pairs = Json::array();
  for (const auto& [key, series] : series_) {
    Json behind = Json::array();
    Json pending = Json::array();
    Json images = Json::array();
    Json bytes = Json::array();
    for (const Sample& sample : series.samples) {
      behind.push_back(sample.behind_seconds);
      pending.push_back(sample.pending_images);
      images.push_back(sample.copied.images);
      bytes.push_back(sample.copied.bytes);
    }
    pairs.push_back({{"rule", series.pair.rule},
                     {"source", series.pair.source},
                     {"target", series.pair.target},
                     {"behind_seconds", std::move(behind)},
                     {"pending_images", std::move(pending)},
                     {"images_copied", std::move(images)},
                     {"bytes_copied", std::move(bytes)}});
  }
  return {{"every_seconds", every.count()},
          {"at", series_.empty() ? Json() : Json(rfc3339(at_))},
          {"pairs", std::move(pairs)}};
}

}  // namespace transship
