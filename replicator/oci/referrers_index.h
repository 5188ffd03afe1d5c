#pragma once

#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "replicator/oci/manifest.h"

namespace transship::oci {

// The index of a manifest's referrers, as clients keep it under the fallback tag where a registry
// has no API for them (distribution-spec, "Pushing Manifests with Subject"): `existing` (null:
// there is none) with an entry for each of `referrers` that it lacks, and without the entries
// `gone`. Everything else in it stays as others wrote it. nullopt: nothing is to be changed.
// Errors: invalid (what exists is no index, or the new one is larger than a registry has to take).
Result<std::optional<Manifest>> referrers_index_with(
    const Manifest* existing, const std::vector<std::shared_ptr<const Manifest>>& referrers,
    const std::set<Digest>& gone = {});

}  // namespace transship::oci
