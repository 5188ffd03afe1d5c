#include "replicator/blob_stream.h"

#include <fmt/format.h>

#include <algorithm>

namespace transship {

namespace {

// A break is worth going on after if so much came since the last one.
constexpr std::uint64_t progress_bytes = 1UL << 20U;
// Several ranges are worth their requests where so much is left, and one connection gives less than
// this a second to somebody who waits for it most of the time.
constexpr std::uint64_t worth_ranges_bytes = 16UL << 20U;
constexpr double slow_bytes_per_second = 64.0 * (1 << 20);
constexpr std::chrono::milliseconds judged_after{300};
constexpr std::uint64_t range_bytes_min = 512UL << 10U;

double in_seconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

BlobStream::BlobStream(BlobAt from, std::uint64_t position, Semaphore::Place place, Budget& buffers)
    : from_(std::move(from)),
      position_(position),
      place_(std::move(place)),
      buffers_(buffers),
      ahead_(buffers.share()) {}

Error BlobStream::corrupt(std::string_view what) const {
  return {ErrorKind::corrupt, fmt::format("blob {} of {} at {} {}", from_.blob.digest.str(),
                                          from_.repository.str(), from_.registry.name(), what)};
}

asio::awaitable<Result<void>> BlobStream::open() {
  parts_.push_back({position_, from_.blob.size, {}});
  co_return co_await open_part(parts_.front(), http::Request{}.receive_buffer_bytes);
}

asio::awaitable<Result<void>> BlobStream::open_part(Part& part, std::size_t buffer_bytes) {
  part.opened.reset();
  registry::Registry::BlobRange range{part.position, {}, etag_, buffer_bytes};
  if (part.end < from_.blob.size) range.bytes = part.end - part.position;
  auto opened =
      co_await from_.registry.open_blob(from_.repository, from_.blob, true, std::move(range));
  if (!opened) co_return fail(opened.error());
  if (!*opened) {
    co_return fail(ErrorKind::not_found,
                   fmt::format("{} lacks blob {} of {}", from_.registry.name(),
                               from_.blob.digest.str(), from_.repository.str()));
  }
  part.opened = std::move(**opened);
  part.skip = part.position - part.opened->from;
  no_ranges_ = no_ranges_ || (part.opened->from == 0 && part.position > 0);
  if (!part.opened->etag.empty()) etag_ = part.opened->etag;
  if (opened_at_ == Clock::time_point{}) opened_at_ = Clock::now();
  co_return Result<void>{};
}

// Nothing may be lost to a cancellation: whoever asks next gets what this one would have got.
asio::awaitable<Result<http::Chunk>> BlobStream::next() {
  if (owed_ > 0) co_await from_.registry.downloads().take(static_cast<double>(owed_));
  owed_ = 0;
  for (;;) {
    if (position_ >= from_.blob.size) {
      parts_.clear();
      co_return http::Chunk{};
    }
    if (!parts_.empty() && parts_.front().position >= parts_.front().end) {
      parts_.pop_front();
      continue;
    }
    if (parts_.empty() || (!ranged_ && wants_ranges())) {
      auto opened = co_await open_ranges();
      if (opened) continue;
      if (opened.error().kind != ErrorKind::transient || read_since_break_ < progress_bytes)
        co_return fail(opened.error());
      read_since_break_ = 0;
      parts_.clear();
      continue;
    }
    Part& part = parts_.front();
    if (!part.opened) {
      if (auto opened = co_await open_part(part, http::Request{}.receive_buffer_bytes); !opened)
        co_return fail(opened.error());
    }
    auto chunk = co_await read_part(part);
    if (!chunk) {
      auto again = co_await go_on(part, chunk.error());
      if (!again) co_return fail(again.error());
      continue;
    }
    if (!*chunk) continue;  // what came was had already
    position_ = part.position;
    read_since_break_ += (*chunk)->size();
    owed_ = (*chunk)->size();
    co_return chunk;
  }
}

// The next piece of a part, without what was had already; null where nothing is left of it. What
// comes beyond the part's end is not ours: the registry takes no ranges.
asio::awaitable<Result<http::Chunk>> BlobStream::read_part(Part& part) {
  const auto asked = Clock::now();
  auto chunk = co_await part.opened->exchange.read();
  waited_ += Clock::now() - asked;
  if (!chunk) co_return fail(chunk.error());
  if (!*chunk) {
    ended_early_ = true;
    co_return fail(
        corrupt(fmt::format("ends after {} of {} bytes", part.position, from_.blob.size)));
  }
  came_ += (*chunk)->size();
  std::size_t begin = 0;
  if (part.skip > 0) {
    begin = std::min<std::uint64_t>(part.skip, (*chunk)->size());
    part.skip -= begin;
    if (begin == (*chunk)->size()) co_return http::Chunk{};
  }
  const std::uint64_t bytes = (*chunk)->size() - begin;
  const std::uint64_t room = part.end - part.position;
  if (bytes > room && part.end == from_.blob.size)
    co_return fail(corrupt("has more bytes than its manifest says"));
  const std::uint64_t taken = std::min(bytes, room);
  part.position += taken;
  if (taken == (*chunk)->size()) co_return std::move(*chunk);
  co_return std::make_shared<const std::string>(**chunk, begin, taken);
}

// After a break: opens the part again where it stopped, if there was progress since the last one.
asio::awaitable<Result<bool>> BlobStream::go_on(Part& part, const Error& error) {
  const bool broke_off = error.kind == ErrorKind::transient || std::exchange(ended_early_, false);
  if (!broke_off || read_since_break_ < progress_bytes)
    co_return fail(error.with_context("read blob " + from_.blob.digest.str()));
  read_since_break_ = 0;
  from_.registry.observer().request_retried(from_.registry.name(), "resume");
  auto opened = co_await open_part(part, http::Request{}.receive_buffer_bytes);
  if (!opened) co_return fail(opened.error());
  co_return true;
}

bool BlobStream::wants_ranges() const {
  if (no_ranges_ || from_.blob.size - position_ < worth_ranges_bytes) return false;
  const auto elapsed = Clock::now() - opened_at_;
  if (elapsed < judged_after || came_ == 0) return false;
  const bool source_is_slow =
      static_cast<double>(came_) < slow_bytes_per_second * in_seconds(elapsed) &&
      waited_ > elapsed * 7 / 10;
  const auto head = parts_.front().opened->head.header("accept-ranges");
  return source_is_slow && head != "none";
}

// How many bytes each of `ranges` may have, the first being read as it comes and the others lying
// here until it is their turn. 0: not worth it.
std::uint64_t BlobStream::take_buffers(std::size_t ranges) {
  ahead_ = buffers_.share();
  if (ranges < 2) return 0;
  const std::uint64_t left = from_.blob.size - position_;
  const std::uint64_t others = buffers_.free() * 2 / 3;  // more blobs may come
  const std::uint64_t bytes = std::min({range_bytes_max, others / (ranges - 1), left / ranges + 1});
  if (bytes < range_bytes_min || !ahead_.grow(bytes * (ranges - 1))) return 0;
  return bytes;
}

// The next ranges, opened together. What is left of a part that was to bring all the rest is let
// go.
asio::awaitable<Result<void>> BlobStream::open_ranges() {
  std::vector<Semaphore::Place> places;
  places.emplace_back();  // the stream's own
  while (!no_ranges_ && places.size() < ranges_max) {
    auto place = from_.registry.try_connect();
    if (!place) break;
    places.push_back(std::move(*place));
  }
  const std::uint64_t bytes = take_buffers(places.size());
  ranged_ = bytes > 0;
  if (!ranged_) {
    opened_at_ = Clock::now();  // to be judged anew
    came_ = 0;
    waited_ = {};
    if (!parts_.empty()) co_return Result<void>{};
    parts_.push_back({position_, from_.blob.size, {}});
    co_return co_await open_part(parts_.front(), http::Request{}.receive_buffer_bytes);
  }
  parts_.clear();
  std::uint64_t begin = position_;
  for (Semaphore::Place& place : places) {
    const std::uint64_t end = std::min(begin + bytes, from_.blob.size);
    if (begin < end) parts_.push_back({begin, end, std::move(place)});
    begin = end;
  }
  TaskGroup group(co_await asio::this_coro::executor);
  for (Part& part : parts_) {
    const bool first = &part == &parts_.front();
    group.spawn(open_part(part, first ? http::Request{}.receive_buffer_bytes : bytes));
  }
  co_return co_await group.join();
}

}  // namespace transship
