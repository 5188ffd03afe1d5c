#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace transship::events {

// Checks that a text is JSON (RFC 8259) in UTF-8, without recursion and without keeping any of it.
class JsonScanner {
 public:
  JsonScanner(std::string_view text, std::size_t depth_max) : text_(text), depth_max_(depth_max) {}

  // Null when the whole text is one JSON value, else what is wrong.
  const char* problem();
  // Where it was found, in bytes.
  [[nodiscard]] std::size_t position() const { return at_; }

 private:
  [[nodiscard]] bool at(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool take(char c);
  void skip_space();
  const char* value();
  const char* open(char bracket);
  const char* after_value();
  const char* key();
  const char* string();
  const char* escape();
  bool character();
  const char* number();
  bool digits();
  bool word(std::string_view expected);

  std::string_view text_;
  std::size_t depth_max_;
  std::size_t at_ = 0;
  std::vector<char> open_;      // the brackets around this place
  bool value_expected_ = true;  // else what may follow one
};

}  // namespace transship::events
