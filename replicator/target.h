#pragma once

#include <map>
#include <memory>
#include <set>

#include "replicator/base/task.h"
#include "replicator/blob_locations.h"
#include "replicator/registry/registry.h"

namespace transship {

// One target and what all copies to it share: where its blobs are, which are on their way, and how
// many may be.
class Target {
 public:
  Target(asio::any_io_executor executor, registry::Registry& registry, std::size_t blobs_at_once)
      : registry_(registry), places_(executor, blobs_at_once), executor_(std::move(executor)) {}

  [[nodiscard]] registry::Registry& registry() { return registry_; }
  [[nodiscard]] BlobLocations& locations() { return locations_; }
  [[nodiscard]] Semaphore& places() { return places_; }

  // A repository that did not exist when we first looked: what is in it, we put there.
  asio::awaitable<Result<bool>> is_fresh(oci::Repository repository);
  // The same, told by a list that was read for another reason.
  void note_repository(const oci::Repository& repository, bool exists);

  // Whether this registry has ever mounted a blob from the very repository that it went to: then
  // "not mounted" means "not there", and no blob needs to be looked for before it is sent.
  bool tells_presence_by_mount = false;

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
  registry::Registry& registry_;
  BlobLocations locations_;
  Semaphore places_;
  asio::any_io_executor executor_;
  std::map<oci::Digest, std::shared_ptr<Event>> in_flight_;
  std::map<oci::Repository, bool> fresh_;  // bounded by repositories_max
};

}  // namespace transship
