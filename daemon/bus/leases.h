#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "daemon/bus/journal_store.h"

namespace transship::bus {

// Which messages of one consumer are out, and until when: handed out, or handed back with a pause.
// In memory only, and no larger than what is out: everything after furthest() was never handed out
// since the journal was opened.
class Leases {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Everything up to here is out, ready again, or acknowledged.
  [[nodiscard]] Sequence furthest() const { return furthest_; }
  // The oldest message that may go out again.
  [[nodiscard]] std::optional<Sequence> ready() const {
    return ready_.empty() ? std::nullopt : std::optional(*ready_.begin());
  }
  [[nodiscard]] const std::set<Sequence>& all_ready() const { return ready_; }
  // When the next one becomes ready.
  [[nodiscard]] std::optional<Time> next_due() const {
    return by_due_.empty() ? std::nullopt : std::optional(by_due_.begin()->first);
  }

  void hand_out(Sequence sequence, Time until) {
    ready_.erase(sequence);
    furthest_ = std::max(furthest_, sequence);
    set_due(sequence, until);
  }

  // Moves the end of a lease; of a message that is not out (any more) nothing comes.
  void extend(Sequence sequence, Time until) {
    if (due_.contains(sequence)) set_due(sequence, until);
  }

  void acknowledge(Sequence sequence) {
    ready_.erase(sequence);
    const auto out = due_.find(sequence);
    if (out == due_.end()) return;
    by_due_.erase({out->second, sequence});
    due_.erase(out);
  }

  void expire(Time now) {
    while (!by_due_.empty() && by_due_.begin()->first <= now) {
      const Sequence sequence = by_due_.begin()->second;
      by_due_.erase(by_due_.begin());
      due_.erase(sequence);
      ready_.insert(sequence);
    }
  }

 private:
  void set_due(Sequence sequence, Time until) {
    const auto [out, added] = due_.try_emplace(sequence, until);
    if (!added) by_due_.erase({out->second, sequence});
    out->second = until;
    by_due_.emplace(until, sequence);
  }

  Sequence furthest_ = 0;
  std::map<Sequence, Time> due_;
  std::set<std::pair<Time, Sequence>> by_due_;
  std::set<Sequence> ready_;
};

}  // namespace transship::bus
