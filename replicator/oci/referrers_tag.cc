#include "replicator/oci/referrers_tag.h"

#include <algorithm>

namespace transship::oci {

namespace {

constexpr std::size_t hex_digits = 64;

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

}  // namespace

std::optional<ReferrersTag> ReferrersTag::parse(std::string_view tag) {
  for (const std::string_view algorithm : {"sha256-", "sha512-"}) {
    if (!tag.starts_with(algorithm)) continue;
    const std::size_t end = algorithm.size() + hex_digits;
    if (tag.size() < end) return std::nullopt;
    const std::string_view hex = tag.substr(algorithm.size(), hex_digits);
    if (!std::all_of(hex.begin(), hex.end(), is_hex)) return std::nullopt;
    if (tag.size() == end) return ReferrersTag{std::string(tag), {}};
    if (tag[end] != '.' || tag.size() == end + 1) return std::nullopt;
    return ReferrersTag{std::string(tag.substr(0, end)), std::string(tag.substr(end + 1))};
  }
  return std::nullopt;
}

std::string ReferrersTag::subject_of(const Digest& digest) {
  const std::string& text = digest.str();
  return text.substr(0, text.find(':')) + "-" + std::string(digest.hex().substr(0, hex_digits));
}

std::optional<Digest> ReferrersTag::digest() const {
  if (!subject.starts_with("sha256-")) return std::nullopt;
  auto parsed = Digest::parse("sha256:" + subject.substr(subject.find('-') + 1));
  return parsed ? std::optional(std::move(*parsed)) : std::nullopt;
}

Tag fallback_tag(const Digest& subject) { return *Tag::parse(ReferrersTag::subject_of(subject)); }

}  // namespace transship::oci
