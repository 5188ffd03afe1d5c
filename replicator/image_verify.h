#pragma once

#include <set>

#include "replicator/image_copy.h"

namespace transship {

// How a target's image differs from the source's: the worst, in this order.
enum class DriftKind { missing, different, incomplete, corrupt };
std::string_view to_string(DriftKind kind);

struct Drift {
  DriftKind kind = DriftKind::missing;
  std::string detail;  // for people: which digest, which blob
};

struct VerifiedImage {
  bool at_source = true;  // false: the source has no such image, and nothing is to be proven
  std::optional<Drift> drift = {};
};

// What was proven at one target in this run, so that shared blobs are asked for once.
struct Proven {
  std::set<std::pair<oci::Repository, oci::Digest>> blobs;
};

// Proves that the target shows what the source shows, down to every blob; `deep` reads each blob
// back and hashes it. The source is asked for one digest alone, since equal digests reach equal
// content, and where the job has it so, for what refers to the image.
asio::awaitable<Result<VerifiedImage>> verify_image(ImageJob job, bool deep, Proven& proven);

}  // namespace transship
