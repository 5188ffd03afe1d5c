#include "replicator/blob_send.h"

#include <fmt/format.h>

#include <functional>

#include "replicator/http/fitted.h"

namespace transship {

namespace {

using registry::Registry;

constexpr int pauses_max = 3;    // that the target asks for
constexpr int renewals_max = 2;  // of a token, without a byte confirmed in between
// An upload that broke is worth going on with if so much was confirmed since it broke before.
constexpr std::uint64_t progress_bytes = 1UL << 20U;
// A chunk that is sent while it is read: what may be lost with it is less than a tenth of the blob,
// or less than 16 MiB.
constexpr std::uint64_t chunk_bytes_min = 15UL << 20U;
constexpr std::uint64_t chunks_max = 11;
constexpr std::uint64_t gathered_bytes_min = 5UL << 20U;  // Amazon ECR takes no shorter chunks
constexpr double slow_bytes_per_second = 100.0 * (1 << 20);

double in_seconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

struct Connections {
  Semaphore::Place source;
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

}  // namespace

BlobSend::BlobSend(const BlobJob& job, oci::Descriptor blob, SavedUpload& upload)
    : job_(job),
      blob_(std::move(blob)),
      upload_(upload),
      target_(job.target.registry()),
      resumed_(upload.bytes > 0),
      gathered_share_(job.target.commons().buffers.share()),
      hasher_(upload.hasher),
      seen_(upload.bytes) {}

asio::awaitable<Result<BlobSend::Sent>> BlobSend::run() {
  const bool in_chunks = blob_.size >= chunked_from_bytes && blob_.data.empty();
  if (in_chunks && (job_.target.takes_chunks || resumed_)) co_return co_await send_chunks();
  co_return co_await send_whole();
}

// --- where the bytes come from ---

// Whoever holds a connection to the target lets it go before it asks for two.
asio::awaitable<Result<void>> BlobSend::open_source(std::uint64_t from) {
  let_source_go();
  SharedReads& reads = job_.target.commons().reads;
  const BlobAt at{job_.source, job_.source_repository, blob_};
  if (from == 0 && reads.can_join(at)) {
    if (!target_place_) target_place_ = co_await target_.connect();
    shared_ = reads.join(at, job_.image);
    if (shared_) co_return Result<void>{};
  }
  target_place_.reset();
  auto both = co_await connect_both(job_.source, target_);
  target_place_ = std::move(both.target);
  if (from > 0) {
    own_ = std::make_unique<BlobStream>(at, from, std::move(both.source),
                                        job_.target.commons().buffers);
    co_return co_await own_->open();
  }
  shared_ = reads.join(at, job_.image);  // while we waited, another one began
  if (shared_) co_return Result<void>{};
  auto opened = co_await reads.open(at, job_.image, std::move(both.source));
  if (!opened) co_return fail(opened.error());
  shared_ = std::move(*opened);
  co_return Result<void>{};
}

void BlobSend::let_source_go() {
  shared_.reset();
  own_.reset();
  gathered_.clear();
  gathered_bytes_ = 0;
  gathered_share_.shrink(gathered_share_.bytes());
}

// The next piece that the source gives; never null, since it is asked for no more than the blob
// has.
asio::awaitable<Result<http::Chunk>> BlobSend::read_source() {
  source_failed_ = true;  // until it has not
  const std::uint64_t position = seen_ + gathered_bytes_;
  if (!shared_ && !own_) {
    if (auto opened = co_await open_source(position); !opened) co_return fail(opened.error());
  }
  const auto asked = Clock::now();
  auto chunk = shared_ ? co_await shared_->next() : co_await own_->next();
  waited_ += Clock::now() - asked;
  if (!chunk) co_return fail(chunk.error());
  if (!*chunk) {
    co_return fail(ErrorKind::corrupt, fmt::format("blob {} of {} ends after {} of {} bytes at {}",
                                                   blob_.digest.str(), job_.source_repository.str(),
                                                   position, blob_.size, job_.source.name()));
  }
  came_ += (*chunk)->size();
  source_failed_ = false;
  co_return chunk;
}

asio::awaitable<Result<http::Chunk>> BlobSend::next_at_most(std::uint64_t bytes) {
  http::Chunk chunk;
  if (gathered_.empty()) {
    auto read = co_await read_source();
    if (!read) co_return fail(read.error());
    chunk = std::move(*read);
  } else {
    chunk = std::move(gathered_.front());
    gathered_.pop_front();
    gathered_bytes_ -= chunk->size();
  }
  if (chunk->size() > bytes) {
    gathered_.push_front(std::make_shared<const std::string>(*chunk, bytes));
    gathered_bytes_ += gathered_.front()->size();
    chunk = std::make_shared<const std::string>(*chunk, 0, bytes);
  }
  if (gathered_share_.bytes() > gathered_bytes_)
    gathered_share_.shrink(gathered_share_.bytes() - gathered_bytes_);
  co_return chunk;
}

// Collects what comes slowly, so that no request is open at the target while we wait for the
// source: what breaks then breaks between two chunks, where every registry can go on.
asio::awaitable<Result<void>> BlobSend::gather() {
  while (gathered_bytes_ < gathered_bytes_max && seen_ + gathered_bytes_ < blob_.size) {
    auto chunk = co_await read_source();
    if (!chunk) co_return fail(chunk.error());
    gathered_bytes_ += (*chunk)->size();
    const bool room = gathered_share_.grow((*chunk)->size());
    gathered_.push_back(http::fitted(std::move(*chunk)));
    if (!room) break;
  }
  co_return Result<void>{};
}

Result<void> BlobSend::check(std::string_view bytes) {
  seen_ += bytes.size();
  hasher_.update(bytes);
  const auto corrupt = [&](std::string_view what) {
    return fail(ErrorKind::corrupt,
                fmt::format("blob {} of {} at {}: {}", blob_.digest.str(),
                            job_.source_repository.str(), job_.source.name(), what));
  };
  if (seen_ > blob_.size) return corrupt("more bytes than its manifest says");
  if (seen_ < blob_.size || oci::Hasher(hasher_).finish() == blob_.digest) return {};
  if (!resumed_) return corrupt("its bytes have another digest");
  // What an earlier run sent, or remembers, may be what is wrong.
  upload_.bytes = 0;
  return fail(
      ErrorKind::transient,
      fmt::format("blob {} of {}: what was sent before does not fit what {} gives now; it is "
                  "sent again from its beginning",
                  blob_.digest.str(), job_.source_repository.str(), job_.source.name()));
}

// False where the target has answered already: the answer says why. A piece is proven before it
// goes, so that the target can never take a wrong blob for the right one.
asio::awaitable<Result<bool>> BlobSend::write(http::Exchange& to, http::Chunk chunk) {
  if (auto checked = check(*chunk); !checked) {
    source_failed_ = true;
    co_return fail(checked.error());
  }
  const std::size_t bytes = chunk->size();
  co_await target_.uploads().take(static_cast<double>(bytes));
  auto written = co_await to.write(std::move(chunk));
  if (!written) co_return fail(written.error().with_context("send blob " + blob_.digest.str()));
  if (*written) target_.observer().bytes_moved(job_.source.name(), target_.name(), bytes);
  co_return written;
}

// --- all in one request ---

// A token may have expired since the session was opened: then the blob starts once more.
asio::awaitable<Result<BlobSend::Sent>> BlobSend::send_whole() {
  for (int tries = 0; tries <= renewals_max;) {
    auto sent = co_await send_whole_once();
    if (!sent && (!target_.asks_for_short_pause(sent.error()) || ++pauses_ > pauses_max))
      co_return fail(sent.error());
    if (!sent) continue;
    if (*sent == Registry::Finished::stored) co_return Sent::stored;
    ++tries;
  }
  co_return fail(ErrorKind::unauthorized,
                 fmt::format("{} refuses each new token for blob {} of {}", target_.name(),
                             blob_.digest.str(), job_.target_repository.str()));
}

asio::awaitable<Result<Registry::Finished>> BlobSend::send_whole_once() {
  seen_ = 0;
  hasher_ = oci::Hasher(blob_.digest.algorithm());
  if (blob_.size > 0 && blob_.data.empty()) {
    if (auto opened = co_await open_source(0); !opened) co_return fail(opened.error());
  } else {
    if (oci::Digest::of(blob_.data, blob_.digest.algorithm()) != blob_.digest) {
      co_return fail(ErrorKind::corrupt,
                     fmt::format("{} is not the digest of an empty blob", blob_.digest.str()));
    }
    if (!target_place_) target_place_ = co_await target_.connect();
  }
  auto upload = co_await target_.send_blob(job_.target_repository, upload_.session, blob_);
  if (!upload) co_return fail(upload.error());
  if (!blob_.data.empty()) {
    auto written =
        co_await write(upload->exchange, std::make_shared<const std::string>(blob_.data));
    if (!written) co_return fail(written.error());
  }
  while (seen_ < blob_.size) {
    auto chunk = co_await next_at_most(blob_.size - seen_ + 1);  // one too many is noticed
    if (!chunk) co_return fail(chunk.error());
    auto written = co_await write(upload->exchange, std::move(*chunk));
    if (!written) co_return fail(written.error());
    if (!*written) break;
  }
  co_return co_await target_.finish_blob(std::move(*upload), job_.target_repository, blob_.digest);
}

// --- in chunks ---

asio::awaitable<Result<BlobSend::Sent>> BlobSend::send_chunks() {
  if (resumed_) {
    if (!target_place_) target_place_ = co_await target_.connect();
    auto stands = co_await go_on_from_standing();
    if (!stands) co_return fail(stands.error());
    if (!*stands) co_return Sent::gone;
  }
  while (seen_ < blob_.size) {
    token_renewed_ = false;
    auto sent = co_await send_chunk();
    if (sent) continue;
    if (source_failed_) co_return fail(sent.error());
    const bool refused = upload_.bytes == 0 && (sent.error().kind == ErrorKind::unsupported ||
                                                sent.error().kind == ErrorKind::not_found ||
                                                sent.error().kind == ErrorKind::invalid);
    if (refused) co_return Sent::no_chunks;
    if (auto on = co_await go_on_after(sent.error()); !on) co_return fail(on.error());
  }
  // What an earlier run remembers may be wrong.
  if (oci::Hasher(hasher_).finish() != blob_.digest) co_return Sent::gone;
  co_return co_await commit();
}

bool BlobSend::worth_gathering() const {
  if (came_ == 0) return true;                                                     // and see
  const double source_seconds = in_seconds(waited_) / static_cast<double>(came_);  // for a byte
  const bool source_is_slow = source_seconds * slow_bytes_per_second > 1;
  const bool target_is_near =
      in_seconds(settled_in_) * 4 < source_seconds * static_cast<double>(gathered_bytes_max);
  return source_is_slow && target_is_near;
}

// As much as was gathered, or, where that is not worth it, as much as may be lost.
std::uint64_t BlobSend::chunk_length() const {
  const std::uint64_t left = blob_.size - seen_;
  std::uint64_t bytes = gathered_bytes_ >= gathered_bytes_min
                            ? gathered_bytes_
                            : std::max(chunk_bytes_min, blob_.size / chunks_max);
  bytes = std::max(bytes, upload_.session.chunk_bytes_min);
  return std::min(bytes, left);
}

asio::awaitable<Result<void>> BlobSend::send_chunk() {
  if (!target_place_ || (!shared_ && !own_)) {
    source_failed_ = true;
    if (auto opened = co_await open_source(seen_); !opened) co_return fail(opened.error());
    source_failed_ = false;
  }
  if (worth_gathering()) {
    if (auto gathered = co_await gather(); !gathered) co_return fail(gathered.error());
  }
  came_ = 0;
  waited_ = {};
  const std::uint64_t bytes = chunk_length();
  const std::uint64_t end = seen_ + bytes;
  auto upload = co_await target_.send_chunk(job_.target_repository, upload_.session, seen_, bytes);
  if (!upload) co_return fail(upload.error());
  if (auto filled = co_await fill_chunk(upload->exchange, bytes); !filled)
    co_return fail(filled.error());
  const auto written_at = Clock::now();
  auto standing = co_await target_.finish_chunk(std::move(*upload), job_.target_repository,
                                                upload_.session, end);
  if (!standing) co_return fail(standing.error());
  settled_in_ = Clock::now() - written_at;
  if (!*standing) {
    token_renewed_ = true;
    co_return fail(ErrorKind::unauthorized, target_.name() + " refuses the renewed token");
  }
  renewals_ = pauses_ = 0;
  since_break_ += bytes;
  confirmed(std::move(**standing));
  co_return Result<void>{};
}

asio::awaitable<Result<void>> BlobSend::fill_chunk(http::Exchange& to, std::uint64_t bytes) {
  const std::uint64_t end = seen_ + bytes;
  while (seen_ < end) {
    auto chunk = co_await next_at_most(end - seen_);
    if (!chunk) co_return fail(chunk.error());
    auto written = co_await write(to, std::move(*chunk));
    if (!written) co_return fail(written.error());
    if (!*written) break;
  }
  co_return Result<void>{};
}

// The target has what was hashed: that is kept, also for a later run.
void BlobSend::confirmed(Registry::Standing standing) {
  upload_.session = std::move(standing.session);
  upload_.bytes = standing.bytes;
  upload_.hasher = hasher_;
  job_.target.uploads().save(job_.target_repository, blob_.digest, upload_);
}

// A chunk failed: the target is asked what it has, and what follows is sent.
asio::awaitable<Result<void>> BlobSend::go_on_after(Error error) {
  const bool paused = target_.asks_for_short_pause(error);
  bool may_go_on =
      upload_.bytes > 0 && error.kind == ErrorKind::transient && since_break_ >= progress_bytes;
  if (token_renewed_) may_go_on = ++renewals_ <= renewals_max;
  if (paused) may_go_on = ++pauses_ <= pauses_max;
  if (!may_go_on) co_return fail(std::move(error));
  if (!token_renewed_ && !paused) {
    since_break_ = 0;
    target_.observer().request_retried(target_.name(), "resume");
  }
  auto stands = co_await go_on_from_standing();
  if (!stands) co_return fail(stands.error());
  if (*stands) co_return Result<void>{};
  upload_.bytes = 0;
  error.message += "; the upload cannot go on, so that this blob starts again";
  co_return fail(std::move(error));
}

// False where the upload cannot go on. After it, what was written is what the target has.
asio::awaitable<Result<bool>> BlobSend::go_on_from_standing() {
  auto asked = co_await target_.ask_standing(job_.target_repository, upload_.session);
  if (!asked) co_return fail(asked.error());
  if (!*asked || (*asked)->bytes > blob_.size) co_return false;
  Registry::Standing& standing = **asked;
  if (standing.bytes == 0) {
    upload_.bytes = 0;
    upload_.hasher = oci::Hasher(blob_.digest.algorithm());
    upload_.session = std::move(standing.session);
  } else if (standing.bytes < upload_.bytes) {
    co_return false;  // it has forgotten what it had confirmed
  }
  if (standing.bytes == seen_ && standing.bytes > 0) {
    confirmed(std::move(standing));
    co_return true;
  }
  const std::uint64_t wanted = standing.bytes;
  seen_ = upload_.bytes;
  hasher_ = upload_.hasher;
  let_source_go();
  if (wanted <= seen_) {
    if (wanted > 0) upload_.session = std::move(standing.session);
    co_return true;
  }
  // It has a part of the chunk that broke: these bytes are read for their hash alone.
  if (auto hashed = co_await hash_up_to(wanted); !hashed) co_return fail(hashed.error());
  confirmed(std::move(standing));
  co_return true;
}

asio::awaitable<Result<void>> BlobSend::hash_up_to(std::uint64_t position) {
  while (seen_ < position) {
    auto chunk = co_await next_at_most(position - seen_);
    if (!chunk) co_return fail(chunk.error());
    if (auto checked = check(**chunk); !checked) co_return fail(checked.error());
  }
  co_return Result<void>{};
}

asio::awaitable<Result<BlobSend::Sent>> BlobSend::commit() {
  for (int tries = 0; tries <= renewals_max;) {
    auto finished =
        co_await target_.commit_blob(job_.target_repository, upload_.session, blob_.digest);
    if (!finished) {
      const Error& error = finished.error();
      if (target_.asks_for_short_pause(error) && ++pauses_ <= pauses_max) continue;
      // What it has is not what it should be: the next try begins anew. Else it goes on from here,
      // or finds the blob stored.
      if (error.code == "DIGEST_INVALID" || error.code == "BLOB_UPLOAD_INVALID") upload_.bytes = 0;
      co_return fail(error);
    }
    ++tries;
    if (*finished == Registry::Finished::stored) {
      job_.target.uploads().drop(job_.target_repository, blob_.digest);
      co_return Sent::stored;
    }
  }
  co_return fail(ErrorKind::unauthorized,
                 fmt::format("{} refuses each new token for blob {} of {}", target_.name(),
                             blob_.digest.str(), job_.target_repository.str()));
}

}  // namespace transship
