#include "replicator/image_copy.h"

#include <fmt/format.h>

#include "replicator/base/broken.h"
#include "replicator/image_blobs.h"
#include "replicator/image_tree.h"
#include "replicator/referrers_copy.h"

namespace transship {

namespace {

using registry::Registry;

// Children of one image looked after at once.
constexpr std::size_t side_by_side_max = 64;

// What a target says of a manifest of which it cannot find a part; docker-registry calls a part's
// torn link an invalid digest.
bool lacks_part(const Error& error) {
  return error.code == "MANIFEST_BLOB_UNKNOWN" || error.code == "BLOB_UNKNOWN" ||
         error.code == "MANIFEST_UNKNOWN" || error.code == "DIGEST_INVALID";
}

// One image on its way: look, read, plan, act.
class ImageCopy {
 public:
  explicit ImageCopy(ImageJob job)
      : job_(std::move(job)),
        source_(job_.source),
        target_(job_.target.registry()),
        member_(job_.target.commons().reads.announce(source_, job_.source_repository,
                                                     job_.source_reference)) {
    job_.together = &member_;
  }

  asio::awaitable<Result<ImageResult>> run();

 private:
  [[nodiscard]] oci::Reference target_reference() const;
  asio::awaitable<Result<bool>> may_replace();
  asio::awaitable<Result<bool>> still_may_replace();
  ImageResult kept();
  // in_step, or absent at the source, or something to do.
  enum class Look { in_step, absent, differs };
  asio::awaitable<Result<Look>> look();
  asio::awaitable<Result<bool>> read_root();
  asio::awaitable<Result<void>> read_rest();
  asio::awaitable<Result<void>> find_held();
  asio::awaitable<Result<void>> find_some_held(std::size_t& next);
  asio::awaitable<Result<void>> find_freshness();
  asio::awaitable<Result<void>> act(const Plan& plan);
  asio::awaitable<Result<void>> carry(const Plan& plan);
  asio::awaitable<Result<void>> put_level(const std::vector<ManifestStep>& level);
  asio::awaitable<Result<void>> put_manifest(ManifestStep step);
  [[nodiscard]] std::vector<oci::Digest> subjects() const;
  Result<Plan> plan();
  void forget_what_was_believed();

