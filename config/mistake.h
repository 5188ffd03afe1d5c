#pragma once

#include <fmt/format.h>

#include <compare>
#include <string>

namespace transship::config {

// Where in a text something begins, both counted from 1; a column is a byte.
struct Position {
  int line = 1;
  int column = 1;
  auto operator<=>(const Position&) const = default;
};

// Something wrong in a configuration, told so that its author can put it right.
struct Mistake {
  std::string file;
  int line = 1;
  int column = 1;
  std::string message;
  bool operator==(const Mistake&) const = default;
};

// file:line:column: message
inline std::string to_string(const Mistake& mistake) {
  return fmt::format("{}:{}:{}: {}", mistake.file, mistake.line, mistake.column, mistake.message);
}

}  // namespace transship::config
