#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "daemon/placed_tags.h"

namespace transship {

// Stops deletes that look like an accident: where more than `free` tags and more than a tenth of a
// rule's tags at a target would go in one pass, or by events within an hour. Pure decisions; the
// caller brings the time, and remembers what is stopped until an operator lets it go on.
class DeleteBreaker {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::uint64_t free = 10;
  static constexpr std::chrono::hours window{1};

  // Whether so many of so many tags are too many for one pass.
  static bool trips(std::uint64_t gone, std::uint64_t tags) {
    return gone > free && gone * 10 > tags;
  }
  // Why, for people.
  static std::string reason(std::uint64_t gone, std::uint64_t tags);

  // Whether one more tag may go because of an event, where `tags` are there now. Counts it where
  // it may.
  bool allows(const PlacedBy& by, std::uint64_t tags, Time now);
  // One that was allowed did not go after all.
  void take_back(const PlacedBy& by);
  [[nodiscard]] std::uint64_t within_window(const PlacedBy& by) const;
  // An operator has looked: the hour begins anew.
  void reset(const PlacedBy& by) { gone_.erase(by); }

 private:
  std::map<PlacedBy, std::deque<Time>> gone_;  // at most a tenth of the rule's tags each
};

}  // namespace transship
