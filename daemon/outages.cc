#include "daemon/outages.h"

#include <fmt/format.h>

#include "daemon/log.h"

namespace transship {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::minutes first_minutes{5};
constexpr std::chrono::seconds longest_pause_at_first{15};

}  // namespace

std::chrono::milliseconds probe_pause(const config::RetryPolicy& policy, unsigned probes,
                                      std::chrono::milliseconds out_for, Random& random) {
  const auto pause = retry_pause(policy, probes, std::nullopt, random);
  if (out_for >= first_minutes) return pause;
  return std::min<std::chrono::milliseconds>(pause, longest_pause_at_first);
}

void Outages::suspect(const std::string& registry) {
  if (stopping_ || !probed_.emplace(registry, false).second) return;
  parts_.spawn(probe_until_it_answers(registry));
}

bool Outages::is_out(const std::string& registry) const {
  const auto found = probed_.find(registry);
  return found != probed_.end() && found->second;
}

void Outages::stop() {
  stopping_ = true;
  woken_.notify();
}

asio::awaitable<void> Outages::probe_until_it_answers(std::string registry) {
  const auto began = Clock::now();
  const auto out_for = [began] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
  };
  for (unsigned probes = 1; !stopping_; ++probes) {
    auto answered = co_await parts_.probe(registry);
    if (answered || !answered.error().unanswered) break;
    if (!std::exchange(probed_[registry], true)) {
      log::warning(fmt::format("{} does not answer; what needs it waits until it does: {}",
                               registry, answered.error().message),
                   {{"registry", registry}});
      parts_.changed(registry, true);
    }
    const auto until = Clock::now() + probe_pause(policy_, probes, out_for(), random_);
    while (!stopping_ && Clock::now() < until) co_await woken_.wait_until(until);
  }
  const bool was_out = probed_[registry];
  probed_.erase(registry);
  if (!was_out || stopping_) co_return;
  log::info(fmt::format("{} answers again after {:.1f} s", registry,
                        std::chrono::duration<double>(out_for()).count()),
            {{"registry", registry}});
  parts_.changed(registry, false);
}

}  // namespace transship
