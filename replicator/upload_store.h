#pragma once

#include <list>
#include <map>

#include "replicator/registry/registry.h"
#include "replicator/state_directory.h"

namespace transship {

// An upload that may go on: where, and what it needs for that.
struct SavedUpload {
  registry::Registry::UploadSession session;  // without what it was opened with
  std::uint64_t bytes = 0;                    // what the registry has confirmed
  oci::Hasher hasher;                         // over these bytes
};

// The uploads to one target that were broken off, or may be by a crash: kept in memory, and in the
// state directory where there is one. Bounded; each is given away once.
class UploadStore {
 public:
  static constexpr std::size_t uploads_max = 1000;
  static constexpr std::chrono::hours kept_for{24 * 7};  // registries purge them after about that

  // `state` may be null. `target` is the registry's name, `origin` its scheme, host and port.
  UploadStore(StateDirectory* state, std::string target, std::string origin);

  void save(const oci::Repository& repository, const oci::Digest& blob, const SavedUpload& upload);
  void drop(const oci::Repository& repository, const oci::Digest& blob);
  std::optional<SavedUpload> take(const oci::Repository& repository, const oci::Digest& blob);

 private:
  using Key = std::pair<oci::Repository, oci::Digest>;
  [[nodiscard]] std::string file_of(const Key& key) const;

  StateDirectory* state_;
  std::string target_;
  std::string origin_;
  std::map<Key, std::string> saved_;  // as in the files
  std::list<Key> by_age_;
};

}  // namespace transship
