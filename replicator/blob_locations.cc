#include "replicator/blob_locations.h"

#include <algorithm>

namespace transship {

void BlobLocations::learn(const oci::Digest& blob, const oci::Repository& repository) {
  auto [found, added] = blobs_.try_emplace(blob);
  Entry& entry = found->second;
  if (added) {
    entry.age = by_age_.insert(by_age_.end(), blob);
  } else {
    by_age_.splice(by_age_.end(), by_age_, entry.age);
  }
  std::erase(entry.repositories, repository);
  if (entry.repositories.size() >= repositories_max) {
    entry.repositories.erase(entry.repositories.begin());
  }
  entry.repositories.push_back(repository);
  if (blobs_.size() > bound_) {
    blobs_.erase(by_age_.front());
    by_age_.pop_front();
  }
}

void BlobLocations::forget(const oci::Digest& blob, const oci::Repository& repository) {
  const auto found = blobs_.find(blob);
  if (found == blobs_.end()) return;
  std::erase(found->second.repositories, repository);
  if (!found->second.repositories.empty()) return;
  by_age_.erase(found->second.age);
  blobs_.erase(found);
}

bool BlobLocations::holds(const oci::Digest& blob, const oci::Repository& repository) const {
  const auto found = blobs_.find(blob);
  if (found == blobs_.end()) return false;
  const auto& repositories = found->second.repositories;
  return std::find(repositories.begin(), repositories.end(), repository) != repositories.end();
}

std::optional<oci::Repository> BlobLocations::elsewhere(const oci::Digest& blob,
                                                        const oci::Repository& but) const {
  const auto found = blobs_.find(blob);
  if (found == blobs_.end()) return std::nullopt;
  const auto& repositories = found->second.repositories;
  const auto other =
      std::find_if(repositories.rbegin(), repositories.rend(),
                   [&](const oci::Repository& repository) { return repository != but; });
  if (other == repositories.rend()) return std::nullopt;
  return *other;
}

}  // namespace transship
