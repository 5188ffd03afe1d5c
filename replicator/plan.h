#pragma once

#include <cstdint>
#include <functional>
#include <map>
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

// What refers to an image or to something that does, as the source holds it.
struct Referrer {
  ImageTree tree;  // its manifest, and of an index everything below
  oci::Digest subject;
  // Where it is found by a tag instead of its subject: a signature as cosign keeps it.
  std::optional<oci::Tag> tag;
};

struct ReferrersPlan {
  std::vector<BlobStep> blobs;  // each digest once; all of them may run side by side
  // Level after level: those by digest, subjects first; then the entries, where the target has no
  // API for them; then those by tag, so that a tag comes after what refers to it.
  std::vector<std::vector<ManifestStep>> by_digest;
  std::vector<std::vector<ManifestStep>> by_tag;
  // What has to be listed among a subject's referrers.
  std::map<oci::Digest, std::vector<std::shared_ptr<const oci::Manifest>>> entries;
};

// `referrers` come in the order in which they were found: subjects before what refers to them.
// `counted` are blobs that the image's own plan brings. Errors: invalid (one digest with two
// sizes).
Result<ReferrersPlan> make_referrers_plan(const std::vector<Referrer>& referrers,
                                          const std::set<oci::Digest>& counted,
                                          const BlobPlaces& places);

}  // namespace transship
