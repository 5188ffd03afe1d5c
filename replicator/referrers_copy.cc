#include "replicator/referrers_copy.h"

#include <fmt/format.h>

#include <algorithm>

#include "replicator/base/broken.h"
#include "replicator/fallback_tag.h"
#include "replicator/image_blobs.h"

namespace transship {

namespace {

constexpr std::size_t puts_at_once = 64;

// The specification has a registry take a referrer before its subject. Not every one does, and
// those that do not refuse it in many ways (Amazon ECR with 405).
bool may_want_subject(const Error& error) {
  return error.kind == ErrorKind::not_found || error.kind == ErrorKind::invalid ||
         error.kind == ErrorKind::unsupported;
}

}  // namespace

asio::awaitable<Result<std::vector<NamedReferrer>>> not_at_target(
    Target& target, oci::Repository repository, std::vector<NamedReferrer> named) {
  std::map<oci::Digest, std::set<oci::Digest>> listed;
  std::vector<NamedReferrer> missing;
  for (NamedReferrer& referrer : named) {
    bool held = false;
    if (referrer.tag) {
      auto shown = co_await target.registry().head_manifest(repository, *referrer.tag);
      if (!shown && !is_broken(shown.error())) co_return fail(shown.error());
      held = shown && *shown && (*shown)->digest == referrer.digest;
    } else {
      auto known = listed.find(referrer.subject);
      if (known == listed.end()) {
        auto list = co_await listed_referrers(target.registry(), repository, referrer.subject);
        if (!list) co_return fail(list.error());
        known = listed.emplace(referrer.subject, std::move(*list)).first;
      }
      held = known->second.contains(referrer.digest);
    }
    if (!held) missing.push_back(std::move(referrer));
  }
  co_return missing;
}

asio::awaitable<Result<void>> ReferrersCopy::carry(std::vector<oci::Digest> subjects,
                                                   std::set<oci::Digest> counted,
                                                   bool target_is_fresh) {
  auto named = co_await find_referrers(job_.source, job_.source_repository, std::move(subjects),
                                       job_.source_tags);
  if (!named) co_return fail(named.error());
  co_return co_await bring(std::move(*named), std::move(counted), target_is_fresh);
}

asio::awaitable<Result<void>> ReferrersCopy::carry_named(std::vector<NamedReferrer> named) {
  std::vector<oci::Digest> subjects;
  for (const NamedReferrer& referrer : named) subjects.push_back(referrer.digest);
  auto more = co_await find_referrers(job_.source, job_.source_repository, std::move(subjects),
                                      job_.source_tags);
  if (!more) co_return fail(more.error());
  named.insert(named.end(), std::make_move_iterator(more->begin()),
               std::make_move_iterator(more->end()));
  co_return co_await bring(std::move(named), {}, false);
}

asio::awaitable<Result<void>> ReferrersCopy::bring(std::vector<NamedReferrer> named,
                                                   std::set<oci::Digest> counted,
                                                   bool target_is_fresh) {
  plan_ = {};
  referrers_.clear();
  not_noted_.clear();
  if (!target_is_fresh && !named.empty()) {
    auto missing = co_await not_at_target(job_.target, job_.target_repository, std::move(named));
    if (!missing) co_return fail(missing.error());
    named = std::move(*missing);
  }
  if (named.empty()) co_return Result<void>{};
  auto read = co_await read_referrers(job_.source, job_.source_repository, std::move(named));
  if (!read) co_return fail(read.error());
  for (std::string& what : read->left_out) note_left_out(std::move(what));
  referrers_ = std::move(read->referrers);
  const BlobPlaces places = places_at(job_.target, job_.target_repository);
  auto plan = make_referrers_plan(referrers_, counted, places);
  if (!plan) co_return fail(plan.error());
  plan_ = std::move(*plan);
  std::set<oci::Digest> lacking;
  auto carried = co_await carry_blobs(job_, target_is_fresh, plan_.blobs, result_, &lacking);
  if (!carried) co_return fail(carried.error());
  co_return leave_out_broken(lacking, counted);
}

// A referrer of which the source has lost a blob can be had by nobody: the image goes without it.
Result<void> ReferrersCopy::leave_out_broken(const std::set<oci::Digest>& lacking,
                                             const std::set<oci::Digest>& counted) {
  if (lacking.empty()) return {};
  std::erase_if(referrers_, [&](const Referrer& referrer) {
    for (const auto& manifest : referrer.tree.manifests) {
      const auto lost =
          std::find_if(manifest->blobs.begin(), manifest->blobs.end(),
                       [&](const auto& blob) { return lacking.contains(blob.digest); });
      if (lost == manifest->blobs.end()) continue;
      note_left_out(fmt::format("{} does not have blob {} of {}, which refers to {}",
                                job_.source.name(), lost->digest.str(),
                                referrer.tree.root().digest.str(), referrer.subject.str()));
      return true;
    }
    return false;
  });
  const BlobPlaces places = places_at(job_.target, job_.target_repository);
  auto plan = make_referrers_plan(referrers_, counted, places);
  if (!plan) return fail(plan.error());
  plan_ = std::move(*plan);
  return {};
}

void ReferrersCopy::note_left_out(std::string what) {
  if (result_.left_out.size() < ImageResult::left_out_max)
    result_.left_out.push_back(std::move(what));
}

asio::awaitable<Result<void>> ReferrersCopy::put(std::shared_ptr<const oci::Manifest> image) {
  if (nothing_to_do()) co_return Result<void>{};
  auto put = co_await put_levels(plan_.by_digest);
  if (!put && may_want_subject(put.error())) {
    auto subjects = co_await put_by_digest(std::move(image));
    if (!subjects) co_return fail(put.error());
    put = co_await put_levels(plan_.by_digest);
  }
  if (!put) co_return fail(put.error());
  for (const auto& [subject, entries] : plan_.entries) {
    if (!not_noted_.contains(subject)) continue;
    if (auto listed = co_await list(subject, entries); !listed) co_return fail(listed.error());
  }
  if (auto tagged = co_await put_levels(plan_.by_tag); !tagged) co_return fail(tagged.error());
  result_.referrers = referrers_.size();
  co_return Result<void>{};
}

asio::awaitable<Result<void>> ReferrersCopy::put_levels(
    const std::vector<std::vector<ManifestStep>>& levels) {
  for (const std::vector<ManifestStep>& level : levels) {
    for (std::size_t begin = 0; begin < level.size(); begin += puts_at_once) {
      TaskGroup group(co_await asio::this_coro::executor);
      const std::size_t end = std::min(level.size(), begin + puts_at_once);
      for (std::size_t i = begin; i < end; ++i) group.spawn(put_one(level[i]));
      if (auto put = co_await group.join(); !put) co_return fail(put.error());
    }
  }
  co_return Result<void>{};
}

asio::awaitable<Result<void>> ReferrersCopy::put_one(ManifestStep step) {
  auto put = co_await job_.target.registry().put_manifest(job_.target_repository, step.reference,
                                                          step.manifest);
  if (!put) co_return fail(put.error());
  if (step.manifest->subject && !put->subject_noted)
    not_noted_.insert(step.manifest->subject->digest);
  co_return Result<void>{};
}

// The image, and of what is under tags each by its digest: all that referrers may have as subjects
// and that is not there yet.
asio::awaitable<Result<void>> ReferrersCopy::put_by_digest(
    std::shared_ptr<const oci::Manifest> image) {
  std::vector<std::shared_ptr<const oci::Manifest>> subjects;
  if (image) subjects.push_back(std::move(image));
  for (const auto& level : plan_.by_tag) {
    for (const ManifestStep& step : level) subjects.push_back(step.manifest);
  }
  for (const auto& subject : subjects) {
    auto put = co_await job_.target.registry().put_manifest(job_.target_repository, subject->digest,
                                                            subject);
    if (!put) co_return fail(put.error());
  }
  co_return Result<void>{};
}

asio::awaitable<Result<void>> ReferrersCopy::list(
    oci::Digest subject, std::vector<std::shared_ptr<const oci::Manifest>> entries) {
  registry::Registry& target = job_.target.registry();
  if (!target.has_referrers_api()) {  // not known: its answer to a list tells
    auto listed = co_await target.list_referrers(job_.target_repository, subject);
    if (!listed) co_return fail(listed.error());
  }
  if (target.has_referrers_api() == true) co_return Result<void>{};
  co_return co_await list_under_fallback_tag(target, job_.target_repository, std::move(subject),
                                             std::move(entries));
}

}  // namespace transship
