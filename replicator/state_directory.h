#pragma once

#include <asio/thread_pool.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "replicator/base/error.h"

namespace transship {

// Small files that may be kept between runs, and lost. They are written whole, beside and then in
// place of the old one, by a thread of its own; a file that was half written or is read meanwhile
// by another process is never seen. Only the owner may read them, since upload locations are as
// good as a password. Nothing here is needed for correctness: what cannot be written is not kept.
class StateDirectory {
 public:
  // Makes it where it is missing. Errors: invalid (it cannot be made or written).
  static Result<void> usable(const std::filesystem::path& path);

  explicit StateDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  ~StateDirectory();  // waits until everything is written
  StateDirectory(const StateDirectory&) = delete;
  StateDirectory& operator=(const StateDirectory&) = delete;

  // `name`: a relative path whose parts are made of [A-Za-z0-9._-]. nullopt: there is none, or it
  // is longer than `bytes_max`.
  [[nodiscard]] std::optional<std::string> read(const std::string& name,
                                                std::size_t bytes_max) const;
  void write(const std::string& name, std::string content);
  void remove(const std::string& name);
  // Removes what lies in the folder for longer than that, and all beyond `files_max`, oldest first.
  void tidy(const std::string& folder, std::chrono::hours older_than, std::size_t files_max);

 private:
  std::filesystem::path path_;
  asio::thread_pool writer_{1};
};

}  // namespace transship
