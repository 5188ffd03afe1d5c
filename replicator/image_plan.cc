#include "replicator/image_plan.h"

#include <fmt/format.h>

#include "replicator/image_tree.h"

namespace transship {

namespace {

// The blobs of a tree whose place at the target nobody knows yet, each once.
std::set<oci::Digest> unknown_blobs(const ImageTree& tree, const BlobLocations& locations,
                                    const oci::Repository& repository) {
  std::set<oci::Digest> unknown;
  for (const auto& manifest : tree.manifests) {
    for (const oci::Descriptor& blob : manifest->blobs) {
      if (!locations.holds(blob.digest, repository)) unknown.insert(blob.digest);
    }
  }
  return unknown;
}

asio::awaitable<Result<void>> look_for_blob(Target& target, oci::Repository repository,
                                            oci::Digest blob) {
  auto size = co_await target.registry().head_blob(repository, blob);
  if (!size) co_return fail(size.error());
  if (*size) target.locations().learn(blob, repository);
  co_return Result<void>{};
}

asio::awaitable<Result<void>> look_for_blobs(const ImageJob& job, const ImageTree& tree) {
  auto fresh = co_await job.target.is_fresh(job.target_repository);
  if (!fresh) co_return fail(fresh.error());
  if (*fresh) co_return Result<void>{};
  TaskGroup group(co_await asio::this_coro::executor);
  for (const oci::Digest& blob :
       unknown_blobs(tree, job.target.locations(), job.target_repository)) {
    group.spawn(look_for_blob(job.target, job.target_repository, blob));
  }
  co_return co_await group.join();
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
  auto root = co_await job.source.get_manifest(job.source_repository, *source_digest);
  if (!root) co_return fail(root.error());
  if (!*root) co_return PlannedImage{ImageOutcome::absent, {}, {}};
  auto tree = co_await read_tree(job.source, job.source_repository,
                                 std::make_shared<const oci::Manifest>(std::move(**root)), {});
  if (!tree) co_return fail(tree.error());
  if (auto looked = co_await look_for_blobs(job, *tree); !looked) co_return fail(looked.error());

  BlobLocations& locations = job.target.locations();
  const auto places = [&](const oci::Digest& blob) {
    return BlobPlace{locations.holds(blob, job.target_repository),
                     locations.elsewhere(blob, job.target_repository)};
  };
  auto plan = make_plan(*tree, {}, places, reference);
  if (!plan) co_return fail(plan.error());
  for (const BlobStep& step : plan->blobs) {
    locations.learn(step.blob.digest, job.target_repository);
  }
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
