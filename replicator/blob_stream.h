#pragma once

#include <deque>
#include <optional>

#include "replicator/base/budget.h"
#include "replicator/registry/registry.h"

namespace transship {

// A blob as a repository of the source holds it.
struct BlobAt {
  registry::Registry& registry;
  oci::Repository repository;
  oci::Descriptor blob;
};

// Reads one blob from its source, in order. Where the connection breaks it goes on from there, as
// long as that gets on; where one connection is slower than what it feeds, it reads several ranges
// at once. Whether the bytes are the right ones is for the reader to prove.
class BlobStream {
 public:
  // At once. The bytes that may lie ahead are the same for few large ranges and for more small
  // ones; five hide the round trip between two ranges of one connection, so that four are always
  // busy.
  static constexpr std::size_t ranges_max = 5;
  static constexpr std::uint64_t range_bytes_max = 8UL << 20U;  // of each, at a time

  // `place`: one of the source's connections, held as long as the stream lives. `buffers`: what
  // ranges may hold that are read ahead of their turn.
  BlobStream(BlobAt from, std::uint64_t position, Semaphore::Place place, Budget& buffers);

  // Asks for the blob, so that its absence is known before anything is opened elsewhere.
  asio::awaitable<Result<void>> open();
  // The next piece; null at the end. Errors: not_found (the source lacks it), corrupt (it ends
  // early or has more bytes than its manifest says), what the registry says.
  asio::awaitable<Result<http::Chunk>> next();
  [[nodiscard]] std::uint64_t position() const { return position_; }

 private:
  using Clock = std::chrono::steady_clock;

  // A part that is being read: all the rest, or one of several ranges.
  struct Part {
    std::uint64_t position;  // of its next byte
    std::uint64_t end;
    Semaphore::Place place;  // none for the first, which uses the stream's
    std::optional<registry::Registry::OpenedBlob> opened = {};
    std::uint64_t skip = 0;  // bytes that come, but were had already
  };
  asio::awaitable<Result<void>> open_part(Part& part, std::size_t buffer_bytes);
  asio::awaitable<Result<http::Chunk>> read_part(Part& part);
  asio::awaitable<Result<bool>> go_on(Part& part, const Error& error);
  [[nodiscard]] bool wants_ranges() const;
  asio::awaitable<Result<void>> open_ranges();
  std::uint64_t take_buffers(std::size_t ranges);
  [[nodiscard]] Error corrupt(std::string_view what) const;

  BlobAt from_;
  std::uint64_t position_;
  Semaphore::Place place_;
  Budget& buffers_;
  Budget::Share ahead_;     // of the ranges under way
  std::deque<Part> parts_;  // in order; the first is read
  bool ranged_ = false;     // several were opened
  bool no_ranges_ = false;  // the registry gives the whole, whatever is asked for
  bool ended_early_ = false;
  std::string etag_;
  std::uint64_t owed_ = 0;  // bytes that came and were not paced yet
  std::uint64_t read_since_break_ = 0;
  // How fast the source is: bytes that came, and the time that was waited for them.
  std::uint64_t came_ = 0;
  Clock::duration waited_{};
  Clock::time_point opened_at_{};
};

}  // namespace transship
