#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "replicator/image_copy.h"
#include "replicator/referrers.h"

namespace transship {

// Brings what refers to one image to the target: first what can go beside the image's own blobs,
// then, before the image's tag, the manifests. Belongs to one copy of one image.
class ReferrersCopy {
 public:
  // Both live as long as this.
  ReferrersCopy(const ImageJob& job, ImageResult& result) : job_(job), result_(result) {}

  // Finds what refers to `subjects` (an image and all manifests below it) and brings the blobs, but
  // for `counted`, which the image brings. Errors: what find_referrers(), read_referrers() and
  // copy_blob() say.
  asio::awaitable<Result<void>> carry(std::vector<oci::Digest> subjects,
                                      std::set<oci::Digest> counted, bool target_is_fresh);
  // The same for what was found already; what refers to these is found too.
  asio::awaitable<Result<void>> carry_named(std::vector<NamedReferrer> named);
  // Puts the manifests of what carry() brought, and lists them where the target does not. `image`
  // is put by its digest where the target takes no referrer before its subject; null: it is there.
  asio::awaitable<Result<void>> put(std::shared_ptr<const oci::Manifest> image);

  // Lists manifests as referrers of `subject` where the target does not do so by itself.
  asio::awaitable<Result<void>> list(oci::Digest subject,
                                     std::vector<std::shared_ptr<const oci::Manifest>> entries);

  [[nodiscard]] bool nothing_to_do() const {
    return plan_.by_digest.empty() && plan_.by_tag.empty();
  }

 private:
  asio::awaitable<Result<void>> bring(std::vector<NamedReferrer> named,
                                      std::set<oci::Digest> counted, bool target_is_fresh);
  asio::awaitable<Result<void>> leave_out_held(std::vector<NamedReferrer>& named);
  Result<void> leave_out_broken(const std::set<oci::Digest>& lacking,
                                const std::set<oci::Digest>& counted);
  void note_left_out(std::string what);
  asio::awaitable<Result<void>> put_levels(const std::vector<std::vector<ManifestStep>>& levels);
  asio::awaitable<Result<void>> put_one(ManifestStep step);
  asio::awaitable<Result<void>> put_by_digest(std::shared_ptr<const oci::Manifest> image);

  const ImageJob& job_;
  ImageResult& result_;
  std::vector<Referrer> referrers_;
  ReferrersPlan plan_;
  // Subjects of referrers that the target took without a word about them.
  std::set<oci::Digest> not_noted_;
};

// Of `named`, what the target does not show yet: not listed by its subject, or not under its tag.
asio::awaitable<Result<std::vector<NamedReferrer>>> not_at_target(Target& target,
                                                                  oci::Repository repository,
                                                                  std::vector<NamedReferrer> named);

}  // namespace transship
