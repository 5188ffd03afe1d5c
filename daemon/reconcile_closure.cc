#include <algorithm>

#include "daemon/log.h"
#include "daemon/reconcile.h"

// Closure passes: that a tag shows the right digest does not prove that what it reaches is there.
namespace transship {

namespace {

// After a pass that could not finish.
constexpr std::chrono::minutes again_after{1};
// One look waits no longer than this for pushes, so that a flood of them does not stop a pass.
constexpr std::chrono::seconds yields_for_max{5};
constexpr std::chrono::milliseconds look_again_every{50};
// Blobs that are known to be there, in one repository; what is more is asked for again.
constexpr std::size_t proven_max = 100'000;

}  // namespace

// Where nothing is known of an earlier one, it comes with the first pass after the start's: a
// daemon that was just started has other things to do.
Reconciler::Clock::time_point Reconciler::closure_due(const monitoring::Pair& pair) const {
  const auto& settings = generation_->config.reconcile;
  const auto again = closure_again_.find({pair.rule, pair.target});
  if (again != closure_again_.end()) return again->second;
  const config::Rule* rule = generation_->config.find_rule(pair.rule);
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  const auto last = closure_times_.last(PlacedBy::of(generation_->config, *rule, pair.target), now);
  if (!last) return started_ + std::min(settings.interval, settings.closure);
  return Clock::now() + (*last + settings.closure - now);
}

Reconciler::Clock::time_point Reconciler::next_closure() const {
  auto next = Clock::time_point::max();
  for (const monitoring::Pair& pair : generation_->routes.pairs())
    if (worker_of_(pair.target) != nullptr) next = std::min(next, closure_due(pair));
  return next;
}

void Reconciler::request_closures_that_are_due() {
  for (const monitoring::Pair& pair : generation_->routes.pairs()) {
    if (worker_of_(pair.target) == nullptr) continue;
    if (closure_due(pair) <= Clock::now()) request(pair.rule, pair.target, {.closure = true});
  }
}

void Reconciler::closure_ended(const Side& side, monitoring::Time started) {
  const std::pair key(side.pair.rule, side.pair.target);
  if (side.error) {
    closure_again_[key] = Clock::now() + again_after;
    return;
  }
  closure_again_.erase(key);
  const config::Rule* rule = generation_->config.find_rule(side.pair.rule);
  closure_times_.note(PlacedBy::of(generation_->config, *rule, side.pair.target),
                      std::chrono::floor<std::chrono::seconds>(started));
}

asio::awaitable<void> Reconciler::yield_to_pushes(const Side& side) {
  const auto until = Clock::now() + yields_for_max;
  while (side.worker->pushes_wait() && !stopping_ && Clock::now() < until)
    co_await changed_.wait_until(Clock::now() + look_again_every);
}

// Checks everything that a tag in step reaches, and sends it to be repaired where something is
// missing. False: it is not complete, or that could not be found out.
asio::awaitable<bool> Reconciler::is_complete(const config::Rule& rule, Side& side,
                                              oci::Repository repository, oci::Tag tag,
                                              oci::Digest digest) {
  auto target_repository = oci::Repository::parse(rule.target_repository(repository.str()));
  if (!target_repository) co_return false;
  co_await yield_to_pushes(side);
  if (stopping_) co_return false;
  if (side.proven.blobs.size() > proven_max) side.proven.blobs.clear();
  ImageJob job{generation_->fleet.registry(rule.source),
               repository,
               oci::Reference(tag),
               generation_->fleet.target(side.pair.target),
               std::move(*target_repository),
               tag};
  job.source_seen = std::move(digest);
  job.referrers = rule.referrers;
  auto verified = co_await verify_image(std::move(job), /*deep=*/false, side.proven);
  if (!verified && is_of_one_tag(verified.error())) {
    ++side.incomplete;
    co_await found_broken(rule, side, repository, tag, verified.error(), /*incomplete=*/true);
    co_return false;
  }
  if (!verified) {
    side.error = verified.error();
    co_return false;
  }
  if (!verified->drift) co_return true;
  const DriftKind kind = verified->drift->kind;
  if (kind == DriftKind::missing || kind == DriftKind::different) {  // it moved since its look
    ++(kind == DriftKind::missing ? side.missing : side.different);
    co_await found_different(rule, side, repository, tag);
    co_return false;
  }
  ++side.incomplete;
  log::info("incomplete at the target: " + verified->drift->detail,
            {{"rule", rule.name},
             {"target", side.pair.target},
             {"image", rule.target_repository(repository.str()) + ":" + tag.str()}});
  co_await found_different(rule, side, repository, tag, /*incomplete=*/true);
  co_return false;
}

}  // namespace transship
