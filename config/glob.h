#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace transship::config {

// A pattern for repositories and tags: `*` is any run of characters but slashes, `?` one character
// but a slash, `**` any run with slashes. Everything else stands for itself.
class Glob {
 public:
  // Repository names end at 255 characters, tags at 128.
  static constexpr std::size_t max_length = 255;

  // The error says what is wrong and quotes the text. A leading `!` is the caller's to take off.
  static tl::expected<Glob, std::string> parse(std::string_view text);

  // In time proportional to both lengths multiplied, whatever they hold; allocates nothing.
  bool matches(std::string_view name) const;

  bool has_wildcard() const { return has_wildcard_; }
  const std::string& text() const { return text_; }

  bool operator==(const Glob&) const = default;

 private:
  explicit Glob(std::string text);

  std::string text_;
  bool has_wildcard_ = false;
};

}  // namespace transship::config
