#pragma once

#include <asio/any_io_executor.hpp>
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

// Whether every other request to that registry may end so.
inline bool may_be_outage(const Error& error) {
  return error.unanswered || error.kind == ErrorKind::transient ||
         error.kind == ErrorKind::throttled;
}

// Which registries do not answer, or answer everything with 5xx or 429. One that is suspected is
// asked by one probe at a time, whatever waits for it: at once, then with growing pauses until it
// answers.
class Outages {
 public:
  // What is in doubt: that it answers at all, or that it serves anybody.
  enum class Doubt { answers, serves };
  struct Parts {
    // Asks for what every registry has. Errors: whatever came instead.
    std::function<asio::awaitable<Result<void>>(std::string registry)> probe;
    std::function<void(asio::awaitable<void>)> spawn;
    // An outage was found, or is over. Of one that answers, but with errors alone, the end is tried
    // now and then: it may be that it serves what is wanted, and only the probe not.
    std::function<void(const std::string& registry, bool out)> changed;
  };
  Outages(asio::any_io_executor executor, config::RetryPolicy policy, Parts parts)
      : policy_(policy), parts_(std::move(parts)), woken_(executor), decided_(executor) {}

  // A request to it got no answer, or one that every other may get. Nothing changes where the probe
  // shows better.
  void suspect(const std::string& registry, Doubt doubt = Doubt::serves);
  // The same, and waits for what the first probe shows, for some seconds at most: whether it is, or
  // was, out.
  asio::awaitable<bool> confirm(std::string registry);
  [[nodiscard]] bool is_out(const std::string& registry) const;
  void set_policy(config::RetryPolicy policy) { policy_ = policy; }
  void stop();

 private:
  asio::awaitable<void> probe_until_it_answers(std::string registry, Doubt doubt);

  config::RetryPolicy policy_;
  Parts parts_;
  Random random_{std::random_device{}()};
  Event woken_;
  Event decided_;
  std::map<std::string, bool> probed_;                                     // and whether it is out
  std::map<std::string, std::chrono::steady_clock::time_point> last_out_;  // as a probe showed
  bool stopping_ = false;
};

}  // namespace transship
