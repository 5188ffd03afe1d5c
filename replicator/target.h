#pragma once

#include <map>
#include <memory>
#include <set>

#include "replicator/base/task.h"
#include "replicator/blob_locations.h"
#include "replicator/commons.h"
#include "replicator/registry/registry.h"
#include "replicator/upload_store.h"

namespace transship {

// One target and what all copies to it share: where its blobs are, which are on their way, which
// stopped half-way, and how many may be under way.
class Target {
 public:
  // `commons` outlives the target. What an earlier run learnt is read back from its state
  // directory.
  Target(asio::any_io_executor executor, registry::Registry& registry, std::size_t blobs_at_once,
         Commons& commons);
  ~Target();
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  [[nodiscard]] registry::Registry& registry() { return registry_; }
  [[nodiscard]] BlobLocations& locations() { return locations_; }
  [[nodiscard]] UploadStore& uploads() { return uploads_; }
  [[nodiscard]] Semaphore& places() { return places_; }
  [[nodiscard]] Commons& commons() { return commons_; }

  // Writes the locations to the state directory, where they have changed and that was not done in
  // the last minute.
  void keep_locations();

  // A repository that did not exist when we first looked: what is in it, we put there.
  asio::awaitable<Result<bool>> is_fresh(oci::Repository repository);
  // The same, told by a list that was read for another reason.
  void note_repository(const oci::Repository& repository, bool exists);

  // Whether this registry has ever mounted a blob from the very repository that it went to: then
  // "not mounted" means "not there", and no blob needs to be looked for before it is sent.
  bool tells_presence_by_mount = false;
  // Until it refuses one: it takes uploads in chunks.
  bool takes_chunks = true;

  // A blob's one transfer to this target. Held while it lasts; whoever else wants that blob waits
  // for its end.
  class Flight {
   public:
    Flight(Target& target, oci::Digest blob) : target_(&target), blob_(std::move(blob)) {}
    Flight(Flight&& other) noexcept
        : target_(std::exchange(other.target_, nullptr)), blob_(std::move(other.blob_)) {}
    Flight& operator=(Flight&&) = delete;
    ~Flight();

   private:
    Target* target_;
    oci::Digest blob_;
  };
  asio::awaitable<Flight> begin(oci::Digest blob);

 private:
  void write_locations();

  registry::Registry& registry_;
  Commons& commons_;
  BlobLocations locations_;
  UploadStore uploads_;
  Semaphore places_;
  asio::any_io_executor executor_;
  std::map<oci::Digest, std::shared_ptr<Event>> in_flight_;
  std::map<oci::Repository, bool> fresh_;  // bounded by repositories_max
  std::uint64_t kept_changes_ = 0;         // of the locations that were written
  std::chrono::steady_clock::time_point kept_at_ = std::chrono::steady_clock::now();
};

}  // namespace transship
