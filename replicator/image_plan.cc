#include "replicator/image_plan.h"

#include <fmt/format.h>

#include "replicator/image_blobs.h"
#include "replicator/image_tree.h"
#include "replicator/referrers_copy.h"

namespace transship {

namespace {

asio::awaitable<Result<void>> look_for_blob(Target& target, oci::Repository repository,
                                            oci::Digest blob) {
  auto size = co_await target.registry().head_blob(repository, blob);
  if (!size) co_return fail(size.error());
  if (*size) target.locations().learn(blob, repository);
  co_return Result<void>{};
}

// Asks for each blob of which nothing is known, once.
asio::awaitable<Result<void>> look_for_blobs(const ImageJob& job, std::vector<ImageTree> trees) {
  std::set<oci::Digest> unknown;
  for (const ImageTree& tree : trees) {
    for (const auto& manifest : tree.manifests) {
      for (const oci::Descriptor& blob : manifest->blobs) {
        if (!job.target.locations().holds(blob.digest, job.target_repository))
          unknown.insert(blob.digest);
      }
    }
  }
  TaskGroup group(co_await asio::this_coro::executor);
  for (const oci::Digest& blob : unknown)
    group.spawn(look_for_blob(job.target, job.target_repository, blob));
  co_return co_await group.join();
}

// What refers to the image and would come with it.
asio::awaitable<Result<std::vector<Referrer>>> referrers_of(const ImageJob& job,
                                                            const ImageTree& tree,
                                                            bool target_is_fresh) {
  if (!job.referrers) co_return std::vector<Referrer>();
  std::vector<oci::Digest> subjects;
  for (const auto& manifest : tree.manifests) subjects.push_back(manifest->digest);
  auto named = co_await find_referrers(job.source, job.source_repository, std::move(subjects),
                                       job.source_tags);
  if (named && !target_is_fresh)
    named = co_await not_at_target(job.target, job.target_repository, std::move(*named));
  if (!named) co_return fail(named.error());
  auto read = co_await read_referrers(job.source, job.source_repository, std::move(*named));
  if (!read) co_return fail(read.error());
  co_return std::move(read->referrers);
}

asio::awaitable<Result<std::optional<oci::Digest>>> shown_by(registry::Registry& registry,
                                                             oci::Repository repository,
                                                             oci::Reference reference) {
  auto head = co_await registry.head_manifest(std::move(repository), std::move(reference));
  if (!head) co_return fail(head.error());
  co_return *head ? std::optional((*head)->digest) : std::nullopt;
}

asio::awaitable<Result<PlannedImage>> make(ImageJob job) {
  auto source_digest = job.source_seen;
  if (!source_digest) {
    auto shown = co_await shown_by(job.source, job.source_repository, job.source_reference);
    if (!shown) co_return fail(shown.error());
    if (!*shown) co_return PlannedImage{ImageOutcome::absent, {}, {}};
    source_digest = *shown;
  }
  const oci::Reference reference =
      job.target_tag ? oci::Reference(*job.target_tag) : oci::Reference(*source_digest);
  std::optional<oci::Digest> target_digest;
  if (job.target_seen) {
    target_digest = job.target_seen->digest;
  } else {
    auto shown = co_await shown_by(job.target.registry(), job.target_repository, reference);
    if (!shown) co_return fail(shown.error());
    target_digest = *shown;
  }
  if (target_digest == source_digest) {
    co_return PlannedImage{ImageOutcome::unchanged, source_digest, {}};
  }
  if (job.may_replace) {
    auto allowed = co_await job.may_replace(*source_digest, target_digest);
    if (!allowed) co_return fail(allowed.error());
    if (!*allowed) co_return PlannedImage{ImageOutcome::kept, source_digest, {}};
  }
  auto root = co_await job.source.get_manifest(job.source_repository, *source_digest);
  if (!root) co_return fail(root.error());
  if (!*root) co_return PlannedImage{ImageOutcome::absent, {}, {}};
  auto tree = co_await read_tree(job.source, job.source_repository,
                                 std::make_shared<const oci::Manifest>(std::move(**root)), {});
  if (!tree) co_return fail(tree.error());
  auto fresh = co_await job.target.is_fresh(job.target_repository);
  if (!fresh) co_return fail(fresh.error());
  auto referrers = co_await referrers_of(job, *tree, *fresh);
  if (!referrers) co_return fail(referrers.error());
  if (!*fresh) {
    std::vector<ImageTree> trees{*tree};
    for (const Referrer& referrer : *referrers) trees.push_back(referrer.tree);
    auto looked = co_await look_for_blobs(job, std::move(trees));
    if (!looked) co_return fail(looked.error());
  }
  const BlobPlaces places = places_at(job.target, job.target_repository);
  auto plan = make_plan(*tree, {}, places, reference);
  if (!plan) co_return fail(plan.error());
  std::set<oci::Digest> counted;
  for (const BlobStep& step : plan->blobs) counted.insert(step.blob.digest);
  auto more = make_referrers_plan(*referrers, counted, places);
  if (!more) co_return fail(more.error());
  plan->blobs.insert(plan->blobs.end(), more->blobs.begin(), more->blobs.end());
  for (const BlobStep& step : plan->blobs)
    job.target.locations().learn(step.blob.digest, job.target_repository);
  co_return PlannedImage{ImageOutcome::copied, source_digest, std::move(*plan)};
}

}  // namespace

asio::awaitable<Result<PlannedImage>> plan_image(ImageJob job) {
  const std::string doing =
      fmt::format("{}{} from {} to {}", job.source_repository.str(), job.source_reference.suffix(),
                  job.source.name(), job.target.registry().name());
  auto planned = co_await make(std::move(job));
  if (!planned) co_return fail(planned.error().with_context(doing));
  co_return planned;
}

}  // namespace transship
