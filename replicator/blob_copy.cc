#include "replicator/blob_copy.h"

#include <fmt/format.h>

#include <functional>

namespace transship {

namespace {

using registry::Registry;

constexpr int tries_max = 2;  // of one blob: a second with a renewed token

// Counts a blob as under way for as long as it lives.
class InFlight {
 public:
  explicit InFlight(Registry& target) : target_(target) {
    target_.observer().transfers_changed(target_.name(), +1);
  }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;
  ~InFlight() { target_.observer().transfers_changed(target_.name(), -1); }

 private:
  Registry& target_;
};

struct Connections {
  std::optional<Semaphore::Place> source;
  std::optional<Semaphore::Place> target;
};

// A connection at each side, always taken in the same order, so that copies there and back do not
// wait for each other. Where both sides are one registry, both requests go with one place: to wait
// for a second while holding the first could be for ever.
asio::awaitable<Connections> connect_both(Registry& source, Registry& target) {
  Connections both;
  if (&source == &target) {
    both.source = co_await source.connect();
    both.target.emplace();
    co_return both;
  }
  const bool source_first = source.name() != target.name() ? source.name() < target.name()
                                                           : std::less<>()(&source, &target);
  Registry& first = source_first ? source : target;
  Registry& second = source_first ? target : source;
  auto first_place = co_await first.connect();
  auto second_place = co_await second.connect();
  both.source = std::move(source_first ? first_place : second_place);
  both.target = std::move(source_first ? second_place : first_place);
  co_return both;
}

// An upload that the target opened. Unless its blob arrives, the target is told that it will not.
class Session {
 public:
  Session(Registry& target, Registry::UploadSession session)
      : target_(target), session_(std::move(session)) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() {
    if (!used_) target_.abandon(std::move(session_));
  }
  [[nodiscard]] const Registry::UploadSession& get() const { return session_; }
  void used() { used_ = true; }

 private:
  Registry& target_;
  Registry::UploadSession session_;
  bool used_ = false;
};

class BlobCopy {
 public:
  BlobCopy(BlobJob job, oci::Descriptor blob)
      : job_(std::move(job)), blob_(std::move(blob)), target_(job_.target.registry()) {}

  asio::awaitable<Result<BlobOutcome>> run(bool may_be_absent);

 private:
  using Opened = std::optional<Session>;
  asio::awaitable<Result<BlobOutcome>> ask_target(Opened& session);
  asio::awaitable<Result<bool>> is_there();
  asio::awaitable<Result<void>> send_with_fresh_token(Session& session);
  asio::awaitable<Result<Registry::Finished>> send(Session& session);
  asio::awaitable<Result<void>> open_source(std::optional<registry::Answer>& from,
                                            Semaphore::Place place);
  asio::awaitable<Result<void>> pump(registry::Answer& from, registry::Transport::Upload& to);
  Result<void> check(std::string_view bytes);

