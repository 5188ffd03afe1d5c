#include "replicator/image_blobs.h"

#include "replicator/blob_copy.h"

namespace transship {

namespace {

// Blobs of one image looked after at once; how many are on the wire is the target's to bound.
constexpr std::size_t side_by_side_max = 64;

struct Load {
  const ImageJob& job;
  bool target_is_fresh;
  const std::vector<BlobStep>& steps;
  ImageResult& result;
  std::set<oci::Digest>* lacking;
  std::size_t next = 0;
};

void count(BlobOutcome outcome, std::uint64_t bytes, ImageResult& result) {
  switch (outcome) {
    case BlobOutcome::copied:
    case BlobOutcome::resumed:
      ++result.blobs.copied;
      result.bytes.sent += bytes;
      break;
    case BlobOutcome::mounted:
      ++result.blobs.mounted;
      result.bytes.mounted += bytes;
      break;
    case BlobOutcome::present:
      ++result.blobs.present;
      result.bytes.present += bytes;
      break;
  }
}

asio::awaitable<Result<void>> carry_blob(Load& load, BlobStep step) {
  const ImageJob& job = load.job;
  BlobJob blob{job.source,           job.source_repository, job.target,  job.target_repository,
               load.target_is_fresh, job.priority,          job.together};
  auto outcome = co_await copy_blob(std::move(blob), step);
  if (outcome) {
    count(*outcome, step.blob.size, load.result);
    co_return Result<void>{};
  }
  if (load.lacking != nullptr && outcome.error().kind == ErrorKind::not_found) {
    auto size = co_await job.source.head_blob(job.source_repository, step.blob.digest);
    if (size && !*size) {
      load.lacking->insert(step.blob.digest);
      co_return Result<void>{};
    }
  }
  co_return fail(outcome.error());
}

// Takes one after another of what nobody has taken, as others do beside it.
asio::awaitable<Result<void>> carry_some(Load& load) {
  while (load.next < load.steps.size()) {
    if (auto carried = co_await carry_blob(load, load.steps[load.next++]); !carried)
      co_return carried;
  }
  co_return Result<void>{};
}

}  // namespace

asio::awaitable<Result<void>> carry_blobs(const ImageJob& job, bool target_is_fresh,
                                          const std::vector<BlobStep>& steps, ImageResult& result,
                                          std::set<oci::Digest>* lacking) {
  Load load{job, target_is_fresh, steps, result, lacking};
  TaskGroup group(co_await asio::this_coro::executor);
  for (std::size_t i = 0; i < std::min(steps.size(), side_by_side_max); ++i)
    group.spawn(carry_some(load));
  co_return co_await group.join();
}

BlobPlaces places_at(Target& target, const oci::Repository& repository) {
  return [&target, repository](const oci::Digest& blob) {
    return BlobPlace{target.locations().holds(blob, repository),
                     target.locations().elsewhere(blob, repository)};
  };
}

}  // namespace transship
