#pragma once

#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

#include "replicator/oci/reference.h"

namespace transship {

// Which repositories of one target hold which blob, as its answers have told. Bounded: the blobs
// that were asked for longest ago are forgotten first. Only ever a hint: a stale entry costs a
// request, a missing one too.
class BlobLocations {
 public:
  static constexpr std::size_t blobs_max = 100'000;
  static constexpr std::size_t repositories_max = 8;  // of one blob

  explicit BlobLocations(std::size_t bound = blobs_max) : bound_(bound) {}

  void learn(const oci::Digest& blob, const oci::Repository& repository);
  void forget(const oci::Digest& blob, const oci::Repository& repository);
  [[nodiscard]] bool holds(const oci::Digest& blob, const oci::Repository& repository) const;
  // A repository other than `but` that holds it: the one learnt last.
  [[nodiscard]] std::optional<oci::Repository> elsewhere(const oci::Digest& blob,
                                                         const oci::Repository& but) const;
  [[nodiscard]] std::size_t size() const { return blobs_.size(); }

 private:
  struct Entry {
    std::vector<oci::Repository> repositories;  // the one learnt last is last
    std::list<oci::Digest>::iterator age;
  };
  std::size_t bound_;
  std::unordered_map<oci::Digest, Entry> blobs_;
  std::list<oci::Digest> by_age_;  // learnt or confirmed last is last
};

}  // namespace transship
