#include "daemon/two_way.h"

#include <algorithm>

#include "daemon/fleet.h"
#include "daemon/routes.h"
#include "replicator/oci/referrers_tag.h"

namespace transship {

namespace {

using Time = monitoring::Time;

std::string key_of(const std::string& registry, const std::string& repository,
                   const std::string& tag) {
  return registry + " " + repository + ":" + tag;
}

// When the push was that made a side show this digest, whichever side it was made at: a copy of
// ours takes it to the other.
std::optional<Time> time_of(const TwoSides& sides, const std::string& digest) {
  std::optional<Time> at;
  for (const auto& push : {sides.source_push, sides.target_push}) {
    if (push && push->digest == digest) at = std::max(at.value_or(push->at), push->at);
  }
  return at;
}

// A side shows again what both showed last, since somebody pushed just that.
bool was_pushed_again(const std::optional<TwoSides::Push>& push, const PlacedTag& last,
                      std::optional<Time> other) {
  return push && push->digest == last.digest && last.pushed_at && push->at > *last.pushed_at &&
         other && push->at > *other;
}

Winner newer_by_time(const TwoSides& sides) {
  const auto source = time_of(sides, sides.source);
  const auto target = time_of(sides, *sides.target);
  if (!source && !target) return Winner::unknown;
  if (source != target) return source > target ? Winner::source : Winner::target;
  return sides.source > *sides.target ? Winner::source : Winner::target;  // the same at both ends
}

}  // namespace

const config::Rule* way_back(const config::Config& config, const config::Rule& rule,
                             const std::string& target, const std::string& source_repository,
                             const std::string& tag) {
  const std::string target_repository = rule.target_repository(source_repository);
  for (const config::Rule& back : config.rules) {
    if (back.source == target &&
        std::find(back.targets.begin(), back.targets.end(), rule.source) != back.targets.end() &&
        wants(back, target_repository, tag) &&
        back.target_repository(target_repository) == source_repository)
      return &back;
  }
  return nullptr;
}

Winner newer_side(const TwoSides& sides) {
  const auto& last = sides.last;
  const bool source_is_last = last && last->digest == sides.source;
  const auto pushed_since = [&](const std::optional<TwoSides::Push>& push) {
    return push && push->digest == sides.source && (!last->pushed_at || push->at > last->pushed_at);
  };
  if (!sides.target) {
    // It went at the target, or never was there.
    const bool was_deleted = source_is_last && sides.deletes_go_back;
    return was_deleted && !pushed_since(sides.source_push) ? Winner::target : Winner::source;
  }
  if (last && last->digest == *sides.target) {
    if (last->behind == sides.source && !pushed_since(sides.source_push)) return Winner::target;
    return was_pushed_again(sides.target_push, *last, time_of(sides, sides.source))
               ? Winner::target
               : Winner::source;
  }
  if (source_is_last) {
    return was_pushed_again(sides.source_push, *last, time_of(sides, *sides.target))
               ? Winner::source
               : Winner::target;
  }
  return newer_by_time(sides);
}

// --- what events tell

const TwoWay::Told* TwoWay::told(const std::string& registry, const oci::Repository& repository,
                                 const std::string& tag) const {
  const auto found = index_.find(key_of(registry, repository.str(), tag));
  return found == index_.end() ? nullptr : &*found->second;
}

TwoWay::Told& TwoWay::told_of(std::string key) {
  const auto found = index_.find(key);
  if (found != index_.end()) {
    by_age_.splice(by_age_.end(), by_age_, found->second);
    return by_age_.back();
  }
  if (by_age_.size() >= images_max) {
    index_.erase(by_age_.front().key);
    by_age_.pop_front();
  }
  const auto added = by_age_.insert(by_age_.end(), {key, {}, {}, {}});
  index_.emplace(std::move(key), added);
  return *added;
}

void TwoWay::note(const config::Config& config, const std::string& registry,
                  const events::Event& event, Time at) {
  if (event.action != events::Action::push || !event.tag || !event.digest) return;
  const bool goes_both_ways =
      std::any_of(config.rules.begin(), config.rules.end(), [&](const config::Rule& rule) {
        return rule.source == registry && wants(rule, event.repository, *event.tag) &&
               std::any_of(rule.targets.begin(), rule.targets.end(),
                           [&](const std::string& target) {
                             return way_back(config, rule, target, event.repository, *event.tag);
                           });
      });
  if (!goes_both_ways) return;
  Told& known = told_of(key_of(registry, event.repository, *event.tag));
  if (is_ours(event)) {
    known.put = *event.digest;
  } else if (!known.push || at >= known.push->at) {
    known.push = {*event.digest, at};
  }
}

void TwoWay::note_put(const std::string& registry, const oci::Repository& repository,
                      const std::string& tag, const std::string& digest) {
  told_of(key_of(registry, repository.str(), tag)).put = digest;
}

// --- what becomes of it

// The rule back takes away at the source what went at the target, within two passes of
// reconciliation, unless its breaker stops it: what is there still was not meant to go.
asio::awaitable<bool> TwoWay::is_being_deleted(const Way& way) {
  const config::Rule* back =
      way_back(way.config, way.rule, way.target, way.source_repository.str(), way.tag);
  if (back == nullptr || back->deletes != config::Deletes::propagate) co_return false;
  auto& gone_since = told_of(key_of(way.target, way.target_repository.str(), way.tag)).gone_since;
  if (!gone_since) gone_since = Clock::now();
  if (Clock::now() - *gone_since < 2 * way.config.reconcile.interval) co_return true;
  const auto standing = co_await placed_.standing(PlacedBy::of(way.config, *back, way.rule.source));
  co_return standing.stopped;
}

std::optional<TwoWay::Way> TwoWay::way_of(const config::Config& config, const config::Rule& rule,
                                          const std::string& target,
                                          const oci::Repository& source_repository,
                                          const oci::Reference& reference) {
  if (reference.tag() == nullptr || oci::ReferrersTag::parse(reference.str()) ||
      way_back(config, rule, target, source_repository.str(), reference.str()) == nullptr)
    return std::nullopt;
  auto target_repository = oci::Repository::parse(rule.target_repository(source_repository.str()));
  if (!target_repository) return std::nullopt;
  return Way{config,         rule, target, source_repository, std::move(*target_repository),
             reference.str()};
}

asio::awaitable<Winner> TwoWay::newer_side(Way way, oci::Digest source,
                                           std::optional<oci::Digest> target) {
  TwoSides sides{source.str(), {}};
  if (target) sides.target = target->str();
  if (const Told* at = told(way.rule.source, way.source_repository, way.tag))
    sides.source_push = at->push;
  if (const Told* at = told(way.target, way.target_repository, way.tag))
    sides.target_push = at->push;
  if (!target) sides.deletes_go_back = co_await is_being_deleted(way);
  sides.last = co_await placed_.find(PlacedBy::of(way.config, way.rule, way.target),
                                     way.source_repository.str(), way.tag);
  co_return transship::newer_side(sides);
}

std::optional<Time> TwoWay::pushed_at(const Way& way, const std::string& digest) const {
  TwoSides sides{{}, {}};
  if (const Told* at = told(way.rule.source, way.source_repository, way.tag))
    sides.source_push = at->push;
  if (const Told* at = told(way.target, way.target_repository, way.tag))
    sides.target_push = at->push;
  return time_of(sides, digest);
}

void TwoWay::note_same(const Way& way, const std::string& digest, std::optional<Time> pushed_at_) {
  if (const auto known = index_.find(key_of(way.target, way.target_repository.str(), way.tag));
      known != index_.end())
    known->second->gone_since.reset();
  const auto told_at = pushed_at(way, digest);
  if (told_at) pushed_at_ = std::max(pushed_at_.value_or(*told_at), *told_at);
  const std::string& here = way.source_repository.str();
  const std::string& there = way.target_repository.str();
  placed_.note(PlacedBy::of(way.config, way.rule, way.target),
               {here, way.tag, there, digest, pushed_at_});
  if (const config::Rule* back = way_back(way.config, way.rule, way.target, here, way.tag)) {
    placed_.note(PlacedBy::of(way.config, *back, way.rule.source),
                 {there, way.tag, here, digest, pushed_at_});
  }
}

asio::awaitable<bool> TwoWay::has_covered(Way way, std::string shown, Time pushed) const {
  const Told* at = told(way.rule.source, way.source_repository, way.tag);
  if (at == nullptr || at->put != shown) co_return false;
  auto covering = pushed_at(way, shown);
  const auto last = co_await placed_.find(PlacedBy::of(way.config, way.rule, way.target),
                                          way.source_repository.str(), way.tag);
  if (last && last->digest == shown && last->pushed_at && !(covering && last->pushed_before))
    covering = std::max(covering.value_or(*last->pushed_at), *last->pushed_at);
  co_return covering && *covering < pushed;
}

void TwoWay::note_uncovered(const Way& way, const std::string& digest, Time pushed,
                            const std::string& behind) {
  PlacedTag placed{way.source_repository.str(), way.tag, way.target_repository.str(), digest,
                   pushed};
  placed.behind = behind;
  placed_.note(PlacedBy::of(way.config, way.rule, way.target), std::move(placed));
}

}  // namespace transship
