#pragma once

#include "replicator/base/observer.h"
#include "replicator/plan.h"
#include "replicator/target.h"

namespace transship {

struct BlobJob {
  registry::Registry& source;
  oci::Repository source_repository;
  Target& target;
  oci::Repository target_repository;
  // The target's repository did not exist before: what is not known to be in it is not in it.
  bool target_is_fresh = false;
  int priority = 0;
  // The image that it belongs to, on its way to this target and perhaps to others; may be null.
  SharedReads::Member* image = nullptr;
};

// Makes the target's repository hold one blob, with the fewest requests: nothing where it is known
// to be there, else one that mounts it, finds it there, or opens the upload. Streams it from the
// source without touching disk and hashes it on the way; a blob that does not prove its digest
// never ends its upload. An upload that was broken off goes on where the target says that it
// stands. Whoever asks for the same blob meanwhile waits, then finds it there or mounts it.
asio::awaitable<Result<BlobOutcome>> copy_blob(BlobJob job, BlobStep step);

}  // namespace transship
