#include "config/characters.h"

#include <fmt/format.h>

#include <cstdint>

namespace transship::config {

namespace {

// Table 3-7 of the Unicode standard: for the first byte, how long the character is and what may
// come second.
struct Sequence {
  std::uint8_t first_low, first_high;
  std::size_t length;
  std::uint8_t second_low, second_high;
};
constexpr Sequence sequences[] = {
    {0xC2, 0xDF, 2, 0x80, 0xBF}, {0xE0, 0xE0, 3, 0xA0, 0xBF}, {0xE1, 0xEC, 3, 0x80, 0xBF},
    {0xED, 0xED, 3, 0x80, 0x9F}, {0xEE, 0xEF, 3, 0x80, 0xBF}, {0xF0, 0xF0, 4, 0x90, 0xBF},
    {0xF1, 0xF3, 4, 0x80, 0xBF}, {0xF4, 0xF4, 4, 0x80, 0x8F},
};

std::uint8_t byte_at(std::string_view text, std::size_t at) {
  return static_cast<std::uint8_t>(text[at]);
}

// How many bytes the first character of the text has; 0 where it is not UTF-8.
std::size_t character_length(std::string_view text) {
  const std::uint8_t first = byte_at(text, 0);
  if (first < 0x80) return 1;
  for (const Sequence& sequence : sequences) {
    if (first < sequence.first_low || first > sequence.first_high) continue;
    if (text.size() < sequence.length) return 0;
    const std::uint8_t second = byte_at(text, 1);
    if (second < sequence.second_low || second > sequence.second_high) return 0;
    for (std::size_t at = 2; at < sequence.length; ++at) {
      if ((byte_at(text, at) & 0xC0) != 0x80) return 0;
    }
    return sequence.length;
  }
  return 0;
}

bool is_forbidden_control(char c) {
  const bool control = (c >= 0 && c < ' ') || c == '\x7f';
  return control && c != '\t' && c != '\n' && c != '\r';
}

}  // namespace

std::optional<Fault> find_forbidden_character(std::string_view text) {
  Position position;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = character_length(text.substr(at));
    if (length == 0) return Fault{position, "not text: a byte that is not UTF-8"};
    if (is_forbidden_control(text[at])) {
      return Fault{position,
                   fmt::format("not text: the control character 0x{:02x}", byte_at(text, at))};
    }
    if (text[at] == '\n') {
      position = {position.line + 1, 1};
    } else {
      position.column += static_cast<int>(length);
    }
    at += length;
  }
  return std::nullopt;
}

}  // namespace transship::config
