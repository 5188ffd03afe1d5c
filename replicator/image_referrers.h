#pragma once

#include "replicator/image_copy.h"

namespace transship {

// Brings what refers to an image that the target shows already, by the job's tag or digest: late
// signatures, SBOMs, attestations. The image itself is not compared. Outcomes: copied (something
// was brought), unchanged, absent (the target does not show the image). Errors: as copy_image().
asio::awaitable<Result<ImageResult>> copy_referrers(ImageJob job);

// Brings the one referrer that the job's source reference names, and what refers to it, where the
// target holds its subject: a signature tag, an index of referrers under its fallback tag, or a
// manifest pushed by digest alone that has a subject. Outcomes: copied, unchanged, absent (the
// source does not have it), not_wanted (it has no subject, or the target does not hold it). The
// digest is the source's. Errors: as copy_image().
asio::awaitable<Result<ImageResult>> copy_referrer(ImageJob job);

}  // namespace transship
