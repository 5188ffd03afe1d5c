#include "replicator/image_tree.h"

#include <fmt/format.h>

#include <map>

namespace transship {

namespace {

using Manifests = std::map<oci::Digest, std::shared_ptr<const oci::Manifest>>;

Result<void> check_bounds(const Manifests& all, const TreeLimits& limits) {
  std::size_t bytes = 0;
  std::size_t blobs = 0;
  for (const auto& [digest, manifest] : all) {
    if (!manifest) continue;
    bytes += manifest->bytes.size();
    blobs += manifest->blobs.size();
  }
  if (all.size() > limits.manifests) {
    return fail(ErrorKind::invalid,
                fmt::format("the index reaches more than {} manifests", limits.manifests));
  }
  if (bytes > limits.bytes) {
    return fail(ErrorKind::invalid,
                fmt::format("its manifests have more than {} bytes", limits.bytes));
  }
  if (blobs > limits.blobs) {
    return fail(ErrorKind::invalid,
                fmt::format("its manifests name more than {} blobs", limits.blobs));
  }
  return {};
}

asio::awaitable<Result<void>> read_child(registry::Registry& source, oci::Repository repository,
                                         oci::Digest digest, Manifests& into,
                                         const TreeLimits& limits) {
  auto manifest = co_await source.get_manifest(repository, digest);
  if (!manifest) co_return fail(manifest.error());
  if (!*manifest) {
    co_return fail(ErrorKind::not_found,
                   fmt::format("{} lacks {}@{}, which its index names", source.name(),
                               repository.str(), digest.str()));
  }
  into[digest] = std::make_shared<const oci::Manifest>(std::move(**manifest));
  co_return check_bounds(into,
                         limits);  // at each, since a whole level may be more than we could hold
}

// Children before parents. Digests cannot form a cycle, and the depth was limited when they were
// read.
void add_in_order(const std::shared_ptr<const oci::Manifest>& manifest, const Manifests& all,
                  std::set<oci::Digest>& added, ImageTree& tree) {
  if (!added.insert(manifest->digest).second) return;
  for (const oci::Descriptor& child : manifest->manifests) {
    if (const auto found = all.find(child.digest); found != all.end()) {
      add_in_order(found->second, all, added, tree);
    }
  }
  tree.manifests.push_back(manifest);
}

}  // namespace

asio::awaitable<Result<ImageTree>> read_tree(registry::Registry& source, oci::Repository repository,
                                             std::shared_ptr<const oci::Manifest> root,
                                             std::set<oci::Digest> held, TreeLimits limits) {
  Manifests all{{root->digest, root}};
  std::vector<std::shared_ptr<const oci::Manifest>> level{root};
  for (std::size_t depth = 0; !level.empty(); ++depth) {
    std::vector<oci::Digest> wanted;
    for (const auto& parent : level) {
      for (const oci::Descriptor& child : parent->manifests) {
        if (held.contains(child.digest)) continue;
        if (all.try_emplace(child.digest, nullptr).second) wanted.push_back(child.digest);
      }
    }
    if (wanted.empty()) break;
    if (depth >= limits.depth) {
      co_return fail(ErrorKind::invalid,
                     fmt::format("indexes nested deeper than {} levels", limits.depth));
    }
    if (auto bounds = check_bounds(all, limits); !bounds) co_return fail(bounds.error());
    TaskGroup group(co_await asio::this_coro::executor);
    for (const oci::Digest& digest : wanted)
      group.spawn(read_child(source, repository, digest, all, limits));
    if (auto read = co_await group.join(); !read) co_return fail(read.error());
    level.clear();
    for (const oci::Digest& digest : wanted) level.push_back(all.at(digest));
  }
  if (auto bounds = check_bounds(all, limits); !bounds) co_return fail(bounds.error());
  ImageTree tree;
  std::set<oci::Digest> added;
  add_in_order(root, all, added, tree);
  co_return tree;
}

}  // namespace transship
