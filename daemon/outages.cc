#include "daemon/outages.h"

#include <fmt/format.h>

#include "daemon/log.h"

namespace transship {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::minutes first_minutes{5};
constexpr std::chrono::seconds longest_pause_at_first{15};
constexpr std::chrono::seconds patience{15};  // with the first probe

bool shows_outage(const Error& error, Outages::Doubt doubt) {
  return doubt == Outages::Doubt::serves ? may_be_outage(error) : error.unanswered;
}

}  // namespace

std::chrono::milliseconds probe_pause(const config::RetryPolicy& policy, unsigned probes,
                                      std::chrono::milliseconds out_for, Random& random) {
  const auto pause = retry_pause(policy, probes, std::nullopt, random);
  if (out_for >= first_minutes) return pause;
  return std::min<std::chrono::milliseconds>(pause, longest_pause_at_first);
}

void Outages::suspect(const std::string& registry, Doubt doubt) {
  if (stopping_ || !probed_.emplace(registry, false).second) return;
  parts_.spawn(probe_until_it_answers(registry, doubt));
}

asio::awaitable<bool> Outages::confirm(std::string registry) {
  const auto began = Clock::now();
  suspect(registry);
  const auto found_out = [&] {
    const auto last = last_out_.find(registry);
    return is_out(registry) || (last != last_out_.end() && last->second >= began);
  };
  // One whose probe takes so long serves nobody either.
  while (!stopping_ && probed_.contains(registry) && !found_out()) {
    if (Clock::now() >= began + patience) co_return true;
    co_await decided_.wait_until(began + patience);
  }
  co_return found_out();
}

bool Outages::is_out(const std::string& registry) const {
  const auto found = probed_.find(registry);
  return found != probed_.end() && found->second;
}

void Outages::stop() {
  stopping_ = true;
  woken_.notify();
}

asio::awaitable<void> Outages::probe_until_it_answers(std::string registry, Doubt doubt) {
  auto began = Clock::now();
  const auto out_for = [&began] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
  };
  bool tried = false;  // whether it serves what is wanted
  for (unsigned probes = 1; !stopping_; ++probes) {
    auto answered = co_await parts_.probe(registry);
    if (answered || !shows_outage(answered.error(), doubt)) break;
    last_out_[registry] = Clock::now();
    if (!std::exchange(probed_[registry], true)) {
      began = Clock::now();
      log::warning(fmt::format("{} does not answer; what needs it waits until it does: {}",
                               registry, answered.error().message),
                   {{"registry", registry}});
      parts_.changed(registry, true);
      decided_.notify();
    }
    tried = !answered.error().unanswered && out_for() >= policy_.longest_pause;
    if (tried) break;
    const auto until = Clock::now() + probe_pause(policy_, probes, out_for(), random_);
    while (!stopping_ && Clock::now() < until) co_await woken_.wait_until(until);
  }
  const bool was_out = probed_[registry];
  probed_.erase(registry);
  decided_.notify();
  if (!was_out || stopping_) co_return;
  const std::string for_seconds =
      fmt::format("{:.1f} s", std::chrono::duration<double>(out_for()).count());
  if (tried) {
    log::warning(fmt::format("{} has answered with errors for {}: what needs it is tried once more",
                             registry, for_seconds),
                 {{"registry", registry}});
  } else {
    log::info(fmt::format("{} answers again after {}", registry, for_seconds),
              {{"registry", registry}});
  }
  parts_.changed(registry, false);
}

}  // namespace transship
