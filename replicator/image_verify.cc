#include "replicator/image_verify.h"

#include <fmt/format.h>

#include "replicator/referrers_copy.h"

namespace transship {

namespace {

using registry::Registry;

constexpr std::size_t depth_max = 8;

class ImageVerify {
 public:
  ImageVerify(ImageJob job, bool deep, Proven& proven)
      : job_(std::move(job)), deep_(deep), proven_(proven), target_(job_.target.registry()) {}

  asio::awaitable<Result<VerifiedImage>> run();

 private:
  asio::awaitable<Result<void>> check_manifest(oci::Digest digest, std::size_t depth);
  asio::awaitable<Result<void>> check_blob(oci::Descriptor blob);
  asio::awaitable<Result<void>> check_presence(const oci::Descriptor& blob);
  asio::awaitable<Result<void>> check_content(const oci::Descriptor& blob);
  asio::awaitable<Result<void>> check_referrers();
  asio::awaitable<Result<void>> note_missing(const NamedReferrer& referrer);
  void note(DriftKind kind, std::string detail);

  ImageJob job_;
  bool deep_;
  Proven& proven_;
  Registry& target_;
  std::optional<Drift> drift_;
  std::set<oci::Digest> manifests_;  // that the image reaches
};

// Of several the worst counts, and the first of a kind.
void ImageVerify::note(DriftKind kind, std::string detail) {
  if (!drift_ || kind < drift_->kind) drift_ = Drift{kind, std::move(detail)};
}

asio::awaitable<Result<VerifiedImage>> ImageVerify::run() {
  auto wanted = job_.source_seen;
  if (!wanted) {
    auto shown = co_await job_.source.head_manifest(job_.source_repository, job_.source_reference);
    if (!shown) co_return fail(shown.error());
    if (!*shown) co_return VerifiedImage{false, {}};
    wanted = (*shown)->digest;
  }
  const oci::Reference reference =
      job_.target_tag ? oci::Reference(*job_.target_tag) : oci::Reference(*wanted);
  auto shown = co_await target_.head_manifest(job_.target_repository, reference);
  if (!shown) co_return fail(shown.error());
  const std::string image = job_.target_repository.str() + reference.suffix();
  if (!*shown) {
    co_return VerifiedImage{true, Drift{DriftKind::missing, fmt::format("{} is not there", image)}};
  }
  if ((*shown)->digest != *wanted) {
    co_return VerifiedImage{
        true, Drift{DriftKind::different, fmt::format("{} is {}, the source has {}", image,
                                                      (*shown)->digest.str(), wanted->str())}};
  }
  if (auto checked = co_await check_manifest(*wanted, 0); !checked) co_return fail(checked.error());
  if (job_.referrers) {
    if (auto checked = co_await check_referrers(); !checked) co_return fail(checked.error());
  }
  co_return VerifiedImage{true, drift_};
}

asio::awaitable<Result<void>> ImageVerify::check_manifest(oci::Digest digest, std::size_t depth) {
  if (depth > depth_max) {
    co_return fail(ErrorKind::invalid, fmt::format("indexes nested deeper than {}", depth_max));
  }
  manifests_.insert(digest);
  auto manifest = co_await target_.get_manifest(job_.target_repository, digest);
  if (!manifest && manifest.error().kind == ErrorKind::corrupt) {
    note(DriftKind::corrupt, manifest.error().message);
    co_return Result<void>{};
  }
  if (!manifest) co_return fail(manifest.error());
  if (!*manifest) {
    note(DriftKind::incomplete, fmt::format("manifest {} is missing", digest.str()));
    co_return Result<void>{};
  }
  TaskGroup group(co_await asio::this_coro::executor);
  std::set<oci::Digest> asked;
  for (const oci::Descriptor& blob : (*manifest)->blobs) {
    if (asked.insert(blob.digest).second) group.spawn(check_blob(blob));
  }
  for (const oci::Descriptor& child : (*manifest)->manifests) {
    if (asked.insert(child.digest).second) group.spawn(check_manifest(child.digest, depth + 1));
  }
  co_return co_await group.join();
}

// What refers to the image at the source refers to it at the target, and is whole there.
asio::awaitable<Result<void>> ImageVerify::check_referrers() {
  auto named = co_await find_referrers(job_.source, job_.source_repository,
                                       {manifests_.begin(), manifests_.end()}, job_.source_tags);
  if (!named) co_return fail(named.error());
  auto missing = co_await not_at_target(job_.target, job_.target_repository, *named);
  if (!missing) co_return fail(missing.error());
  std::set<std::pair<oci::Digest, std::optional<oci::Tag>>> not_there;
  for (const NamedReferrer& referrer : *missing) {
    not_there.emplace(referrer.digest, referrer.tag);
    if (auto noted = co_await note_missing(referrer); !noted) co_return fail(noted.error());
  }
  for (const NamedReferrer& referrer : *named) {
    if (not_there.contains({referrer.digest, referrer.tag})) continue;
    if (auto checked = co_await check_manifest(referrer.digest, 0); !checked) co_return checked;
  }
  co_return Result<void>{};
}

asio::awaitable<Result<void>> ImageVerify::note_missing(const NamedReferrer& referrer) {
  // A list may name what is gone, or what refers to something else: nothing of that is missing.
  auto real = co_await read_referrers(job_.source, job_.source_repository, {referrer});
  if (!real) co_return fail(real.error());
  if (real->referrers.empty()) co_return Result<void>{};
  note(DriftKind::incomplete,
       referrer.tag ? fmt::format("{} ({}) is missing", referrer.tag->str(), referrer.digest.str())
                    : fmt::format("{}, which refers to {}, is missing", referrer.digest.str(),
                                  referrer.subject.str()));
  co_return Result<void>{};
}

asio::awaitable<Result<void>> ImageVerify::check_blob(oci::Descriptor blob) {
  const auto key = std::pair(job_.target_repository, blob.digest);
  if (proven_.blobs.contains(key)) co_return Result<void>{};
  const auto place = co_await job_.target.places().acquire();
  auto checked =
      deep_ && blob.size > 0 ? co_await check_content(blob) : co_await check_presence(blob);
  if (!checked) co_return fail(checked.error());
  if (!drift_) proven_.blobs.insert(key);
  co_return Result<void>{};
}

asio::awaitable<Result<void>> ImageVerify::check_presence(const oci::Descriptor& blob) {
  auto size = co_await target_.head_blob(job_.target_repository, blob.digest);
  if (!size) co_return fail(size.error());
  if (!*size && blob.urls.empty()) {
    note(DriftKind::incomplete, fmt::format("blob {} is missing", blob.digest.str()));
  } else if (*size && **size != 0 && **size != blob.size) {
    note(DriftKind::corrupt,
         fmt::format("blob {} has {} bytes instead of {}", blob.digest.str(), **size, blob.size));
  }
  co_return Result<void>{};
}

asio::awaitable<Result<void>> ImageVerify::check_content(const oci::Descriptor& blob) {
  auto opened = co_await target_.open_blob(job_.target_repository, blob);
  if (!opened && opened.error().kind == ErrorKind::corrupt) {
    note(DriftKind::corrupt, opened.error().message);
    co_return Result<void>{};
  }
  if (!opened) co_return fail(opened.error());
  if (!*opened) {
    if (blob.urls.empty()) {
      note(DriftKind::incomplete, fmt::format("blob {} is missing", blob.digest.str()));
    }
    co_return Result<void>{};
  }
  oci::Hasher hasher(blob.digest.algorithm());
  std::uint64_t seen = 0;
  for (;;) {
    auto chunk = co_await (*opened)->exchange.read();
    if (!chunk) co_return fail(chunk.error());
    if (!*chunk || seen > blob.size) break;
    seen += (*chunk)->size();
    hasher.update(**chunk);
  }
  if (seen != blob.size || hasher.finish() != blob.digest) {
    note(DriftKind::corrupt,
         fmt::format("blob {} holds other bytes than its digest says", blob.digest.str()));
  }
  co_return Result<void>{};
}

}  // namespace

std::string_view to_string(DriftKind kind) {
  switch (kind) {
    case DriftKind::missing:
      return "missing";
    case DriftKind::different:
      return "different";
    case DriftKind::incomplete:
      return "incomplete";
    case DriftKind::corrupt:
      return "corrupt";
  }
  return "missing";
}

asio::awaitable<Result<VerifiedImage>> verify_image(ImageJob job, bool deep, Proven& proven) {
  const std::string doing =
      fmt::format("{}{} from {} to {}", job.source_repository.str(), job.source_reference.suffix(),
                  job.source.name(), job.target.registry().name());
  ImageVerify verify(std::move(job), deep, proven);
  auto verified = co_await verify.run();
  if (!verified) co_return fail(verified.error().with_context(doing));
  co_return verified;
}

}  // namespace transship
