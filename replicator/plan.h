#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "replicator/oci/manifest.h"
#include "replicator/oci/reference.h"

// What has to be done to make a target hold an image, as a value: decided here without I/O, carried
// out by ImageCopy.
namespace transship {

// An image as the source holds it: its manifest, and of an index everything below.
struct ImageTree {
  // Each digest once, children before parents, the image itself last.
  std::vector<std::shared_ptr<const oci::Manifest>> manifests;

  [[nodiscard]] const oci::Manifest& root() const { return *manifests.back(); }
};

// Where a blob is at the target, as far as is known before asking.
struct BlobPlace {
  bool here = false;  // in the repository that the image goes to
  std::optional<oci::Repository> elsewhere =
      {};  // in another repository, from where it can be mounted
};
using BlobPlaces = std::function<BlobPlace(const oci::Digest&)>;

enum class BlobAction { present, mount, send };

struct BlobStep {
  oci::Descriptor blob;
  BlobAction action = BlobAction::send;
  std::optional<oci::Repository> mount_from;  // of a mount
  // A non-distributable layer: its bytes may be had at `urls` alone, so the source need not hold
  // it.
  bool may_be_absent = false;
};

struct ManifestStep {
  std::shared_ptr<const oci::Manifest> manifest;
  oci::Reference reference;  // its digest, or the tag of the image itself
};

struct Plan {
  std::vector<BlobStep> blobs;  // each digest once; all of them may run side by side
  std::vector<std::vector<ManifestStep>>
      manifests;  // level after level, the image itself alone in the last

  struct Sum {
    std::size_t blobs = 0;
    std::uint64_t bytes = 0;
  };
  [[nodiscard]] Sum sum(BlobAction action) const;
};

// `held` are manifests that the target's repository holds already; they and what only they need are
// left out. `reference` is what the image is to be found by at the target. Errors: invalid (one
// digest with two sizes).
Result<Plan> make_plan(const ImageTree& tree, const std::set<oci::Digest>& held,
                       const BlobPlaces& places, const oci::Reference& reference);

}  // namespace transship
