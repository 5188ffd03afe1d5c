#include <algorithm>

#include "daemon/reconcile.h"
#include "replicator/base/broken.h"
#include "replicator/oci/referrers_tag.h"

// What a pass compares: the tags that a rule matches, at both sides.
namespace transship {

namespace {

constexpr std::size_t looks_at_once = 16;
// In a pass; with more, the registry is broken, or lets us in nowhere.
constexpr std::uint64_t broken_tags_max = 16;
constexpr std::uint64_t broken_repositories_max = 16;
// A target's worker is given no more than this by reconciliation: fresh pushes and memory come
// first.
constexpr std::size_t waiting_images_max = 1000;
constexpr std::chrono::milliseconds look_again_every{200};

}  // namespace

asio::awaitable<Result<std::vector<std::string>>> Reconciler::repositories_of(
    const config::Rule& rule) {
  if (auto literal = rule.repositories.literal()) co_return std::move(*literal);
  auto all = co_await generation_->fleet.registry(rule.source).list_repositories();
  if (!all) co_return fail(all.error());
  std::erase_if(
      *all, [&](const std::string& repository) { return !rule.repositories.matches(repository); });
  co_return all;
}

asio::awaitable<Result<void>> Reconciler::compare_all(const config::Rule& rule,
                                                      std::vector<Side>& sides,
                                                      ExtraSearch* extras) {
  auto repositories = co_await repositories_of(rule);
  if (!repositories) co_return fail(repositories.error());
  std::uint64_t broken = 0;
  for (const std::string& name : *repositories) {
    if (stopping_) break;
    auto repository = oci::Repository::parse(name);
    if (!repository) continue;  // a name that no registry may have is nothing that we could copy
    auto compared = co_await compare_repository(rule, sides, std::move(*repository), extras);
    if (!compared &&
        (!is_of_one_repository(compared.error()) || ++broken > broken_repositories_max))
      co_return fail(compared.error());
    for (Side& side : sides) {
      if (compared || side.failure) continue;
      side.failure = compared.error();
      side.source_failed = true;
    }
    if (std::all_of(sides.begin(), sides.end(),
                    [](const Side& side) { return side.error.has_value(); }))
      break;
  }
  if (extras != nullptr && saw_source(sides) && !stopping_) co_await extras->compare_vanished();
  co_return Result<void>{};
}

asio::awaitable<Result<void>> Reconciler::compare_repository(const config::Rule& rule,
                                                             std::vector<Side>& sides,
                                                             oci::Repository repository,
                                                             ExtraSearch* extras) {
  auto tags = co_await generation_->fleet.registry(rule.source).list_tags(repository);
  if (!tags) co_return fail(tags.error());
  if (extras != nullptr)
    co_await extras->compare(repository.str(), *tags ? **tags : std::vector<std::string>());
  if (!*tags) co_return Result<void>{};
  std::erase_if(**tags, [&](const std::string& tag) {
    return oci::ReferrersTag::parse(tag) || !rule.tags.matches(tag);
  });
  if ((*tags)->empty()) co_return Result<void>{};
  for (Side& side : sides) {
    if (!side.error) co_await list_target(rule, side, repository);
  }
  co_return co_await for_each_index(
      (*tags)->size(), looks_at_once, [&](std::size_t i) -> asio::awaitable<Result<void>> {
        auto tag = oci::Tag::parse((**tags)[i]);
        if (!tag || stopping_) co_return Result<void>{};
        co_return co_await compare_tag(rule, sides, repository, std::move(*tag));
      });
}

asio::awaitable<void> Reconciler::list_target(const config::Rule& rule, Side& side,
                                              const oci::Repository& repository) {
  side.is_listed = true;
  side.tags.clear();
  side.proven.blobs.clear();
  auto target_repository = oci::Repository::parse(rule.target_repository(repository.str()));
  if (!target_repository) co_return;
  auto tags = co_await generation_->fleet.registry(side.pair.target)
                  .list_tags(std::move(*target_repository));
  if (!tags) {
    side.is_listed = false;
    const bool goes_on =
        is_of_one_repository(tags.error()) && ++side.unlisted <= broken_repositories_max;
    (goes_on ? side.failure : side.error) = tags.error();
  } else if (*tags) {
    side.tags.insert((*tags)->begin(), (*tags)->end());
  }
}

// A target that does not list the tag lacks it; where one lists it, both digests are asked for.
asio::awaitable<Result<void>> Reconciler::compare_tag(const config::Rule& rule,
                                                      std::vector<Side>& sides,
                                                      oci::Repository repository, oci::Tag tag) {
  const bool listed = std::any_of(sides.begin(), sides.end(), [&](const Side& side) {
    return side.takes_part() && side.tags.contains(tag.str());
  });
  std::optional<oci::Digest> wanted;
  if (listed) {
    auto shown = co_await generation_->fleet.registry(rule.source).head_manifest(repository, tag);
    if (!shown && is_of_one_tag(shown.error())) {
      for (Side& side : sides)
        if (side.takes_part()) co_await found_broken(rule, side, repository, tag, shown.error());
      co_return Result<void>{};
    }
    if (!shown) co_return fail(shown.error());
    if (!*shown) co_return Result<void>{};  // deleted since it was listed
    wanted = (*shown)->digest;
  }
  for (Side& side : sides) {
    if (!side.takes_part()) continue;
    if (!side.tags.contains(tag.str())) {
      ++side.missing;
      co_await found_different(rule, side, repository, tag);
      continue;
    }
    auto target_repository = oci::Repository::parse(rule.target_repository(repository.str()));
    auto shown = co_await generation_->fleet.registry(side.pair.target)
                     .head_manifest(std::move(*target_repository), tag);
    if (!shown && is_of_one_tag(shown.error())) {
      ++side.different;
      co_await found_broken(rule, side, repository, tag, shown.error());
    } else if (!shown) {
      side.error = shown.error();
    } else if (*shown && (*shown)->digest != *wanted &&
               co_await is_left_alone(rule, side, repository, tag, *wanted, (*shown)->digest)) {
      continue;
    } else if (!*shown || (*shown)->digest != *wanted) {
      ++(*shown ? side.different : side.missing);
      co_await found_different(rule, side, repository, tag);
    } else {
      note_in_step(rule, side, repository, tag, *wanted);
      if (side.closure) {
        if (!co_await is_complete(rule, side, repository, tag, *wanted)) continue;
      }
      // It may have come there by other means than ours.
      co_await shared_.dead_letters.remove(
          bus::dead_letter_id(rule.name, side.pair.target, repository.str() + ":" + tag.str()));
    }
  }
  co_return Result<void>{};
}

// Of two-way rules: the target has the newer push, or nobody knows.
asio::awaitable<bool> Reconciler::is_left_alone(const config::Rule& rule, Side& side,
                                                oci::Repository repository, oci::Tag tag,
                                                oci::Digest wanted, oci::Digest shown) {
  const auto way = TwoWay::way_of(generation_->config, rule, side.pair.target, repository, tag);
  if (!way || side.worker->has(rule.name, repository.str() + ":" + tag.str())) co_return false;
  const Winner winner =
      co_await shared_.two_way.newer_side(*way, std::move(wanted), std::move(shown));
  if (winner == Winner::unknown) ++side.conflict;
  co_return winner != Winner::source;
}

asio::awaitable<void> Reconciler::wait_for_room(const Side& side) {
  while (side.worker->waiting() >= waiting_images_max && !stopping_)
    co_await changed_.wait_until(Clock::now() + look_again_every);
}

bool Reconciler::is_of_one_tag(const Error& error) {
  return !error.unanswered &&
         (error.kind == ErrorKind::transient || error.kind == ErrorKind::not_found ||
          error.kind == ErrorKind::invalid || error.kind == ErrorKind::corrupt ||
          error.kind == ErrorKind::unsupported);
}

bool Reconciler::is_of_one_repository(const Error& error) {
  return is_of_one_tag(error) || (error.kind == ErrorKind::unauthorized && !error.unanswered);
}

// A few tags that one side answers with an error go down the line all the same, where they are put
// again, or tried and given up, each for itself.
asio::awaitable<void> Reconciler::found_broken(const config::Rule& rule, Side& side,
                                               oci::Repository repository, oci::Tag tag,
                                               Error error, bool incomplete) {
  if (!is_broken(error) || ++side.broken <= broken_tags_max)
    co_return co_await found_different(rule, side, repository, tag, incomplete);
  side.error = std::move(error);
}

asio::awaitable<void> Reconciler::found_different(const config::Rule& rule, Side& side,
                                                  const oci::Repository& repository,
                                                  const oci::Tag& tag, bool incomplete) {
  co_await wait_for_room(side);
  if (stopping_) co_return;
  side.found.insert(repository.str() + ":" + tag.str());
  // It was pushed at some time since the last pass that saw this pair whole.
  const auto last = last_good_.find({rule.name, side.pair.target});
  side.worker->look_at(
      {&rule, side.pair.target, rule.target_repository(repository.str())}, repository.str(),
      tag.str(), last == last_good_.end() ? std::nullopt : std::optional(last->second), incomplete);
}

}  // namespace transship
