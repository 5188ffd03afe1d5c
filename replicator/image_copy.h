#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "replicator/plan.h"
#include "replicator/target.h"

namespace transship {

// One image to bring to one target: what the source shows under a reference now, to be found at the
// target by tag, or by its digest where there is no tag.
struct ImageJob {
  registry::Registry& source;
  oci::Repository source_repository;
  oci::Reference source_reference;
  Target& target;
  oci::Repository target_repository;
  std::optional<oci::Tag> target_tag;
  // What an event said that the source shows. Only a hint, which saves a round trip when it differs
  // from the target's.
  std::optional<oci::Digest> expected = {};
  int priority = 0;
  // Called once the plan is made, with the bytes that have to be sent or mounted. May be empty.
  std::function<void(const oci::Digest&, std::uint64_t bytes)> planned = {};
  // Asked before anything is copied, and again before the tag is put where the target's has moved
  // meanwhile: may what the target shows (none: no such tag) give way to what the source shows? May
  // be empty: it may.
  std::function<asio::awaitable<Result<bool>>(oci::Digest source,
                                              std::optional<oci::Digest> target)>
      may_replace = {};
  // What the sides showed a moment ago, where the caller has asked already: they are not asked
  // again.
  struct Seen {
    std::optional<oci::Digest> digest;  // none: it was absent
  };
  std::optional<Seen> target_seen = {};
  std::optional<oci::Digest> source_seen = {};
  // Its place among the copies of the same image to other targets; copy_image() takes it.
  SharedReads::Member* together = nullptr;
  // What refers to it (signatures, SBOMs, attestations) comes with it.
  bool referrers = false;
  // The tags of the source's repository, sorted, where the caller has just listed them: signatures
  // are then looked for there.
  std::shared_ptr<const std::vector<std::string>> source_tags = {};
};

enum class ImageOutcome {
  copied,      // the target shows it now
  unchanged,   // the target showed it already
  absent,      // the source answers that it has no such image; the target was not touched
  kept,        // what the target shows may not be replaced; it was not touched
  not_wanted,  // it refers to nothing that the target holds; the target was not touched
};
std::string_view to_string(ImageOutcome outcome);

struct ImageResult {
  ImageOutcome outcome = ImageOutcome::unchanged;
  std::optional<oci::Digest> digest =
      {};  // what source and target show now; none where the image is absent
  struct Blobs {
    std::uint64_t copied = 0, mounted = 0, present = 0;
  } blobs;
  struct Bytes {
    std::uint64_t sent = 0, mounted = 0, present = 0;
  } bytes;
  std::uint64_t referrers = 0;  // that were brought with it
  // What lists of referrers name and the source itself does not have any more, for people; at most
  // left_out_max of them.
  std::vector<std::string> left_out = {};
  static constexpr std::size_t left_out_max = 16;
};

// Makes the target hold what the source holds: blobs, then manifests from the bottom up, what
// refers to them, the tag last. It returns success only once the target has answered that it shows
// the digest. Errors: what the registries say.
asio::awaitable<Result<ImageResult>> copy_image(ImageJob job);

}  // namespace transship