  BlobJob job_;
  oci::Descriptor blob_;
  Registry& target_;
  oci::Hasher hasher_{blob_.digest.algorithm()};
  std::uint64_t seen_ = 0;
};

asio::awaitable<Result<BlobOutcome>> BlobCopy::run(bool may_be_absent) {
  const auto flight = co_await job_.target.begin(blob_.digest);
  if (job_.target.locations().holds(blob_.digest, job_.target_repository))
    co_return BlobOutcome::present;
  const auto place = co_await job_.target.places().acquire(job_.priority);

  Opened session;
  auto outcome = co_await ask_target(session);
  if (!outcome) co_return fail(outcome.error());
  if (*outcome == BlobOutcome::copied) {
    const InFlight under_way(target_);
    auto sent = co_await send_with_fresh_token(*session);
    if (!sent && may_be_absent && sent.error().kind == ErrorKind::not_found) {
      co_return BlobOutcome::present;  // to be had at its urls, as the manifest says
    }
    if (!sent) co_return fail(sent.error());
  }
  job_.target.locations().learn(blob_.digest, job_.target_repository);
  co_return *outcome;
}

// A token may have expired since the session was opened: then the blob starts once more.
asio::awaitable<Result<void>> BlobCopy::send_with_fresh_token(Session& session) {
  for (int tries = 1; tries <= tries_max; ++tries) {
    auto sent = co_await send(session);
    if (!sent) co_return fail(sent.error());
    if (*sent == Registry::Finished::stored) co_return Result<void>{};
  }
  co_return fail(ErrorKind::unauthorized,
                 fmt::format("{} refuses each new token for blob {} of {}", target_.name(),
                             blob_.digest.str(), job_.target_repository.str()));
}

// One request that mounts the blob, finds it there, or opens the upload; then `session` is set.
asio::awaitable<Result<BlobOutcome>> BlobCopy::ask_target(Opened& session) {
  Target& target = job_.target;
  // A mount from the very repository it should go to is the question "do you have it?", which opens
  // the upload if not.
  oci::Repository from = target.locations()
                             .elsewhere(blob_.digest, job_.target_repository)
                             .value_or(job_.target_repository);
  if (&job_.source == &target_) from = job_.source_repository;
  const bool from_itself = from == job_.target_repository;
  auto started = co_await target_.start_blob(job_.target_repository, blob_.digest, from);
  if (!started && started.error().kind == ErrorKind::unauthorized && !from_itself) {
    // A token server may refuse the repository to mount from: then it is sent.
    target.locations().forget(blob_.digest, from);
    started = co_await target_.start_blob(job_.target_repository, blob_.digest, std::nullopt);
  }
  if (!started) co_return fail(started.error());
  if (std::holds_alternative<Registry::Mounted>(*started)) {
    target.tells_presence_by_mount = target.tells_presence_by_mount || from_itself;
    co_return from_itself ? BlobOutcome::present : BlobOutcome::mounted;
  }
  session.emplace(target_, std::get<Registry::UploadSession>(std::move(*started)));
  if (!from_itself) target.locations().forget(blob_.digest, from);
  const bool surely_absent =
      job_.target_is_fresh || (from_itself && target.tells_presence_by_mount);
  if (!surely_absent) {
    auto there = co_await is_there();
    if (!there) co_return fail(there.error());
    if (*there) co_return BlobOutcome::present;
  }
  co_return BlobOutcome::copied;
}

asio::awaitable<Result<bool>> BlobCopy::is_there() {
  auto size = co_await target_.head_blob(job_.target_repository, blob_.digest);
  if (!size) co_return fail(size.error());
  co_return size->has_value();
}

asio::awaitable<Result<Registry::Finished>> BlobCopy::send(Session& session) {
  hasher_ = oci::Hasher(blob_.digest.algorithm());
  seen_ = 0;
  const bool needs_source = blob_.size > 0 && blob_.data.empty();
  std::optional<registry::Answer> from;
  Connections connections;
  if (needs_source) {
    connections = co_await connect_both(job_.source, target_);
    auto opened = co_await open_source(from, std::move(*connections.source));
    if (!opened) co_return fail(opened.error());
  } else if (oci::Digest::of(blob_.data, blob_.digest.algorithm()) != blob_.digest) {
    co_return fail(ErrorKind::corrupt,
                   fmt::format("{} is not the digest of an empty blob", blob_.digest.str()));
  }
  auto upload = co_await target_.send_blob(job_.target_repository, session.get(), blob_,
                                           std::move(connections.target));
  if (!upload) co_return fail(upload.error());
  if (from) {
    auto pumped = co_await pump(*from, *upload);
    if (!pumped) co_return fail(pumped.error());
  } else if (blob_.size > 0) {
    auto written = co_await upload->exchange.write(std::make_shared<const std::string>(blob_.data));
    if (!written) co_return fail(written.error());
  }
  auto finished =
      co_await target_.finish_blob(std::move(*upload), job_.target_repository, blob_.digest);
  if (finished && *finished == Registry::Finished::stored) session.used();
  co_return finished;
}

asio::awaitable<Result<void>> BlobCopy::open_source(std::optional<registry::Answer>& from,
                                                    Semaphore::Place place) {
  auto opened = co_await job_.source.open_blob(job_.source_repository, blob_, std::move(place));
  if (!opened) co_return fail(opened.error());
  if (!*opened) {
    co_return fail(ErrorKind::not_found,
                   fmt::format("{} lacks blob {} of {}", job_.source.name(), blob_.digest.str(),
                               job_.source_repository.str()));
  }
  from.emplace(std::move(**opened));
  co_return Result<void>{};
}

// The last piece goes on only once the whole is proven, so that the target can never take a wrong
// blob for the right one.
asio::awaitable<Result<void>> BlobCopy::pump(registry::Answer& from,
                                             registry::Transport::Upload& to) {
  while (seen_ < blob_.size) {
    auto chunk = co_await from.exchange.read();
    if (!chunk) co_return fail(chunk.error().with_context("read blob " + blob_.digest.str()));
    if (!*chunk) {
      co_return fail(
          ErrorKind::corrupt,
          fmt::format("blob {} of {} ends after {} of {} bytes at {}", blob_.digest.str(),
                      job_.source_repository.str(), seen_, blob_.size, job_.source.name()));
    }
    if (auto checked = check(**chunk); !checked) co_return fail(checked.error());
    const std::size_t bytes = (*chunk)->size();
    auto written = co_await to.exchange.write(std::move(*chunk));
    if (!written) co_return fail(written.error().with_context("send blob " + blob_.digest.str()));
    if (!*written) co_return Result<void>{};  // it has answered already: the answer says why
    target_.observer().bytes_moved(job_.source.name(), target_.name(), bytes);
  }
  co_return Result<void>{};
}

Result<void> BlobCopy::check(std::string_view bytes) {
  seen_ += bytes.size();
  hasher_.update(bytes);
  const auto corrupt = [&](std::string_view what) {
    return fail(ErrorKind::corrupt,
                fmt::format("blob {} of {} at {}: {}", blob_.digest.str(),
                            job_.source_repository.str(), job_.source.name(), what));
  };
  if (seen_ > blob_.size) return corrupt("more bytes than its manifest says");
  if (seen_ == blob_.size && hasher_.finish() != blob_.digest)
    return corrupt("its bytes have another digest");
  return {};
}

}  // namespace

asio::awaitable<Result<BlobOutcome>> copy_blob(BlobJob job, BlobStep step) {
  Registry& source = job.source;
  Registry& target = job.target.registry();
  BlobCopy copy(std::move(job), step.blob);
  auto outcome = co_await copy.run(step.may_be_absent);
  if (outcome) target.observer().blob_done(source.name(), target.name(), *outcome, step.blob.size);
  co_return outcome;
}

}  // namespace transship
