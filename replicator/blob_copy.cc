#include "replicator/blob_copy.h"

#include <fmt/format.h>

#include "replicator/base/broken.h"
#include "replicator/blob_send.h"

namespace transship {

namespace {

using registry::Registry;

constexpr int sessions_max = 3;  // of one blob within a try: resumed, in chunks, in one request

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

// An upload that the target opened. Unless its blob arrives, or it can go on later, the target is
// told that it will not be used.
class Session {
 public:
  Session(Registry& target, SavedUpload upload) : target_(target), upload_(std::move(upload)) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() {
    if (!used_ && upload_.bytes == 0) target_.abandon(std::move(upload_.session));
  }
  SavedUpload& get() { return upload_; }
  void used() { used_ = true; }

 private:
  Registry& target_;
  SavedUpload upload_;
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
  asio::awaitable<Result<BlobOutcome>> send(Opened& session);
  asio::awaitable<Result<void>> open_anew(Opened& session);
  void open(Opened& session, Registry::UploadSession at);
  // What ended with an error: is it worth going on with the upload later?
  void keep_or_drop(Session& session, const Error& error);

  BlobJob job_;
  oci::Descriptor blob_;
  Registry& target_;
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
    outcome = co_await send(session);
    if (!outcome && may_be_absent && outcome.error().kind == ErrorKind::not_found) {
      co_return BlobOutcome::present;  // to be had at its urls, as the manifest says
    }
    if (!outcome) co_return fail(outcome.error());
  }
  job_.target.locations().learn(blob_.digest, job_.target_repository);
  co_return *outcome;
}

void BlobCopy::open(Opened& session, Registry::UploadSession at) {
  session.emplace(target_, SavedUpload{std::move(at), 0, oci::Hasher(blob_.digest.algorithm())});
}

asio::awaitable<Result<void>> BlobCopy::open_anew(Opened& session) {
  auto started = co_await target_.start_blob(job_.target_repository, blob_.digest, std::nullopt);
  if (!started) co_return fail(started.error());
  open(session, std::get<Registry::UploadSession>(std::move(*started)));
  co_return Result<void>{};
}

asio::awaitable<Result<BlobOutcome>> BlobCopy::send(Opened& session) {
  for (int sessions = 1;; ++sessions) {
    const bool resumed = session->get().bytes > 0;
    BlobSend sending(job_, blob_, session->get());
    auto sent = co_await sending.run();
    if (!sent) {
      keep_or_drop(*session, sent.error());
      co_return fail(sent.error());
    }
    if (*sent == BlobSend::Sent::stored) {
      session->used();
      co_return resumed ? BlobOutcome::resumed : BlobOutcome::copied;
    }
    if (*sent == BlobSend::Sent::no_chunks) job_.target.takes_chunks = false;
    if (sessions >= sessions_max) {
      co_return fail(ErrorKind::transient,
                     fmt::format("{} forgets each upload of blob {} to {}", target_.name(),
                                 blob_.digest.str(), job_.target_repository.str()));
    }
    if (resumed) job_.target.uploads().drop(job_.target_repository, blob_.digest);
    session->get().bytes = 0;
    if (auto opened = co_await open_anew(session); !opened) co_return fail(opened.error());
  }
}

void BlobCopy::keep_or_drop(Session& session, const Error& error) {
  const bool hopeless = error.kind == ErrorKind::corrupt || error.kind == ErrorKind::invalid ||
                        error.kind == ErrorKind::not_found;
  if (hopeless) session.get().bytes = 0;
  if (session.get().bytes == 0) job_.target.uploads().drop(job_.target_repository, blob_.digest);
}

// An upload that was broken off goes on, unless the blob has come otherwise. Else one request
// mounts the blob, finds it there, or opens the upload; then `session` is set.
asio::awaitable<Result<BlobOutcome>> BlobCopy::ask_target(Opened& session) {
  Target& target = job_.target;
  const bool believed = target.locations().may_hold(blob_.digest, job_.target_repository);
  std::optional<SavedUpload> saved;
  if (blob_.size >= BlobSend::chunked_from_bytes)
    saved = target.uploads().take(job_.target_repository, blob_.digest);
  if (saved || (believed && !target.tells_presence_by_mount)) {
    auto there = co_await is_there();
    if (!there) co_return fail(there.error());
    if (*there) {
      if (saved) target_.abandon(std::move(saved->session));
      co_return BlobOutcome::present;
    }
    target.locations().forget(blob_.digest, job_.target_repository);
  }
  if (saved) {
    session.emplace(target_, std::move(*saved));
    co_return BlobOutcome::copied;
  }
  // A mount from the very repository it should go to is the question "do you have it?", which opens
  // the upload if not.
  oci::Repository from = job_.target_repository;
  if (&job_.source == &target_) {
    from = job_.source_repository;
  } else if (!target.locations().may_hold(blob_.digest, job_.target_repository)) {
    from = target.locations().elsewhere(blob_.digest, job_.target_repository).value_or(from);
  }
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
  open(session, std::get<Registry::UploadSession>(std::move(*started)));
  target.locations().forget(blob_.digest, from);
  const bool surely_absent =
      job_.target_is_fresh || (from_itself && target.tells_presence_by_mount);
  if (!surely_absent) {
    auto there = co_await is_there();
    if (!there) co_return fail(there.error());
    if (*there) co_return BlobOutcome::present;
  }
  co_return BlobOutcome::copied;
}

// One that the target cannot tell of is sent again.
asio::awaitable<Result<bool>> BlobCopy::is_there() {
  auto size = co_await target_.head_blob(job_.target_repository, blob_.digest);
  if (!size && is_broken(size.error())) co_return false;
  if (!size) co_return fail(size.error());
  co_return size->has_value();
}

}  // namespace

asio::awaitable<Result<BlobOutcome>> copy_blob(BlobJob job, BlobStep step) {
  Registry& source = job.source;
  Registry& target = job.target.registry();
  SharedReads::Member* const image = job.image;
  BlobCopy copy(std::move(job), step.blob);
  auto outcome = co_await copy.run(step.may_be_absent);
  if (image != nullptr) image->passes(step.blob.digest);
  if (outcome) target.observer().blob_done(source.name(), target.name(), *outcome, step.blob.size);
  co_return outcome;
}

}  // namespace transship
