#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/fleet.h"
#include "daemon/routes.h"

namespace transship {

// One configuration and what was made of it. It never changes: a reload makes another one, and work
// in flight keeps the one that it began with.
struct Generation {
  // The first one.
  Generation(config::Config its_config, http::Client& client, Observer& observer,
             std::unique_ptr<StateDirectory> state);
  // What did not change is shared with `previous`: registries with their limits, targets with what
  // was learnt.
  Generation(config::Config its_config, const Generation& previous);
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  const config::Config config;
  const Routes routes;
  Fleet fleet;

  // Whoever keeps a generation keeps every later one too. So what a coroutine reads of the present
  // one stays valid across its waits, if only it keeps the one that was there when it began.
  std::shared_ptr<Generation> next = {};
};

// The generation that holds now.
class Generations {
 public:
  explicit Generations(std::shared_ptr<Generation> first) : now_(std::move(first)) {}

  [[nodiscard]] const std::shared_ptr<Generation>& now() const { return now_; }
  [[nodiscard]] const config::Config& config() const { return now_->config; }
  [[nodiscard]] const Routes& routes() const { return now_->routes; }

  void replace(std::shared_ptr<Generation> next) {
    now_->next = next;
    now_ = std::move(next);
  }

 private:
  std::shared_ptr<Generation> now_;
};

// The keys that are read at the start alone and differ: `region`, `http`, `bus`, `state`.
std::vector<std::string> keys_that_need_a_restart(const config::Config& before,
                                                  const config::Config& after);

// The pairs of `after` whose images nobody has compared yet: new, or of a rule that matches or goes
// otherwise, or from or to another place.
std::vector<monitoring::Pair> pairs_that_are_new(const Generation& before, const Generation& after);
// The pairs of `before` that `after` lacks.
std::vector<monitoring::Pair> pairs_that_are_gone(const Generation& before,
                                                  const Generation& after);

}  // namespace transship
