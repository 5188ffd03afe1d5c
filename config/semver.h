#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace transship::config {

// A version after Semantic Versioning 2.0.0. Build metadata is read and forgotten: it orders
// nothing.
struct Version {
  std::uint64_t major = 0;
  std::uint64_t minor = 0;
  std::uint64_t patch = 0;
  std::vector<std::string> prerelease;  // the identifiers between the dots

  // Three numbers, with or without a leading v. None for everything else, numbers beyond
  // max_version_number too.
  static std::optional<Version> parse(std::string_view text);

  std::strong_ordering operator<=>(const Version& other) const;  // precedence, section 11
  bool operator==(const Version&) const = default;
};

// What node-semver takes (Number.MAX_SAFE_INTEGER); the next number still fits.
inline constexpr std::uint64_t max_version_number = (std::uint64_t{1} << 53) - 1;

// A range as npm writes it: comparators (`>=1.4 <3`), `^1.2`, `~1.2`, `1.x`, `1.2 - 2.3`, joined by
// `||`. A pre-release is in a range only where a comparator of the alternative that it fits names a
// pre-release of the same three numbers.
class VersionRange {
 public:
  static constexpr std::size_t max_length = 1024;

  // The error says what is wrong and quotes the part that is.
  static tl::expected<VersionRange, std::string> parse(std::string_view text);

  bool contains(const Version& version) const;
  bool contains(std::string_view tag) const;  // false for what is no version
  const std::string& text() const { return text_; }

  bool operator==(const VersionRange& other) const { return text_ == other.text_; }

  enum class Operator { less, less_or_equal, equal, greater_or_equal, greater };
  struct Comparator {
    Operator op;
    Version version;
  };
  using Alternative =
      std::vector<Comparator>;  // all of them must hold; an empty one takes every release

 private:
  std::string text_;
  std::vector<Alternative> alternatives_;
};

}  // namespace transship::config
