#include "daemon/commands/deletes.h"

#include <algorithm>

#include "replicator/tag_removal.h"

namespace transship::commands {

namespace {

class Deletes {
 public:
  Deletes(DeletePass pass, Extras extras)
      : pass_(pass),
        extras_(std::move(extras)),
        by_(PlacedBy::of(pass_.config, pass_.rule, extras_.target)) {}

  asio::awaitable<std::vector<DeletedTag>> run(bool allowed);

 private:
  asio::awaitable<void> remove_all(std::vector<DeletedTag*> tags);
  asio::awaitable<void> remove(DeletedTag& tag);
  asio::awaitable<Result<RemovedTag>> try_to_remove(const PlacedTag& tag);
  [[nodiscard]] bool goes(const PlacedTag& of, const oci::Tag& twin) const;

  DeletePass pass_;
  Extras extras_;
  PlacedBy by_;
};

asio::awaitable<std::vector<DeletedTag>> Deletes::run(bool allowed) {
  std::vector<DeletedTag> all;
  all.reserve(extras_.tags.size());
  for (const PlacedTag& tag : extras_.tags) all.push_back({tag});
  if (allowed && extras_.standing.stopped) pass_.placed.set_stopped(by_, false);
  if (!allowed && extras_.are_stopped()) {
    pass_.placed.set_stopped(by_, true);
    for (DeletedTag& tag : all) tag.error = Error{ErrorKind::conflict, extras_.why_stopped()};
    co_return all;
  }
  std::vector<DeletedTag*> tags;
  tags.reserve(all.size());
  for (DeletedTag& tag : all) tags.push_back(&tag);
  co_await remove_all(tags);
  // What another one needed, which went meanwhile, may go now: a child after its index.
  std::erase_if(tags, [](const DeletedTag* tag) {
    return !tag->error || tag->error->kind != ErrorKind::conflict;
  });
  if (!tags.empty() && tags.size() < all.size()) co_await remove_all(tags);
  co_return all;
}

asio::awaitable<void> Deletes::remove_all(std::vector<DeletedTag*> tags) {
  static_cast<void>(co_await for_each_index(
      tags.size(), pass_.places.places(), [&](std::size_t i) -> asio::awaitable<Result<void>> {
        const auto place = co_await pass_.places.acquire(pass_.rule.priority);
        co_await remove(*tags[i]);
        co_return Result<void>{};
      }));
}

asio::awaitable<void> Deletes::remove(DeletedTag& tag) {
  auto removed = co_await try_to_remove(tag.tag);
  tag.error.reset();
  if (!removed) {
    tag.error = removed.error();
    co_return;
  }
  switch (removed->outcome) {
    case RemovalOutcome::moved:
      tag.error = Error{ErrorKind::conflict,
                        tag.tag.target_image() + " was moved at " + extras_.target + ", and stays"};
      break;
    case RemovalOutcome::at_source:
      tag.error = Error{ErrorKind::transient,
                        tag.tag.image() + " was pushed again meanwhile, and is to be copied"};
      break;
    case RemovalOutcome::deleted:
    case RemovalOutcome::absent:
      break;
  }
  pass_.placed.forget(by_, tag.tag);
}

// What goes anyway may go with another that shows the same.
bool Deletes::goes(const PlacedTag& of, const oci::Tag& twin) const {
  return std::any_of(extras_.tags.begin(), extras_.tags.end(), [&](const PlacedTag& tag) {
    return tag.repository == of.repository && tag.tag == twin.str() && tag.digest == of.digest;
  });
}

asio::awaitable<Result<RemovedTag>> Deletes::try_to_remove(const PlacedTag& tag) {
  auto source_repository = oci::Repository::parse(tag.source_repository);
  auto repository = oci::Repository::parse(tag.repository);
  auto name = oci::Tag::parse(tag.tag);
  auto digest = oci::Digest::parse(tag.digest);
  if (!source_repository || !repository || !name || !digest)
    co_return fail(ErrorKind::invalid, "the memory of placed tags holds no image: " + tag.image());
  for (unsigned attempt = 1;; ++attempt) {
    TagRemoval removal{pass_.fleet.registry(pass_.rule.source),
                       *source_repository,
                       *name,
                       pass_.fleet.registry(extras_.target),
                       *repository,
                       *digest,
                       [this, &tag](oci::Tag twin) -> asio::awaitable<Result<bool>> {
                         co_return goes(tag, twin);
                       }};
    auto removed = co_await remove_tag(std::move(removal));
    if (removed || !worth_another_try(removed.error()) ||
        attempt >= static_cast<unsigned>(pass_.retry.attempts))
      co_return removed;
    co_await sleep_for(
        retry_pause(pass_.retry, attempt, removed.error().retry_after, pass_.random));
  }
}

}  // namespace

asio::awaitable<std::vector<DeletedTag>> delete_extras(DeletePass pass, Extras extras,
                                                       bool allowed) {
  Deletes deletes(pass, std::move(extras));
  co_return co_await deletes.run(allowed);
}

}  // namespace transship::commands
