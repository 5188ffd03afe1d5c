#include "replicator/oci/referrers_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace transship::oci {

namespace {

using Json = nlohmann::ordered_json;

Json empty_index() {
  return {{"schemaVersion", 2}, {"mediaType", media_type::oci_index}, {"manifests", Json::array()}};
}

// Its descriptor carries the manifest's own artifactType and annotations, so that clients can
// choose without reading it.
Json entry_of(const Manifest& referrer) {
  Json entry{{"mediaType", referrer.media_type},
             {"digest", referrer.digest.str()},
             {"size", referrer.bytes.size()}};
  if (const std::string type = referrer.type_as_referrer(); !type.empty())
    entry["artifactType"] = type;
  if (!referrer.annotations.empty()) entry["annotations"] = referrer.annotations;
  return entry;
}

bool names(const Manifest* index, const Digest& digest) {
  return index != nullptr &&
         std::any_of(index->manifests.begin(), index->manifests.end(),
                     [&](const Descriptor& entry) { return entry.digest == digest; });
}

}  // namespace

Result<std::optional<Manifest>> referrers_index_with(
    const Manifest* existing, const std::vector<std::shared_ptr<const Manifest>>& referrers,
    const std::set<Digest>& gone) {
  if (existing != nullptr && !existing->is_index())
    return fail(ErrorKind::invalid, "what is there is no index of referrers");
  Json index = existing == nullptr ? empty_index() : Json::parse(existing->bytes);
  Json& entries = index["manifests"];
  if (entries.is_null()) entries = Json::array();
  bool changed = false;
  for (auto entry = entries.begin(); entry != entries.end();) {
    const auto digest = Digest::parse((*entry)["digest"].get<std::string>());
    const bool goes = digest && gone.contains(*digest);
    changed = changed || goes;
    entry = goes ? entries.erase(entry) : entry + 1;
  }
  std::set<Digest> added;
  for (const auto& referrer : referrers) {
    if (names(existing, referrer->digest) || !added.insert(referrer->digest).second) continue;
    entries.push_back(entry_of(*referrer));
    changed = true;
  }
  if (!changed) return std::optional<Manifest>();
  const std::string type =
      existing == nullptr ? std::string(media_type::oci_index) : existing->media_type;
  auto made = parse_manifest(index.dump(-1, ' ', false, Json::error_handler_t::replace), type);
  if (!made) return fail(made.error().with_context("the index of referrers"));
  return std::optional(std::move(*made));
}

}  // namespace transship::oci
