#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "replicator/base/error.h"
#include "replicator/base/secret.h"

namespace transship {

// The tokens of one file, one a line; any of them is accepted, so that they can be rotated. Looked
// at again after a while, so that a new one needs no restart.
class Tokens {
 public:
  explicit Tokens(std::filesystem::path file) : file_(std::move(file)) {}

  // Reads the file. Errors: invalid (it cannot be read, or holds no token).
  Result<void> load();
  // Takes as long for a wrong token as for a right one.
  [[nodiscard]] bool accepts(std::string_view token);

 private:
  static constexpr std::chrono::seconds read_again_after{5};
  std::filesystem::path file_;
  std::vector<Secret> tokens_;
  std::chrono::steady_clock::time_point loaded_at_;
};

}  // namespace transship
