#pragma once

#include <set>
#include <vector>

#include "replicator/image_copy.h"

namespace transship {

// Brings the blobs of a plan to the job's target, side by side, and counts them in `result`. A blob
// that the source itself answers not to have ends it with an error, or, where `lacking` is given,
// is noted there. Errors: not_found, what copy_blob() says.
asio::awaitable<Result<void>> carry_blobs(const ImageJob& job, bool target_is_fresh,
                                          const std::vector<BlobStep>& steps, ImageResult& result,
                                          std::set<oci::Digest>* lacking = nullptr);

// Where the target has a blob, as far as its answers have told.
BlobPlaces places_at(Target& target, const oci::Repository& repository);

}  // namespace transship
