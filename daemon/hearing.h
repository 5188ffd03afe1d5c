#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/bus/bus.h"
#include "daemon/generation.h"
#include "daemon/intake.h"
#include "daemon/outages.h"
#include "daemon/status.h"
#include "monitoring/ledger.h"

namespace transship {

// Whether pushes reach us: the bus takes their events, intake refused none, and their source is
// there. While they may not, the ledger's clock stands still, and only a reconciliation after it
// starts it again. No I/O.
class Hearing {
 public:
  struct Parts {
    const Generations& generations;
    const bus::Bus& bus;
    const Intake& intake;
    const Outages& outages;
    const Status& status;
    monitoring::Ledger& ledger;
  };
  explicit Hearing(Parts parts) : parts_(parts) {}

  // Call it now and then; what happened between two calls is noticed by the second. Returns the
  // pairs to reconcile now: their pushes are heard of again.
  std::vector<monitoring::Pair> look(monitoring::Time now);

 private:
  bool bus_was_there();

  Parts parts_;
  std::uint64_t times_lost_ = 0;
  std::uint64_t refused_ = 0;
  monitoring::Time last_look_{};  // that found the bus there all the time
};

}  // namespace transship
