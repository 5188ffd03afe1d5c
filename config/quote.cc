#include "config/quote.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace transship::config {

namespace {

constexpr std::size_t max_quoted_length = 80;
constexpr std::size_t max_word_length = 64;

// How many letters must be put in, taken out or changed to make one word of the other
// (Levenshtein).
std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  for (std::size_t column = 0; column < row.size(); ++column) row[column] = column;
  for (std::size_t line = 1; line <= from.size(); ++line) {
    std::size_t diagonal = std::exchange(row[0], line);
    for (std::size_t column = 1; column < row.size(); ++column) {
      const std::size_t changed = diagonal + (from[line - 1] == to[column - 1] ? 0 : 1);
      diagonal =
          std::exchange(row[column], std::min({row[column] + 1, row[column - 1] + 1, changed}));
    }
  }
  return row.back();
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

std::string quote(std::string_view text) {
  const bool cut = text.size() > max_quoted_length;
  std::size_t length = std::min(text.size(), max_quoted_length);
  while (cut && length > 0 && is_continuation(text[length])) --length;
  std::string result = "\"";
  for (const char c : text.substr(0, length)) {
    const bool control = (c >= 0 && c < ' ') || c == '\x7f';
    result += control ? '?' : c;
  }
  return result + (cut ? "…\"" : "\"");
}

std::string suggestion(std::string_view text, std::span<const std::string_view> words) {
  if (text.size() > max_word_length) return {};
  std::string_view best;
  std::size_t least = std::max<std::size_t>(1, text.size() / 3) + 1;
  for (const std::string_view word : words) {
    if (word.size() > max_word_length) continue;
    const std::size_t distance = edit_distance(text, word);
    if (distance >= least) continue;
    least = distance;
    best = word;
  }
  return best.empty() ? std::string() : fmt::format("; did you mean \"{}\"?", best);
}

std::string one_of(std::span<const std::string_view> words) {
  std::string result;
  for (std::size_t at = 0; at < words.size(); ++at) {
    if (at > 0) result += at + 1 == words.size() ? " or " : ", ";
    result += words[at];
  }
  return result;
}

}  // namespace transship::config
