#pragma once

#include <fmt/format.h>

#include <string>

namespace transship {

// A password or token. It prints as "***", so no log line, error or dump can leak it; reveal() is
// the one way out.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}

  [[nodiscard]] const std::string& reveal() const { return value_; }
  [[nodiscard]] bool empty() const { return value_.empty(); }
  friend bool operator==(const Secret&, const Secret&) = default;

 private:
  std::string value_;
};

}  // namespace transship

template <>
struct fmt::formatter<transship::Secret> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const transship::Secret&, Context& context) const {
    return fmt::formatter<std::string_view>::format("***", context);
  }
};
