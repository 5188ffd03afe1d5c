#pragma once

#include "replicator/image_copy.h"

namespace transship {

struct PlannedImage {
  ImageOutcome outcome = ImageOutcome::unchanged;  // copied: it would be
  std::optional<oci::Digest> digest = {};          // what the source shows; none where it is absent
  // Empty unless it would be copied; the blobs of what refers to the image are among its own.
  Plan plan = {};
};

// What copy_image() would do now, found out without a write: one request more than that for each
// blob of which nothing is known. What this image would bring counts as there for the images that
// are planned after it.
asio::awaitable<Result<PlannedImage>> plan_image(ImageJob job);

}  // namespace transship
