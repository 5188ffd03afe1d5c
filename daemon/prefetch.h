#pragma once

#include <asio/cancellation_signal.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <optional>
#include <set>
#include <string>

#include "daemon/events/event.h"
#include "daemon/generation.h"
#include "replicator/base/task.h"
#include "replicator/oci/manifest.h"

namespace transship {

// A blob that arrived at a source, before the manifest that it belongs to.
struct BlobHint {
  std::string registry;
  oci::Repository repository;
  oci::Descriptor blob;
  std::chrono::steady_clock::time_point arrived_at;

  // None where the event tells of no blob, or of one that we have put there ourselves.
  static std::optional<BlobHint> of(const std::string& registry, const events::Event& event);
  [[nodiscard]] std::string key() const { return repository.str() + "@" + blob.digest.str(); }
};

// Copies blobs to one target while the push of their image still goes on, so that little is left
// to do when its tag comes. Only ever a head start: each blob is tried once, what there is no room
// for is forgotten, and the image's own copy brings whatever is missing.
class Prefetch {
 public:
  static constexpr std::size_t hints_max = 1000;  // that wait; the oldest go
  static constexpr std::chrono::minutes hint_life{10};

  struct Parts {
    // No push waits for a place: they go first.
    std::function<bool()> is_calm;
    std::function<bool(const std::string& registry)> answers;
  };
  Prefetch(asio::any_io_executor executor, const Generations& generations, std::string target,
           Parts parts);
  ~Prefetch();

  void offer(BlobHint hint);
  // Until stop() has ended it.
  asio::awaitable<void> run();
  // Breaks off what is on its way; what a target holds of it stays for the image's copy.
  asio::awaitable<void> stop();

 private:
  using Clock = std::chrono::steady_clock;
  struct Flight {
    std::string key;
    asio::cancellation_signal cancel;
  };

  void forget_the_old();
  bool start_one();
  [[nodiscard]] bool has_room(const BlobHint& hint) const;
  void start(BlobHint hint);
  asio::awaitable<void> fetch(BlobHint hint);

  asio::any_io_executor executor_;
  const Generations& generations_;
  std::string target_;
  Parts parts_;
  std::deque<BlobHint> hints_;
  std::set<std::string> known_;  // the keys of those that wait and those that are on their way
  std::list<Flight> flights_;
  Event changed_;
  bool running_ = false;
  bool stopping_ = false;
};

}  // namespace transship
