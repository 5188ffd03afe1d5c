#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "replicator/base/error.h"
#include "replicator/base/secret.h"

namespace transship {

// The tokens of one file, one a line; any of them is accepted, so that they can be rotated. Read
// again once the file is another one, so that a new token needs no restart.
class Tokens {
 public:
  explicit Tokens(std::filesystem::path file) : file_(std::move(file)) {}

  // Reads the file. Errors: invalid (it cannot be read, or holds no token); the tokens that were
  // known stay in force.
  Result<void> load();
  // Takes as long for a wrong token as for a right one.
  [[nodiscard]] bool accepts(std::string_view token);
  // What is accepted is what the file holds: it could be read, and held a token.
  [[nodiscard]] bool are_known() const { return loaded_; }

 private:
  void load_if_changed();

  std::filesystem::path file_;
  std::vector<Secret> tokens_;
  struct stat seen_ = {};  // the file as it was looked at last; zeros where there was none
  bool loaded_ = false;
};

}  // namespace transship
