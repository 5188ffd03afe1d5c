#include "replicator/tag_removal.h"

#include <fmt/format.h>

namespace transship {

using Deletion = registry::Registry::Deletion;

asio::awaitable<Result<RemovedTag>> remove_tag(TagRemoval removal) {
  const std::string doing = fmt::format("delete {}:{} from {}", removal.target_repository.str(),
                                        removal.tag.str(), removal.target.name());
  auto lacks = co_await removal.source.plainly_lacks(removal.source_repository, removal.tag);
  if (!lacks) co_return fail(lacks.error().with_context(doing));
  if (!*lacks) co_return RemovedTag{RemovalOutcome::at_source};
  auto deletion = co_await removal.target.delete_tag(removal.target_repository, removal.tag,
                                                     removal.digest, removal.may_go);
  if (!deletion) co_return fail(deletion.error().with_context(doing));
  switch (deletion->outcome) {
    case Deletion::Outcome::absent:
      co_return RemovedTag{RemovalOutcome::absent};
    case Deletion::Outcome::moved:
      co_return RemovedTag{RemovalOutcome::moved};
    case Deletion::Outcome::deleted:
      break;
  }
  RemovedTag removed{RemovalOutcome::deleted, true, deletion->by_digest, std::move(deletion->also)};
  // It may have been pushed again meanwhile, and copied by another daemon.
  auto shown =
      co_await removal.source.head_manifest(removal.source_repository, oci::Reference(removal.tag));
  if (shown && *shown) removed.outcome = RemovalOutcome::at_source;
  co_return removed;
}

}  // namespace transship
