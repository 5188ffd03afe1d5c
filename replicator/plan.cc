#include "replicator/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace transship {

namespace {

bool is_non_distributable(const oci::Descriptor& blob) {
  return !blob.urls.empty() && (blob.media_type.find("nondistributable") != std::string::npos ||
                                blob.media_type.find(".foreign.") != std::string::npos);
}

BlobStep step_for(const oci::Descriptor& blob, const BlobPlace& place) {
  BlobStep step{blob, BlobAction::send, std::nullopt, is_non_distributable(blob)};
  if (place.here) {
    step.action = BlobAction::present;
  } else if (place.elsewhere) {
    step.action = BlobAction::mount;
    step.mount_from = place.elsewhere;
  }
  return step;
}

// How far a manifest is above the lowest of those below it: what has to wait for what.
std::size_t level_of(const oci::Manifest& manifest,
                     const std::map<oci::Digest, std::size_t>& levels) {
  std::size_t level = 0;
  for (const oci::Descriptor& child : manifest.manifests) {
    if (const auto below = levels.find(child.digest); below != levels.end()) {
      level = std::max(level, below->second + 1);
    }
  }
  return level;
}

}  // namespace

Plan::Sum Plan::sum(BlobAction action) const {
  Sum sum;
  for (const BlobStep& step : blobs) {
    if (step.action != action) continue;
    ++sum.blobs;
    sum.bytes += step.blob.size;
  }
  return sum;
}

Result<Plan> make_plan(const ImageTree& tree, const std::set<oci::Digest>& held,
                       const BlobPlaces& places, const oci::Reference& reference) {
  Plan plan;
  std::map<oci::Digest, std::uint64_t> sizes;
  std::map<oci::Digest, std::size_t> levels;
  for (const auto& manifest : tree.manifests) {
    const bool is_root = manifest == tree.manifests.back();
    if (!is_root && held.contains(manifest->digest)) continue;
    for (const oci::Descriptor& blob : manifest->blobs) {
      const auto [known, added] = sizes.try_emplace(blob.digest, blob.size);
      if (!added && known->second != blob.size) {
        return fail(ErrorKind::invalid, fmt::format("{} is named with two sizes, {} and {} bytes",
                                                    blob.digest.str(), known->second, blob.size));
      }
      if (added) plan.blobs.push_back(step_for(blob, places(blob.digest)));
    }
    const std::size_t level = level_of(*manifest, levels);
    levels.emplace(manifest->digest, level);
    if (plan.manifests.size() <= level) plan.manifests.resize(level + 1);
    plan.manifests[level].push_back(
        {manifest, is_root ? reference : oci::Reference(manifest->digest)});
  }
  return plan;
}

}  // namespace transship
