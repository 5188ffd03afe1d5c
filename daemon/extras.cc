#include "daemon/extras.h"

#include <algorithm>

#include "daemon/delete_breaker.h"
#include "daemon/routes.h"
#include "replicator/oci/referrers_tag.h"

namespace transship {

namespace {

constexpr std::size_t looks_at_once = 16;

}  // namespace

bool Extras::are_stopped() const {
  return !tags.empty() && (standing.stopped || DeleteBreaker::trips(tags.size(), standing.tags));
}

std::string Extras::why_stopped() const {
  return DeleteBreaker::reason(tags.size(), standing.tags);
}

ExtraSearch::ExtraSearch(Fleet& fleet, const config::Config& config, PlacedTags& placed,
                         const config::Rule& rule, std::vector<std::string> targets, bool forgets)
    : fleet_(fleet), config_(config), placed_(placed), rule_(rule), forgets_(forgets) {
  for (const std::string& target : targets)
    sides_.push_back({target, PlacedBy::of(config, rule, target), {target, {}, {}, {}}});
}

void ExtraSearch::skip_target(const std::string& target) {
  for (auto& [candidate, placements] : candidates_)
    std::erase_if(placements, [&](const Placement& one) { return one.side->target == target; });
}

// Tags that the rule no longer takes are nobody's to delete.
bool ExtraSearch::is_wanted(const PlacedTag& tag) const {
  return rule_.repositories.matches(tag.source_repository) && rule_.tags.matches(tag.tag) &&
         rule_.target_repository(tag.source_repository) == tag.repository &&
         !oci::ReferrersTag::parse(tag.tag);
}

void ExtraSearch::add(Side& side, PlacedTag tag) {
  if (!is_wanted(tag)) {
    if (forgets_) placed_.forget(side.by, tag);
    return;
  }
  const Candidate candidate{tag.source_repository, tag.tag};
  if (candidates_.size() >= candidates_max && !candidates_.contains(candidate)) return;
  candidates_[candidate].push_back({&side, std::move(tag)});
}

asio::awaitable<void> ExtraSearch::compare(std::string repository,
                                           const std::vector<std::string>& listed) {
  seen_.insert(repository);
  for (Side& side : sides_) {
    for (PlacedTag& tag : co_await placed_.in_repository(side.by, repository)) {
      if (!std::binary_search(listed.begin(), listed.end(), tag.tag)) add(side, std::move(tag));
    }
  }
}

asio::awaitable<void> ExtraSearch::compare_tag(std::string repository, std::string tag) {
  for (Side& side : sides_) {
    if (auto placed = co_await placed_.find(side.by, repository, tag))
      add(side, std::move(*placed));
  }
}

asio::awaitable<void> ExtraSearch::compare_vanished() {
  std::set<std::string> vanished;
  for (Side& side : sides_) {
    for (std::string& repository : co_await placed_.repositories(side.by)) {
      if (!seen_.contains(repository)) vanished.insert(std::move(repository));
    }
  }
  for (const std::string& repository : vanished) co_await compare(repository, {});
}

asio::awaitable<std::vector<Extras>> ExtraSearch::find() {
  std::vector<std::map<Candidate, std::vector<Placement>>::const_iterator> all;
  for (auto at = candidates_.cbegin(); at != candidates_.cend(); ++at) all.push_back(at);
  static_cast<void>(co_await for_each_index(all.size(), looks_at_once,
                                            [&](std::size_t i) -> asio::awaitable<Result<void>> {
                                              if (!all[i]->second.empty())
                                                co_await look(all[i]->first, all[i]->second);
                                              co_return Result<void>{};
                                            }));
  std::vector<Extras> found;
  for (Side& side : sides_) {
    side.found.standing = co_await placed_.standing(side.by);
    std::sort(side.found.tags.begin(), side.found.tags.end(), [](const auto& a, const auto& b) {
      return std::tie(a.source_repository, a.tag) < std::tie(b.source_repository, b.tag);
    });
    found.push_back(std::move(side.found));
  }
  co_return found;
}

asio::awaitable<void> ExtraSearch::look(const Candidate& candidate,
                                        const std::vector<Placement>& placements) {
  auto repository = oci::Repository::parse(candidate.first);
  auto tag = oci::Tag::parse(candidate.second);
  if (!repository || !tag) co_return;
  auto shown = co_await fleet_.registry(rule_.source).head_manifest(std::move(*repository), *tag);
  for (const Placement& placement : placements) {
    if (!shown) {
      placement.side->found.failures.push_back({placement.tag.image(), shown.error()});
    } else if (!*shown) {
      co_await look_at_target(placement);
    }
  }
}

asio::awaitable<void> ExtraSearch::look_at_target(const Placement& placement) {
  auto extra = co_await is_extra(placement);
  if (!extra) {
    placement.side->found.failures.push_back({placement.tag.image(), extra.error()});
  } else if (*extra) {
    placement.side->found.tags.push_back(placement.tag);
  }
}

// The target shows it as it was placed, and no other rule wants it there.
asio::awaitable<Result<bool>> ExtraSearch::is_extra(const Placement& placement) {
  auto repository = oci::Repository::parse(placement.tag.repository);
  auto tag = oci::Tag::parse(placement.tag.tag);
  if (!repository || !tag) co_return false;
  auto shown =
      co_await fleet_.registry(placement.side->target).head_manifest(std::move(*repository), *tag);
  if (!shown) co_return fail(shown.error());
  if (!*shown || (*shown)->digest.str() != placement.tag.digest) {
    if (forgets_) placed_.forget(placement.side->by, placement.tag);
    co_return false;
  }
  auto claimed = co_await is_claimed(fleet_, config_, rule_, placement.side->target, placement.tag);
  if (!claimed) co_return fail(claimed.error());
  co_return !*claimed;
}

asio::awaitable<Result<bool>> is_claimed(Fleet& fleet, const config::Config& config,
                                         const config::Rule& rule, std::string target,
                                         PlacedTag tag) {
  for (const config::Rule& other : config.rules) {
    const bool goes_there =
        std::find(other.targets.begin(), other.targets.end(), target) != other.targets.end();
    if (&other == &rule || !goes_there || !other.tags.matches(tag.tag)) continue;
    const auto source = source_of(other, tag.repository);
    if (!source || (other.source == rule.source && *source == tag.source_repository)) continue;
    auto repository = oci::Repository::parse(*source);
    auto name = oci::Tag::parse(tag.tag);
    if (!repository || !name) continue;
    auto shown = co_await fleet.registry(other.source).head_manifest(std::move(*repository), *name);
    if (!shown) co_return fail(shown.error());
    if (*shown) co_return true;
  }
  co_return false;
}

}  // namespace transship
