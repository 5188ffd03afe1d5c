#include "daemon/reconcile.h"

#include <fmt/format.h>

#include <algorithm>
#include <asio/co_spawn.hpp>

#include "daemon/log.h"

namespace transship {

namespace {

constexpr std::chrono::milliseconds look_again_every{200};
constexpr std::chrono::minutes pause_after_failure{1};
// A pair that fails time after time in the same way is told of this often.
constexpr std::chrono::minutes same_failure_again{15};

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

}  // namespace

Reconciler::Reconciler(WorkerShared shared, FindWorker worker_of)
    : shared_(std::move(shared)),
      worker_of_(std::move(worker_of)),
      generation_(shared_.generations.now()),
      changed_(shared_.executor),
      closure_times_(generation_->fleet.state()) {}

void Reconciler::adopt(const std::vector<monitoring::Pair>& unknown) {
  for (const monitoring::Pair& pair : unknown) {
    last_good_.erase({pair.rule, pair.target});
    outdated_.emplace(pair.rule, pair.target);
  }
  changed_.notify();
}

void Reconciler::stop() {
  stopping_ = true;
  changed_.notify();
}

bool Reconciler::request(const std::string& rule, const std::string& target, Extent extent) {
  bool any = false;
  for (const monitoring::Pair& pair : shared_.generations.routes().pairs()) {
    if ((!rule.empty() && pair.rule != rule) || (!target.empty() && pair.target != target))
      continue;
    requested_.emplace(pair.rule, pair.target);
    if (extent.allow_deletes) allowed_.emplace(pair.rule, pair.target);
    if (extent.closure) closures_.emplace(pair.rule, pair.target);
    any = true;
  }
  changed_.notify();
  return any;
}

void Reconciler::registry_answers(const std::string& registry) {
  for (const monitoring::Pair& pair : shared_.generations.routes().pairs()) {
    const bool concerns = pair.source == registry || pair.target == registry;
    if (concerns && failed_.contains({pair.rule, pair.target}))
      requested_.emplace(pair.rule, pair.target);
  }
  changed_.notify();
}

asio::awaitable<void> Reconciler::run() {
  co_await recall_stopped_deletes();
  auto next = Clock::now();
  if (!generation_->config.reconcile.at_start) next += generation_->config.reconcile.interval;
  while (!stopping_) {
    generation_ = shared_.generations.now();
    next = std::min(next, Clock::now() + generation_->config.reconcile.interval);
    if (Clock::now() >= next) {
      request({}, {}, {});
      next = Clock::now() + generation_->config.reconcile.interval;
    }
    request_closures_that_are_due();
    if (requested_.empty()) {
      co_await changed_.wait_until(std::min(next, next_closure()));
      continue;
    }
    const auto asked_for = std::exchange(requested_, {});
    for (const config::Rule& rule : generation_->config.rules) {
      std::vector<Side> sides = sides_of(rule);
      std::erase_if(sides, [&](const Side& side) {
        return !asked_for.contains({rule.name, side.pair.target});
      });
      if (!sides.empty() && !stopping_) co_await pass(rule, std::move(sides));
    }
    const bool failed = std::any_of(asked_for.begin(), asked_for.end(),
                                    [&](const auto& pair) { return failed_.contains(pair); });
    if (failed) next = std::min(next, Clock::now() + pause_after_failure);
  }
  while (waiting_ > 0) co_await changed_.wait();
}

bool Reconciler::is_served(const monitoring::Pair& pair) const {
  const auto& pairs = shared_.generations.routes().pairs();
  return std::find(pairs.begin(), pairs.end(), pair) != pairs.end();
}

std::vector<Reconciler::Side> Reconciler::sides_of(const config::Rule& rule) const {
  std::vector<Side> sides;
  for (const monitoring::Pair& pair : generation_->routes.pairs()) {
    if (pair.rule != rule.name) continue;
    Worker* worker = worker_of_(pair.target);
    if (worker == nullptr) continue;
    Side side;
    side.pair = pair;
    side.worker = worker;
    sides.push_back(std::move(side));
  }
  return sides;
}

// All of its repositories could be listed.
bool Reconciler::saw_source(const std::vector<Side>& sides) {
  return std::none_of(sides.begin(), sides.end(),
                      [](const Side& side) { return side.source_failed; });
}

asio::awaitable<void> Reconciler::pass(const config::Rule& rule, std::vector<Side> sides) {
  const monitoring::Time started = now();
  const auto began = Clock::now();
  outdated_.clear();
  for (Side& side : sides) side.closure = closures_.erase({rule.name, side.pair.target}) > 0;
  const auto extras = search_of(rule, sides);
  auto compared = co_await compare_all(rule, sides, extras.get());
  if (compared && saw_source(sides) && extras && !stopping_)
    co_await find_extras(rule, sides, *extras);
  if (stopping_) co_return;
  for (Side& side : sides) {
    if (!is_served(side.pair)) continue;
    if (!side.error) side.error = compared ? side.failure : compared.error();
    report(side, Clock::now() - began);
    if (side.closure) closure_ended(side, started);
    if (side.error) continue;
    if (outdated_.contains({rule.name, side.pair.target})) continue;
    if (side.conflict > 0) {  // what is left alone is not at the target
      const auto known = last_good_.find({rule.name, side.pair.target});
      if (known != last_good_.end())
        shared_.ledger.unsure(shared_.ledger.add_pair(side.pair), known->second, now());
      continue;
    }
    last_good_[{rule.name, side.pair.target}] = started;
    // Until what was found is repaired, nobody knows until when this pair is in step.
    ++waiting_;
    asio::co_spawn(shared_.executor,
                   wait_until_repaired(side.pair, side.worker, std::move(side.found), started),
                   [this](const std::exception_ptr&) {
                     --waiting_;
                     changed_.notify();
                   });
  }
}

void Reconciler::report(const Side& side, Clock::duration took) {
  if (side.error) {
    failed_.emplace(side.pair.rule, side.pair.target);
    if (may_be_outage(*side.error)) {  // of which of them, a probe finds out
      shared_.outages.suspect(side.pair.source);
      shared_.outages.suspect(side.pair.target);
    }
    shared_.ledger.failed(shared_.ledger.add_pair(side.pair),
                          {std::string(to_string(side.error->kind)), side.error->message, now()});
    const std::string kind(to_string(side.error->kind));
    auto& [told_kind, told_at] = told_[{side.pair.rule, side.pair.target}];
    const bool again = told_kind == kind && Clock::now() - told_at < same_failure_again;
    if (!again) std::tie(told_kind, told_at) = std::pair(kind, Clock::now());
    (again ? log::debug : log::warning)(
        "reconciliation could not finish: " + side.error->message,
        {{"rule", side.pair.rule}, {"target", side.pair.target}, {"error_kind", kind}});
    return;
  }
  told_.erase({side.pair.rule, side.pair.target});
  failed_.erase({side.pair.rule, side.pair.target});
  shared_.metrics.reconciled(side.pair, now(), took);
  shared_.metrics.set_drift(side.pair, "missing", side.missing);
  shared_.metrics.set_drift(side.pair, "different", side.different);
  shared_.metrics.set_drift(side.pair, "extra", side.extra);
  shared_.metrics.set_drift(side.pair, "conflict", side.conflict);
  // Only a closure pass looks for these, so that what the last one found stands until the next.
  if (side.closure) shared_.metrics.set_drift(side.pair, "incomplete", side.incomplete);
  const log::Fields fields{
      {"rule", side.pair.rule},
      {"target", side.pair.target},
      {"missing", std::to_string(side.missing)},
      {"different", std::to_string(side.different)},
      {"incomplete", std::to_string(side.incomplete)},
      {"extra", std::to_string(side.extra)},
      {"conflict", std::to_string(side.conflict)},
      {"closure", side.closure ? "true" : "false"},
      {"seconds", fmt::format("{:.2f}", std::chrono::duration<double>(took).count())}};
  if (side.conflict > 0) {
    log::warning(
        "both sides of some tags were pushed, and nobody knows which was later: they are left "
        "alone, "
        "push them again where they are right",
        fields);
  }
  if (side.missing + side.different + side.incomplete + side.extra > 0) {
    log::info("reconciliation found images that events missed", fields);
  } else {
    log::debug("reconciliation found everything in step", fields);
  }
}

asio::awaitable<void> Reconciler::wait_until_repaired(monitoring::Pair pair, Worker* worker,
                                                      std::set<std::string> found,
                                                      monitoring::Time started) {
  const bool all_in_step = found.empty();
  while (!stopping_) {
    std::erase_if(found, [&](const std::string& image) { return !worker->has(pair.rule, image); });
    if (found.empty()) break;
    co_await changed_.wait_until(Clock::now() + look_again_every);
  }
  if (stopping_ || !is_served(pair) || !last_good_.contains({pair.rule, pair.target})) co_return;
  shared_.ledger.reconciled(shared_.ledger.add_pair(pair), started);
  if (all_in_step) shared_.ledger.succeeded(shared_.ledger.add_pair(pair), now());
}

}  // namespace transship
