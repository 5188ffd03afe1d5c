#pragma once

#include <deque>

#include "replicator/blob_copy.h"

namespace transship {

// Sends the bytes of one blob into an upload that the target opened: small ones in one request,
// large ones in chunks, so that what the target has confirmed need not be sent again.
class BlobSend {
 public:
  // Blobs of this size and more go in chunks, where the target takes them.
  static constexpr std::uint64_t chunked_from_bytes = 16UL << 20U;
  // Of the bytes that are gathered while the source is slow, to be sent at one go.
  static constexpr std::uint64_t gathered_bytes_max = 6UL << 20U;

  enum class Sent {
    stored,     // the target has answered that it holds the blob
    gone,       // the upload that was to go on is not known there any more
    no_chunks,  // the target takes no chunks: the blob is to be sent in one request
  };

  // `upload`: where it goes and what is there of it; kept as the target confirmed it last.
  BlobSend(const BlobJob& job, oci::Descriptor blob, SavedUpload& upload);

  // Errors: not_found (the source lacks it), corrupt (the source gives other bytes), what the
  // registries say.
  asio::awaitable<Result<Sent>> run();

 private:
  using Clock = std::chrono::steady_clock;

  // Where the bytes come from.
  asio::awaitable<Result<void>> open_source(std::uint64_t from);
  asio::awaitable<Result<http::Chunk>> read_source();
  asio::awaitable<Result<http::Chunk>> next_at_most(std::uint64_t bytes);
  asio::awaitable<Result<void>> gather();
  void let_source_go();
  // Proves what is about to be written.
  Result<void> check(std::string_view bytes);
  asio::awaitable<Result<bool>> write(http::Exchange& to, http::Chunk chunk);

  // All in one request.
  asio::awaitable<Result<Sent>> send_whole();
  asio::awaitable<Result<registry::Registry::Finished>> send_whole_once();

  // In chunks.
  asio::awaitable<Result<Sent>> send_chunks();
  asio::awaitable<Result<void>> send_chunk();
  asio::awaitable<Result<void>> fill_chunk(http::Exchange& to, std::uint64_t bytes);
  asio::awaitable<Result<void>> go_on_after(Error error);
  asio::awaitable<Result<bool>> go_on_from_standing();
  asio::awaitable<Result<void>> hash_up_to(std::uint64_t position);
  asio::awaitable<Result<Sent>> commit();
  void confirmed(registry::Registry::Standing standing);
  [[nodiscard]] std::uint64_t chunk_length() const;
  [[nodiscard]] bool worth_gathering() const;

  const BlobJob& job_;
  oci::Descriptor blob_;
  SavedUpload& upload_;
  registry::Registry& target_;
  bool resumed_;
  std::optional<Semaphore::Place> target_place_;
  std::unique_ptr<SharedReads::Reader> shared_;  // the source, from the blob's beginning on
  std::unique_ptr<BlobStream> own_;              // or from its middle
  std::deque<http::Chunk> gathered_;             // read, and not written yet
  std::uint64_t gathered_bytes_ = 0;
  Budget::Share gathered_share_;
  oci::Hasher hasher_;      // over what was written
  std::uint64_t seen_ = 0;  // bytes that were written
  bool source_failed_ = false;
  bool token_renewed_ = false;     // and that is why the chunk failed
  std::uint64_t since_break_ = 0;  // bytes confirmed since the upload broke for the last time
  int renewals_ = 0;
  int pauses_ = 0;
  // How fast the source is, and how far the target.
  std::uint64_t came_ = 0;
  Clock::duration waited_{};
  Clock::duration settled_in_{};
};

}  // namespace transship
