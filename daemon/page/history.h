#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "monitoring/ledger.h"

namespace transship {

// The last hour of every rule and target, for the sparklines of the status page: a page that is
// opened now shows what happened before. In memory alone, bounded, gone with the process.
class History {
 public:
  static constexpr std::chrono::seconds every{15};
  static constexpr std::size_t samples_max = 240;

  // What was copied since the process began.
  struct Copied {
    double images = 0;
    double bytes = 0;  // from the pair's source to its target, by whatever rule
  };
  using CopiedOf = std::function<Copied(const monitoring::Pair&)>;

  // To be called every `every`. Pairs that are not reported any more are forgotten.
  void sample(const std::vector<monitoring::Ledger::Report>& reports, const CopiedOf& copied,
              monitoring::Time now);

  // {every_seconds, at, pairs[{rule, source, target, behind_seconds[], pending_images[],
  // images_copied[], bytes_copied[]}]}, oldest first; `at` is when the last was taken.
  [[nodiscard]] nlohmann::ordered_json report() const;

 private:
  struct Sample {
    double behind_seconds;
    std::uint64_t pending_images;
    Copied copied;
  };
  struct Series {
    monitoring::Pair pair;
    std::deque<Sample> samples;
  };
  std::map<std::pair<std::string, std::string>, Series> series_;  // by rule and target
  monitoring::Time at_{};
};

}  // namespace transship