  ImageJob job_;
  Registry& source_;
  Registry& target_;
  SharedReads::Member member_;  // of the copies of this image, to this target and to others
  std::optional<oci::Digest> source_digest_;
  std::optional<oci::Digest> target_digest_;
  std::optional<oci::Digest> seen_at_target_;  // by the first look
  bool overtaken_ = false;                     // the target's tag may not be replaced any more
  std::shared_ptr<const oci::Manifest> root_;
  ImageTree tree_;
  std::set<oci::Digest> held_;  // children that the target's repository shows already
  bool target_is_fresh_ = false;
  ImageResult result_{ImageOutcome::copied, {}, {}, {}};
  ReferrersCopy referrers_{job_, result_};
};

oci::Reference ImageCopy::target_reference() const {
  if (job_.target_tag) return *job_.target_tag;
  return root_ ? root_->digest : *source_digest_;
}

asio::awaitable<Result<ImageResult>> ImageCopy::run() {
  auto seen = co_await look();
  if (!seen) co_return fail(seen.error());
  if (*seen != Look::differs) {
    result_.outcome = *seen == Look::in_step ? ImageOutcome::unchanged : ImageOutcome::absent;
    if (*seen == Look::in_step) result_.digest = source_digest_;
    co_return result_;
  }
  seen_at_target_ = target_digest_;
  auto allowed = co_await may_replace();
  if (!allowed) co_return fail(allowed.error());
  if (!*allowed) co_return kept();
  if (auto read = co_await read_rest(); !read) co_return fail(read.error());
  auto steps = plan();
  if (!steps) co_return fail(steps.error());
  auto acted = co_await act(*steps);
  if (!acted && lacks_part(acted.error())) {
    // Something that was believed to be at the target is gone: ask about everything, once.
    forget_what_was_believed();
    if (auto read = co_await read_rest(); !read) co_return fail(read.error());
    steps = plan();
    if (!steps) co_return fail(steps.error());
    acted = co_await act(*steps);
  }
  if (!acted) co_return fail(acted.error());
  if (overtaken_) co_return kept();
  result_.digest = root_->digest;
  co_return result_;
}

asio::awaitable<Result<bool>> ImageCopy::may_replace() {
  if (!job_.may_replace) co_return true;
  co_return co_await job_.may_replace(root_->digest, target_digest_);
}

ImageResult ImageCopy::kept() {
  result_.outcome = ImageOutcome::kept;
  result_.digest = root_->digest;
  return result_;
}

// A copy takes its time. The target's tag may have been moved by somebody else meanwhile, and that
// push may be the newer.
asio::awaitable<Result<bool>> ImageCopy::still_may_replace() {
  if (!job_.may_replace) co_return true;
  auto shown = co_await target_.head_manifest(job_.target_repository, target_reference());
  if (!shown && !is_broken(shown.error())) co_return fail(shown.error());
  std::optional<oci::Digest> digest;
  if (shown && *shown) digest = (*shown)->digest;
  if (digest == seen_at_target_ || digest == root_->digest) co_return true;
  co_return co_await job_.may_replace(root_->digest, digest);
}

// The target is asked first, since it is near. The source is asked for its digest alone where that
// may be all we need, else for the manifest at once. A tag that the target cannot show is put
// again.
asio::awaitable<Result<ImageCopy::Look>> ImageCopy::look() {
  if (const auto* digest = job_.source_reference.digest()) source_digest_ = *digest;
  if (job_.target_seen) {
    target_digest_ = job_.target_seen->digest;
  } else if (job_.target_tag || source_digest_) {
    auto shown = co_await target_.head_manifest(job_.target_repository, target_reference());
    if (!shown && !is_broken(shown.error())) co_return fail(shown.error());
    if (shown && *shown) target_digest_ = (*shown)->digest;
  }
  if (source_digest_) {
    if (target_digest_ == source_digest_) co_return Look::in_step;
  } else if (target_digest_ && job_.source_seen) {
    if (job_.source_seen == target_digest_) {
      source_digest_ = job_.source_seen;
      co_return Look::in_step;
    }
  } else if (target_digest_ && (!job_.expected || *job_.expected == *target_digest_)) {
    auto shown = co_await source_.head_manifest(job_.source_repository, job_.source_reference);
    if (!shown) co_return fail(shown.error());
    if (!*shown) co_return Look::absent;
    source_digest_ = (*shown)->digest;
    if (source_digest_ == target_digest_) co_return Look::in_step;
  }
  auto found = co_await read_root();
  if (!found) co_return fail(found.error());
  if (!*found) co_return Look::absent;
  source_digest_ = root_->digest;
  if (!job_.target_tag && !target_digest_) {
    auto shown = co_await target_.head_manifest(job_.target_repository, root_->digest);
    if (!shown) co_return fail(shown.error());
    if (*shown) target_digest_ = (*shown)->digest;
  }
  co_return target_digest_ == source_digest_ ? Look::in_step : Look::differs;
}

// False where the source does not have it.
asio::awaitable<Result<bool>> ImageCopy::read_root() {
  auto manifest = co_await source_.get_manifest(job_.source_repository, job_.source_reference);
  if (!manifest) co_return fail(manifest.error());
  if (!*manifest) co_return false;
  root_ = std::make_shared<const oci::Manifest>(std::move(**manifest));
  co_return true;
}

// What is below the manifest, and at the same time what the target has of it.
asio::awaitable<Result<void>> ImageCopy::read_rest() {
  if (auto held = co_await find_held(); !held) co_return fail(held.error());
  TaskGroup group(co_await asio::this_coro::executor);
  group.spawn([](ImageCopy& self) -> asio::awaitable<Result<void>> {
    auto tree =
        co_await read_tree(self.source_, self.job_.source_repository, self.root_, self.held_);
    if (!tree) co_return fail(tree.error());
    self.tree_ = std::move(*tree);
    co_return Result<void>{};
  }(*this));
  if (!target_digest_) group.spawn(find_freshness());
  co_return co_await group.join();
}

// A target that has an older version of an index is likely to have some of its children; one
// request each tells.
asio::awaitable<Result<void>> ImageCopy::find_held() {
  if (!target_digest_ || !root_->is_index()) co_return Result<void>{};
  std::size_t next = 0;
  TaskGroup group(co_await asio::this_coro::executor);
  for (std::size_t i = 0; i < std::min(root_->manifests.size(), side_by_side_max); ++i) {
    group.spawn(find_some_held(next));
  }
  co_return co_await group.join();
}

// Takes one after another of what nobody has taken, as others do beside it.
asio::awaitable<Result<void>> ImageCopy::find_some_held(std::size_t& next) {
  while (next < root_->manifests.size()) {
    oci::Digest digest = root_->manifests[next++].digest;
    auto shown = co_await target_.head_manifest(job_.target_repository, digest);
    if (!shown && !is_broken(shown.error())) co_return fail(shown.error());
    if (shown && *shown) held_.insert(std::move(digest));
  }
  co_return Result<void>{};
}

asio::awaitable<Result<void>> ImageCopy::find_freshness() {
  auto fresh = co_await job_.target.is_fresh(job_.target_repository);
  if (!fresh) co_return fail(fresh.error());
  target_is_fresh_ = *fresh;
  co_return Result<void>{};
}

Result<Plan> ImageCopy::plan() {
  auto plan =
      make_plan(tree_, held_, places_at(job_.target, job_.target_repository), target_reference());
  if (!plan) return plan;
  if (job_.planned) {
    job_.planned(root_->digest,
                 plan->sum(BlobAction::send).bytes + plan->sum(BlobAction::mount).bytes);
  }
  return plan;
}

// Everything that the tag reaches, and what refers to it, before the tag.
asio::awaitable<Result<void>> ImageCopy::act(const Plan& plan) {
  if (auto carried = co_await carry(plan); !carried) co_return fail(carried.error());
  for (std::size_t i = 0; i + 1 < plan.manifests.size(); ++i) {
    if (auto put = co_await put_level(plan.manifests[i]); !put) co_return fail(put.error());
  }
  if (job_.referrers) {
    if (auto put = co_await referrers_.put(root_); !put) co_return fail(put.error());
  }
  auto allowed = co_await still_may_replace();
  if (!allowed) co_return fail(allowed.error());
  overtaken_ = !*allowed;
  if (overtaken_) co_return Result<void>{};
  co_return co_await put_level(plan.manifests.back());
}

// The image's blobs do not wait until it is known what refers to it.
asio::awaitable<Result<void>> ImageCopy::carry(const Plan& plan) {
  result_.blobs = {};
  result_.bytes = {};
  result_.left_out.clear();
  TaskGroup group(co_await asio::this_coro::executor);
  group.spawn(carry_blobs(job_, target_is_fresh_, plan.blobs, result_));
  if (job_.referrers) {
    std::set<oci::Digest> counted;
    for (const BlobStep& step : plan.blobs) counted.insert(step.blob.digest);
    group.spawn(referrers_.carry(subjects(), std::move(counted), target_is_fresh_));
  }
  co_return co_await group.join();
}

// The image and every manifest below it, those that the target holds already too.
std::vector<oci::Digest> ImageCopy::subjects() const {
  std::set<oci::Digest> all;
  for (const auto& manifest : tree_.manifests) {
    all.insert(manifest->digest);
    for (const oci::Descriptor& child : manifest->manifests) all.insert(child.digest);
  }
  return {all.begin(), all.end()};
}

asio::awaitable<Result<void>> ImageCopy::put_level(const std::vector<ManifestStep>& level) {
  TaskGroup group(co_await asio::this_coro::executor);
  for (const ManifestStep& step : level) group.spawn(put_manifest(step));
  co_return co_await group.join();
}

asio::awaitable<Result<void>> ImageCopy::put_manifest(ManifestStep step) {
  auto put = co_await target_.put_manifest(job_.target_repository, step.reference, step.manifest);
  if (!put) co_return fail(put.error());
  if (!job_.referrers || !step.manifest->subject || put->subject_noted) co_return Result<void>{};
  co_return co_await referrers_.list(step.manifest->subject->digest, {step.manifest});
}

void ImageCopy::forget_what_was_believed() {
  for (const auto& manifest : tree_.manifests) {
    for (const oci::Descriptor& blob : manifest->blobs) {
      job_.target.locations().forget(blob.digest, job_.target_repository);
    }
  }
  held_.clear();
  target_digest_.reset();  // its children are not looked for a second time, but read and put
  target_is_fresh_ = false;
}

}  // namespace

std::string_view to_string(ImageOutcome outcome) {
  switch (outcome) {
    case ImageOutcome::copied:
      return "copied";
    case ImageOutcome::unchanged:
      return "unchanged";
    case ImageOutcome::absent:
      return "absent";
    case ImageOutcome::kept:
      return "kept";
    case ImageOutcome::not_wanted:
      return "not_wanted";
  }
  return "copied";
}

asio::awaitable<Result<ImageResult>> copy_image(ImageJob job) {
  const std::string doing =
      fmt::format("{}{} from {} to {}", job.source_repository.str(), job.source_reference.suffix(),
                  job.source.name(), job.target.registry().name());
  Target& target = job.target;
  ImageCopy copy(std::move(job));
  auto result = co_await copy.run();
  target.keep_locations();
  if (!result) co_return fail(result.error().with_context(doing));
  co_return result;
}

}  // namespace transship
