#pragma once

#include <memory>
#include <vector>

#include "replicator/registry/registry.h"

namespace transship {

// Makes the index under a subject's fallback tag name these referrers too (distribution-spec,
// "Pushing Manifests with Subject"), for a registry that lists none by itself. What others wrote
// there stays. Copies of one process take turns; a race that another writer wins is noticed by
// reading again, and run again at most fallback_tries times. Errors: transient (it was lost every
// time), conflict (the tag is immutable), invalid (the tag holds no index, or one that is full),
// unsupported (a registry that takes such a tag for a digest).
asio::awaitable<Result<void>> list_under_fallback_tag(
    registry::Registry& registry, oci::Repository repository, oci::Digest subject,
    std::vector<std::shared_ptr<const oci::Manifest>> referrers);
constexpr int fallback_tries = 5;

}  // namespace transship
