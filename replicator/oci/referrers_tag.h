#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "replicator/oci/reference.h"

namespace transship::oci {

// A tag that is no image of its own but stands for what refers to one: "sha256-<64 hex>" holds the
// index of a manifest's referrers where a registry has no API for them (distribution-spec,
// "Referrers Tag Schema"), "sha256-<64 hex>.sig", ".att", ".sbom" and the like hold a signature, an
// attestation, an SBOM (cosign's tag schema). Of a longer digest the tag has the first 64 digits.
struct ReferrersTag {
  std::string subject;  // the first part: "sha256-<64 hex>"
  std::string suffix;   // "sig"; empty for an index of referrers

  // nullopt: an ordinary tag.
  static std::optional<ReferrersTag> parse(std::string_view tag);
  // The tag's first part for what refers to this manifest.
  static std::string subject_of(const Digest& digest);

  [[nodiscard]] bool is_index() const { return suffix.empty(); }
  [[nodiscard]] bool refers_to(const Digest& digest) const { return subject == subject_of(digest); }
  // The digest of what it refers to; nullopt where the tag has only a part of it.
  [[nodiscard]] std::optional<Digest> digest() const;
};

// The tag of the index of a manifest's referrers.
Tag fallback_tag(const Digest& subject);

}  // namespace transship::oci
