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

namespace {

// Blobs of many manifests, each once.
class BlobSteps {
 public:
  BlobSteps(const BlobPlaces& places, std::vector<BlobStep>& steps)
      : places_(places), steps_(steps) {}

  Result<void> add(const oci::Manifest& manifest, const std::set<oci::Digest>& without = {}) {
    for (const oci::Descriptor& blob : manifest.blobs) {
      const auto [known, added] = sizes_.try_emplace(blob.digest, blob.size);
      if (!added && known->second != blob.size) {
        return fail(ErrorKind::invalid, fmt::format("{} is named with two sizes, {} and {} bytes",
                                                    blob.digest.str(), known->second, blob.size));
      }
      if (added && !without.contains(blob.digest))
        steps_.push_back(step_for(blob, places_(blob.digest)));
    }
    return {};
  }

 private:
  const BlobPlaces& places_;
  std::vector<BlobStep>& steps_;
  std::map<oci::Digest, std::uint64_t> sizes_;
};

void add_step(std::vector<std::vector<ManifestStep>>& levels, std::size_t level,
              ManifestStep step) {
  if (levels.size() <= level) levels.resize(level + 1);
  levels[level].push_back(std::move(step));
}

}  // namespace

Result<Plan> make_plan(const ImageTree& tree, const std::set<oci::Digest>& held,
                       const BlobPlaces& places, const oci::Reference& reference) {
  Plan plan;
  BlobSteps blobs(places, plan.blobs);
  std::map<oci::Digest, std::size_t> levels;
  for (const auto& manifest : tree.manifests) {
    const bool is_root = manifest == tree.manifests.back();
    if (!is_root && held.contains(manifest->digest)) continue;
    if (auto added = blobs.add(*manifest); !added) return fail(added.error());
    const std::size_t level = level_of(*manifest, levels);
    levels.emplace(manifest->digest, level);
    add_step(plan.manifests, level,
             {manifest, is_root ? reference : oci::Reference(manifest->digest)});
  }
  return plan;
}

Result<ReferrersPlan> make_referrers_plan(const std::vector<Referrer>& referrers,
                                          const std::set<oci::Digest>& counted,
                                          const BlobPlaces& places) {
  ReferrersPlan plan;
  BlobSteps blobs(places, plan.blobs);
  std::map<oci::Digest, std::size_t> levels;  // of what goes by digest
  for (const Referrer& referrer : referrers) {
    const auto& root = referrer.tree.manifests.back();
    for (const auto& manifest : referrer.tree.manifests) {
      if (auto added = blobs.add(*manifest, counted); !added) return fail(added.error());
      if ((manifest == root && referrer.tag) || levels.contains(manifest->digest)) continue;
      std::size_t level = level_of(*manifest, levels);
      if (const auto subject = levels.find(referrer.subject);
          manifest == root && subject != levels.end())
        level = std::max(level, subject->second + 1);
      levels.emplace(manifest->digest, level);
      add_step(plan.by_digest, level, {manifest, manifest->digest});
    }
    if (!referrer.tag) plan.entries[referrer.subject].push_back(root);
  }
  // From the last found, which nothing refers to, back to the first.
  std::map<oci::Digest, std::size_t> heights;  // of a subject above the highest that refers to it
  for (auto referrer = referrers.rbegin(); referrer != referrers.rend(); ++referrer) {
    const auto& root = referrer->tree.manifests.back();
    const auto below = heights.find(root->digest);
    const std::size_t height = below == heights.end() ? 0 : below->second;
    std::size_t& above = heights[referrer->subject];
    above = std::max(above, height + 1);
    if (referrer->tag) add_step(plan.by_tag, height, {root, *referrer->tag});
  }
  return plan;
}

}  // namespace transship
