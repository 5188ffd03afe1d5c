#pragma once

#include <asio/awaitable.hpp>
#include <functional>
#include <map>
#include <string>

#include "daemon/retry.h"
#include "replicator/base/task.h"

namespace transship {

// How long to wait before a registry that has not answered `probes` (at least 1) times in a row,
// for `out_for` by now, is asked again: growing as for images, but at most 15 s for the first
// minutes.
std::chrono::milliseconds probe_pause(const config::RetryPolicy& policy, unsigned probes,
                                      std::chrono::milliseconds out_for, Random& random);

// Which registries do not answer. One that is suspected is asked by one probe at a time, whatever
// waits for it: at once, then with growing pauses until it answers.
class Outages {
 public:
  struct Parts {
    std::function<asio::awaitable<Result<void>>(std::string registry)> probe;
    std::function<void(asio::awaitable<void>)> spawn;
    // An outage was found, or is over.
    std::function<void(const std::string& registry, bool out)> changed;
  };
  Outages(asio::any_io_executor executor, config::RetryPolicy policy, Parts parts)
      : policy_(policy), parts_(std::move(parts)), woken_(std::move(executor)) {}

  // A request to it got no answer. Nothing changes where the probe gets one.
  void suspect(const std::string& registry);
  [[nodiscard]] bool is_out(const std::string& registry) const;
  void set_policy(config::RetryPolicy policy) { policy_ = policy; }
  void stop();

 private:
  asio::awaitable<void> probe_until_it_answers(std::string registry);

  config::RetryPolicy policy_;
  Parts parts_;
  Random random_{std::random_device{}()};
  Event woken_;
  std::map<std::string, bool> probed_;  // and whether it is out
  bool stopping_ = false;
};

}  // namespace transship
