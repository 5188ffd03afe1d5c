#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <ctime>

#include "config/reader.h"
#include "daemon/daemon.h"
#include "daemon/log.h"

// SIGHUP: the configuration is read again and taken over whole, or stays as it was.
namespace transship {

namespace {

constexpr std::chrono::milliseconds first_pause{250};
constexpr std::chrono::milliseconds longest_pause{10'000};
// Until the daemon ends; the copies that a target without a rule still has under way are finished.
constexpr std::chrono::hours finishes_within{24 * 365};

// sd_notify(3): the time tells systemd which request to reload is being answered.
void tell_systemd_that_it_reloads() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto microseconds = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 +
                            static_cast<std::uint64_t>(now.tv_nsec) / 1000;
  ::sd_notify(0, fmt::format("RELOADING=1\nMONOTONIC_USEC={}", microseconds).c_str());
}

}  // namespace

void Daemon::reload() {
  if (told_ready_) tell_systemd_that_it_reloads();
  if (auto taken = read_again(); taken) {
    log::info("SIGHUP: the configuration was taken over",
              {{"rules", std::to_string(generations_.config().rules.size())},
               {"registries", std::to_string(generations_.config().registries.size())}});
  } else {
    log::error("SIGHUP: the configuration stays as it was: " + taken.error().message);
  }
  if (told_ready_) ::sd_notify(0, "READY=1");
}

Result<void> Daemon::read_again() {
  auto read = config::read_file(config_file_);
  if (!read) {
    for (const config::Mistake& mistake : read.error()) log::error(to_string(mistake));
    return fail(ErrorKind::invalid, "the file has mistakes, which are told above");
  }
  const auto keys_kept = keys_that_need_a_restart(generations_.config(), *read);
  if (!keys_kept.empty()) {
    return fail(ErrorKind::invalid,
                fmt::format("a change of {} needs a restart", fmt::join(keys_kept, ", ")));
  }
  auto keys = Api::read_keys(*read);
  if (!keys) return fail(keys.error());
  take_over(std::move(*read), std::move(*keys));
  return {};
}

void Daemon::take_over(config::Config config, Api::Keys keys) {
  const auto before = generations_.now();
  const auto next = std::make_shared<Generation>(std::move(config), *before);
  dead_letters_.across([&] {
    generations_.replace(next);
    take_over_names(*before, *next);
  });
  api_.set_keys(std::move(keys));
  outages_.set_policy(next->config.retry.for_daemon());
  log::configure(next->config.log);
  if (!reconciler_) return;  // the bus is still awaited
  take_over_workers();
  const auto unknown = pairs_that_are_new(*before, *next);
  reconciler_->adopt(unknown);
  if (!next->config.reconcile.at_start) return;
  for (const monitoring::Pair& pair : unknown) reconciler_->request(pair.rule, pair.target, {});
}

// What is exported and reported.
void Daemon::take_over_names(const Generation& before, const Generation& next) {
  const auto& pairs = next.routes.pairs();
  for (const monitoring::Pair& pair : pairs_that_are_gone(before, next))
    metrics_.remove_pair(pair, pairs);
  ledger_.keep_only(pairs);
  for (const monitoring::Pair& pair : pairs) {
    ledger_.add_pair(pair);
    metrics_.add_pair(pair);
  }
  for (const monitoring::Pair& pair : pairs_that_are_new(before, next))
    ledger_.changed(ledger_.add_pair(pair));
  status_.adopt();
  for (const config::Registry& registry : before.config.registries) {
    if (next.config.find_registry(registry.name) == nullptr)
      metrics_.remove_registry(registry.name);
  }
  for (const config::Registry& registry : next.config.registries) {
    if (before.config.find_registry(registry.name) != nullptr) continue;
    metrics_.add_registry(registry.name);
    spawn(reach(registry.name));
  }
  report_ends();
}

// Workers whose target has a rule no more let go of what waits and finish what runs; targets that
// are new get one.
void Daemon::take_over_workers() {
  const auto& targets = generations_.routes().targets();
  for (const auto& worker : workers_) worker->adopt();
  for (auto& worker : workers_) {
    if (std::find(targets.begin(), targets.end(), worker->target()) != targets.end()) continue;
    retiring_.insert(worker->target());
    spawn(retire(*worker));
    retired_.push_back(std::move(worker));
  }
  std::erase(workers_, nullptr);
  if (!opening_workers_ && target_without_worker()) spawn(open_new_workers());
}

asio::awaitable<void> Daemon::retire(Worker& worker) {
  co_await worker.stop(std::chrono::steady_clock::now() + finishes_within);
  retiring_.erase(worker.target());
  changed_.notify();
  if (stopping_) co_return;
  const auto& targets = generations_.routes().targets();
  std::set<std::string> kept(targets.begin(), targets.end());
  kept.insert(retiring_.begin(), retiring_.end());
  static_cast<void>(co_await bus_->forget_other_inboxes(std::move(kept)));
}

std::optional<std::string> Daemon::target_without_worker() const {
  for (const std::string& target : generations_.routes().targets()) {
    if (worker_of(target) == nullptr) return target;
  }
  return std::nullopt;
}

asio::awaitable<void> Daemon::open_new_workers() {
  opening_workers_ = true;
  std::chrono::milliseconds wait = first_pause;
  while (const auto target = target_without_worker()) {
    if (stopping_) break;
    if (!retiring_.contains(*target)) {  // one inbox of a target at a time
      auto inbox = co_await bus_->open_inbox(*target);
      if (stopping_) break;
      if (inbox) {
        Worker& worker = start_worker(*target, std::move(*inbox));
        spawn(worker.run());
        take_over_workers();  // where it is wanted no more
        if (generations_.config().reconcile.at_start) reconciler_->request({}, *target, {});
        continue;
      }
      log::warning("waiting for the events of a new target: " + inbox.error().message,
                   {{"target", *target}});
    }
    co_await pause(wait);
    wait = std::min(wait * 2, longest_pause);
  }
  opening_workers_ = false;
}

Worker& Daemon::start_worker(std::string target, std::unique_ptr<bus::Inbox> inbox) {
  workers_.push_back(std::make_unique<Worker>(shared(), std::move(target), std::move(inbox)));
  for (const config::Registry& registry : generations_.config().registries) {
    if (outages_.is_out(registry.name)) workers_.back()->registry_changed(registry.name, true);
  }
  return *workers_.back();
}

}  // namespace transship
