#include "replicator/image_referrers.h"

#include <fmt/format.h>

#include "replicator/oci/referrers_tag.h"
#include "replicator/referrers_copy.h"

namespace transship {

namespace {

ImageResult ended(ImageOutcome outcome, std::optional<oci::Digest> digest) {
  ImageResult result;
  result.outcome = outcome;
  result.digest = std::move(digest);
  return result;
}

// What is left to do once the blobs are there.
asio::awaitable<Result<ImageResult>> finish(ReferrersCopy& copy, ImageResult& result) {
  result.outcome = copy.nothing_to_do() ? ImageOutcome::unchanged : ImageOutcome::copied;
  if (auto put = co_await copy.put(nullptr); !put) co_return fail(put.error());
  co_return std::move(result);
}

asio::awaitable<Result<ImageResult>> bring_all(ImageJob job) {
  const oci::Reference reference =
      job.target_tag ? oci::Reference(*job.target_tag) : job.source_reference;
  auto shown = co_await job.target.registry().get_manifest(job.target_repository, reference);
  if (!shown) co_return fail(shown.error());
  if (!*shown) co_return ended(ImageOutcome::absent, {});
  const auto root = std::make_shared<const oci::Manifest>(std::move(**shown));
  auto subjects = co_await manifests_of(job.target.registry(), job.target_repository, root);
  if (!subjects) co_return fail(subjects.error());
  ImageResult result = ended(ImageOutcome::unchanged, root->digest);
  ReferrersCopy copy(job, result);
  if (auto carried = co_await copy.carry(std::move(*subjects), {}, false); !carried)
    co_return fail(carried.error());
  co_return co_await finish(copy, result);
}

// The subject of what an event told of.
std::optional<oci::Digest> subject_of(const ImageJob& job, const oci::Manifest& manifest) {
  const auto* tag = job.source_reference.tag();
  const auto parsed = tag == nullptr ? std::nullopt : oci::ReferrersTag::parse(tag->str());
  if (parsed && !parsed->is_index()) return parsed->digest();
  if (!parsed) return manifest.subject ? std::optional(manifest.subject->digest) : std::nullopt;
  return parsed->digest();
}

// Half of a long digest is in the tag; the manifests that the index names have all of it.
asio::awaitable<Result<std::optional<oci::Digest>>> subject_from(const ImageJob& job,
                                                                 const oci::Manifest& index) {
  const auto tag = oci::ReferrersTag::parse(job.source_reference.tag()->str());
  for (const oci::Descriptor& entry : index.manifests) {
    auto referrer = co_await job.source.get_manifest(job.source_repository, entry.digest);
    if (!referrer) co_return fail(referrer.error());
    if (*referrer && (*referrer)->subject && tag->refers_to((*referrer)->subject->digest))
      co_return (*referrer)->subject->digest;
  }
  co_return std::optional<oci::Digest>();
}

asio::awaitable<Result<ImageResult>> bring_one(ImageJob job) {
  auto read = co_await job.source.get_manifest(job.source_repository, job.source_reference);
  if (!read) co_return fail(read.error());
  if (!*read) co_return ended(ImageOutcome::absent, {});
  const auto manifest = std::make_shared<const oci::Manifest>(std::move(**read));
  const auto* tag = job.source_reference.tag();
  const bool is_index = tag != nullptr && oci::ReferrersTag::parse(tag->str())->is_index();
  auto subject = subject_of(job, *manifest);
  if (!subject && is_index) {
    auto found = co_await subject_from(job, *manifest);
    if (!found) co_return fail(found.error());
    subject = std::move(*found);
  }
  if (!subject) co_return ended(ImageOutcome::not_wanted, manifest->digest);
  auto held = co_await job.target.registry().head_manifest(job.target_repository, *subject);
  if (!held) co_return fail(held.error());
  if (!*held) co_return ended(ImageOutcome::not_wanted, manifest->digest);

  ImageResult result = ended(ImageOutcome::unchanged, manifest->digest);
  ReferrersCopy copy(job, result);
  Result<void> carried;
  if (is_index) {
    carried = co_await copy.carry({*subject}, {}, false);
  } else {
    NamedReferrer named{manifest->digest, *subject, {}, manifest};
    if (tag != nullptr) named.tag = *tag;
    carried = co_await copy.carry_named({std::move(named)});
  }
  if (!carried) co_return fail(carried.error());
  co_return co_await finish(copy, result);
}

std::string doing(const ImageJob& job, std::string_view what) {
  return fmt::format("{} {}{} from {} to {}", what, job.source_repository.str(),
                     job.source_reference.suffix(), job.source.name(),
                     job.target.registry().name());
}

}  // namespace

asio::awaitable<Result<ImageResult>> copy_referrers(ImageJob job) {
  const std::string context = doing(job, "what refers to");
  auto result = co_await bring_all(std::move(job));
  if (!result) co_return fail(result.error().with_context(context));
  co_return result;
}

asio::awaitable<Result<ImageResult>> copy_referrer(ImageJob job) {
  const std::string context = doing(job, "the referrer");
  auto result = co_await bring_one(std::move(job));
  if (!result) co_return fail(result.error().with_context(context));
  co_return result;
}

}  // namespace transship
