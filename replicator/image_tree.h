#pragma once

#include <functional>

#include "replicator/plan.h"
#include "replicator/registry/registry.h"

namespace transship {

struct TreeLimits {
  std::size_t depth = 8;            // an index in an index in …
  std::size_t manifests = 1'000;    // of one image
  std::size_t bytes = 64UL << 20U;  // of all its manifests together
  std::size_t blobs = 50'000;       // named by all its manifests together
};

// Reads everything below an image's manifest from the source, side by side. A child that `held`
// says is at the target already is not read. Errors: not_found (the source lacks a child), invalid
// (a limit), what the registry says.
asio::awaitable<Result<ImageTree>> read_tree(registry::Registry& source, oci::Repository repository,
                                             std::shared_ptr<const oci::Manifest> root,
                                             std::set<oci::Digest> held, TreeLimits limits = {});

}  // namespace transship
