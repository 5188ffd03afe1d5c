#include <algorithm>

#include "daemon/log.h"
#include "daemon/reconcile.h"
#include "replicator/oci/referrers_tag.h"

// Under rules whose deletes propagate: what a pass finds gone from the source goes down the same
// line as everything else, if the breaker lets it.
namespace transship {

// Null where the rule's deletes are ignored: then nothing of all this happens.
std::unique_ptr<ExtraSearch> Reconciler::search_of(const config::Rule& rule,
                                                   const std::vector<Side>& sides) {
  if (rule.deletes != config::Deletes::propagate) return nullptr;
  std::vector<std::string> targets;
  targets.reserve(sides.size());
  for (const Side& side : sides) targets.push_back(side.pair.target);
  return std::make_unique<ExtraSearch>(generation_->fleet, generation_->config, shared_.placed,
                                       rule, std::move(targets), /*forgets=*/true);
}

void Reconciler::note_in_step(const config::Rule& rule, const Side& side,
                              const oci::Repository& repository, const oci::Tag& tag,
                              const oci::Digest& digest) {
  if (oci::ReferrersTag::parse(tag.str())) return;
  if (const auto way = TwoWay::way_of(generation_->config, rule, side.pair.target, repository, tag))
    return shared_.two_way.note_same(*way, digest.str(), std::nullopt);
  if (rule.deletes != config::Deletes::propagate) return;
  shared_.placed.note(
      PlacedBy::of(generation_->config, rule, side.pair.target),
      {repository.str(), tag.str(), rule.target_repository(repository.str()), digest.str()});
}

// What the breaker stopped before this daemon was started.
asio::awaitable<void> Reconciler::recall_stopped_deletes() {
  for (const monitoring::Pair& pair : generation_->routes.pairs()) {
    const config::Rule* rule = generation_->config.find_rule(pair.rule);
    if (rule->deletes != config::Deletes::propagate) continue;
    const auto standing =
        co_await shared_.placed.standing(PlacedBy::of(generation_->config, *rule, pair.target));
    shared_.ledger.set_deletes_stopped(shared_.ledger.add_pair(pair), standing.stopped);
  }
}

asio::awaitable<void> Reconciler::find_extras(const config::Rule& rule, std::vector<Side>& sides,
                                              ExtraSearch& search) {
  for (const Side& side : sides) {
    if (side.error || side.failure) search.skip_target(side.pair.target);
  }
  for (const Extras& extras : co_await search.find()) {
    if (stopping_) co_return;
    const auto side = std::find_if(sides.begin(), sides.end(), [&](const Side& one) {
      return one.pair.target == extras.target;
    });
    if (side->error || side->failure) continue;
    side->extra = extras.tags.size();
    if (!extras.failures.empty()) side->error = extras.failures.front().error;
    co_await remove_extras(rule, *side, extras);
  }
}

asio::awaitable<void> Reconciler::remove_extras(const config::Rule& rule, Side& side,
                                                const Extras& extras) {
  if (!is_served(side.pair)) co_return;
  const auto pair = shared_.ledger.add_pair(side.pair);
  const PlacedBy by = PlacedBy::of(generation_->config, rule, side.pair.target);
  const bool allowed = allowed_.erase({rule.name, side.pair.target}) > 0;
  if (allowed) {
    shared_.delete_breaker.reset(by);
    shared_.placed.set_stopped(by, false);
  }
  const bool stopped = !allowed && extras.are_stopped();
  shared_.ledger.set_deletes_stopped(pair, stopped || (!allowed && extras.standing.stopped));
  if (stopped) {
    shared_.metrics.tags_deleted(side.pair, "kept", extras.tags.size());
    shared_.placed.set_stopped(by, true);
    log::error("deletes are stopped: " + extras.why_stopped(),
               {{"rule", side.pair.rule}, {"target", side.pair.target}});
    co_return;
  }
  for (const PlacedTag& tag : extras.tags) {
    co_await wait_for_room(side);
    if (stopping_) co_return;
    side.found.insert(tag.image());
    side.worker->look_at_gone({&rule, side.pair.target, tag.repository}, tag);
  }
}

}  // namespace transship
