#pragma once

#include <list>
#include <map>
#include <memory>
#include <set>

#include "replicator/base/task.h"
#include "replicator/blob_stream.h"

namespace transship {

// What several targets lack is read from the source once. Copies of one image to several targets
// announce themselves; the blobs that more than one of them sends go through one stream, and each
// takes the pieces at its own pace. Who falls behind by more than the window reads on for itself.
// Belongs to one loop, and outlives the copies.
class SharedReads {
 public:
  static constexpr std::size_t window_bytes = 8UL << 20U;  // of one blob, between first and last
  // How long a slow reader may hold the others back in all, before it reads for itself.
  static constexpr std::chrono::milliseconds indulgence{500};
  // How long the first of them waits in all for others of the same image, once the window is full.
  static constexpr std::chrono::milliseconds patience{1000};

  SharedReads(asio::any_io_executor executor, Budget& buffers)
      : executor_(std::move(executor)), buffers_(buffers) {}
  SharedReads(const SharedReads&) = delete;
  SharedReads& operator=(const SharedReads&) = delete;

 private:
  struct Blob;
  struct Convoy;
  using ConvoyKey = std::tuple<const registry::Registry*, oci::Repository, oci::Reference>;
  using BlobKey = std::pair<const registry::Registry*, oci::Digest>;

 public:
  // An image on its way to one target, from its first request to its last.
  class Member {
   public:
    Member() = default;
    Member(SharedReads& reads, ConvoyKey key);
    Member(Member&&) noexcept = default;
    Member& operator=(Member&&) = delete;
    ~Member();
    // This target needs no bytes of that blob: nobody has to wait for it.
    void passes(const oci::Digest& blob);

   private:
    friend class SharedReads;
    std::shared_ptr<Convoy> convoy_;
    std::set<oci::Digest> decided_;  // reads it, or passes it
  };
  Member announce(const registry::Registry& source, const oci::Repository& repository,
                  const oci::Reference& reference) {
    return {*this, {&source, repository, reference}};
  }

  // One target's way through a blob, from its beginning.
  class Reader {
   public:
    explicit Reader(std::shared_ptr<Blob> blob);
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    ~Reader();
    // As BlobStream::next().
    asio::awaitable<Result<http::Chunk>> next();

   private:
    friend struct Blob;
    std::shared_ptr<Blob> blob_;
    std::size_t next_ = 0;                             // the number of its next chunk
    std::uint64_t position_ = 0;                       // of it, in bytes
    std::chrono::steady_clock::duration held_back_{};  // what the others waited for it
    std::optional<Semaphore::Place> detached_;         // fell behind: a connection to read on with
    std::unique_ptr<BlobStream> own_;
  };

  // Whether join() would find one now.
  [[nodiscard]] bool can_join(const BlobAt& from) const { return joinable(from) != nullptr; }
  // The reader of a blob that is being read for somebody and can still be had from its beginning;
  // else null.
  std::unique_ptr<Reader> join(const BlobAt& from, Member* member);
  // Begins to read a blob, with one of the source's connections.
  asio::awaitable<Result<std::unique_ptr<Reader>>> open(BlobAt from, Member* member,
                                                        Semaphore::Place place);

 private:
  [[nodiscard]] std::shared_ptr<Blob> joinable(const BlobAt& from) const;

  asio::any_io_executor executor_;
  Budget& buffers_;
  std::map<ConvoyKey, std::weak_ptr<Convoy>> convoys_;
  std::map<BlobKey, std::weak_ptr<Blob>> blobs_;
};

}  // namespace transship
