#pragma once

#include "replicator/registry/registry.h"

namespace transship {

// A tag that goes from a target because the source has it no longer.
struct TagRemoval {
  registry::Registry& source;
  oci::Repository source_repository;
  oci::Tag tag;
  registry::Registry& target;
  oci::Repository target_repository;
  oci::Digest digest;  // what we put there; anything else stays
  // Another tag of the target's repository shows the same manifest and would go with it.
  registry::Registry::MayGo may_go;
};

enum class RemovalOutcome {
  deleted,
  absent,     // the target had it no longer
  moved,      // the target shows something that we did not put there, and keeps it
  at_source,  // the source has it, or has it again since it was deleted: it is to be copied
};

struct RemovedTag {
  RemovalOutcome outcome = RemovalOutcome::deleted;
  bool deleted = false;             // it went, also where the source has it again now
  bool by_digest = false;           // its manifest went, and whatever was tagged with it meanwhile
  std::vector<oci::Tag> also = {};  // went with it
};

// Looks at the source, which must plainly say that the tag is gone, then at the target, deletes,
// and looks at the source once more. Errors: as Registry::delete_tag says; what the registries say.
asio::awaitable<Result<RemovedTag>> remove_tag(TagRemoval removal);

}  // namespace transship
