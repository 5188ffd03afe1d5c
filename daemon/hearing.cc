#include "daemon/hearing.h"

#include <utility>

namespace transship {

// Since the last look, and now.
bool Hearing::bus_was_there() {
  const bool was_lost =
      std::exchange(times_lost_, parts_.bus.times_lost()) != parts_.bus.times_lost();
  const bool refused = std::exchange(refused_, parts_.intake.refused()) != parts_.intake.refused();
  return parts_.bus.connected() && !was_lost && !refused;
}

std::vector<monitoring::Pair> Hearing::look(monitoring::Time now) {
  const bool bus = bus_was_there();
  std::vector<monitoring::Pair> heard_again;
  for (const monitoring::Pair& pair : parts_.generations.routes().pairs()) {
    const bool is_out = parts_.outages.is_out(pair.source);
    monitoring::Time since = bus ? now : last_look_;
    if (is_out) since = std::min(since, parts_.status.last_answer_of(pair.source).value_or(since));
    const auto id = parts_.ledger.add_pair(pair);
    parts_.ledger.set_hearing(id, bus && !is_out, since, now);
    if (parts_.ledger.takes_search(id)) heard_again.push_back(pair);
  }
  if (bus) last_look_ = now;
  return heard_again;
}

}  // namespace transship
