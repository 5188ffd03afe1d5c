#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <optional>

#include "replicator/base/error.h"
#include "replicator/base/pace.h"

namespace transship::registry {

// When the next request may go to one registry: as often as the configuration allows, and less
// often after the registry asked for less (429, 503). Then everyone waits as long as it says and
// goes on at half the pace; for each second without a refusal a bit faster, until it is as it was.
class Throttle {
 public:
  // `requests_per_second`: 0 is no limit. A Retry-After that is longer than `longest_wait` is cut.
  Throttle(double requests_per_second, std::chrono::milliseconds longest_wait);

  // Waits for a request's turn.
  asio::awaitable<void> turn();
  // The registry asks for less.
  void refused(std::optional<std::chrono::milliseconds> retry_after);
  // It answered anything else.
  void accepted();

  // What it allows now; 0 is no limit.
  [[nodiscard]] double requests_per_second() const { return pace_.per_second(); }

 private:
  using Clock = std::chrono::steady_clock;
  void count();

  double configured_;
  std::chrono::milliseconds longest_wait_;
  Pace pace_;
  Clock::time_point not_before_{};
  Clock::time_point changed_{};  // the pace, for the last time
  double full_pace_ = 0;         // what was sent a second when it first refused; 0: not slowed
  // How much is sent: of the second under way, and of the one before.
  Clock::time_point second_{};
  double sent_ = 0;
  double sent_before_ = 0;
};

}  // namespace transship::registry
