#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "replicator/oci/reference.h"

namespace transship {

// Which repositories of one target hold which blob, as its answers have told. Bounded: the blobs
// that were asked for longest ago are forgotten first. Only ever a hint: a stale entry costs a
// request, a missing one too. What was read back from an earlier run is believed less than what
// this run was told: it may have been collected since, so it is asked about before anything relies
// on it.
class BlobLocations {
 public:
  static constexpr std::size_t blobs_max = 100'000;   // about 140 bytes each
  static constexpr std::size_t repositories_max = 8;  // of one blob

  explicit BlobLocations(std::size_t bound = blobs_max) : bound_(bound) {}

  void learn(const oci::Digest& blob, const oci::Repository& repository) {
    note(blob, repository, /*told=*/true);
  }
  void forget(const oci::Digest& blob, const oci::Repository& repository);
  // The target has told so in this run.
  [[nodiscard]] bool holds(const oci::Digest& blob, const oci::Repository& repository) const;
  // It did so, now or in an earlier run.
  [[nodiscard]] bool may_hold(const oci::Digest& blob, const oci::Repository& repository) const;
  // A repository other than `but` that holds it, or may: the one learnt last.
  [[nodiscard]] std::optional<oci::Repository> elsewhere(const oci::Digest& blob,
                                                         const oci::Repository& but) const;
  [[nodiscard]] std::size_t size() const { return by_age_.size(); }
  // Goes up with each thing learnt or forgotten.
  [[nodiscard]] std::uint64_t changes() const { return changes_; }

  // A line for each blob, "digest repository repository …", asked for longest ago first.
  [[nodiscard]] std::string as_text() const;
  // Lines that are no such lines are passed over.
  void add_text(std::string_view text);

 private:
  using Key = std::array<unsigned char, 32>;  // of sha512, the first half
  struct Entry {
    Key key{};
    bool is_sha512 = false;
    std::uint8_t count = 0;                                      // of repositories
    std::uint8_t told = 0;                                       // a bit for each: in this run
    std::array<std::uint32_t, repositories_max> repositories{};  // the one learnt last is last
  };
  using Entries = std::list<Entry>;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const Key& key) const;
    std::size_t operator()(const Entries::iterator& entry) const { return (*this)(entry->key); }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const Entries::iterator& a, const Entries::iterator& b) const { return a == b; }
    bool operator()(const Key& a, const Entries::iterator& b) const { return a == b->key; }
    bool operator()(const Entries::iterator& a, const Key& b) const { return a->key == b; }
  };
  static Key key_of(const oci::Digest& blob);
  void note(const oci::Digest& blob, const oci::Repository& repository, bool told);
  [[nodiscard]] const Entry* find(const oci::Digest& blob) const;
  // The place of the repository in the entry; its count where it is not there.
  [[nodiscard]] std::uint8_t place_in(const Entry& entry, const oci::Repository& repository) const;
  std::uint32_t number_of(const oci::Repository& repository);
  static void take_out(Entry& entry, std::uint8_t place);

  std::size_t bound_;
  std::uint64_t changes_ = 0;
  Entries by_age_;  // learnt or confirmed last is last
  std::unordered_set<Entries::iterator, Hash, Equal> index_;
  std::vector<oci::Repository> names_;
  std::unordered_map<std::string, std::uint32_t> numbers_;  // of names_
};

}  // namespace transship
