#pragma once
// The types of single values: each takes a scalar's text and gives the value, or the rest of a
// sentence that the key begins.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.h"
#include "config/enum_names.h"
#include "config/quote.h"

namespace transship::config {

template <class T>
using Parsed = tl::expected<T, std::string>;

// A whole number in [low, high].
struct IntegerIn {
  int low;
  int high;
  Parsed<int> operator()(std::string_view text) const;
};

// A decimal number in [low, high], without an exponent.
struct NumberIn {
  double low;
  double high;
  Parsed<double> operator()(std::string_view text) const;
};

// A whole number and ms, s, m, h or d, in [low, high].
struct DurationIn {
  Milliseconds low;
  Milliseconds high;
  Parsed<Milliseconds> operator()(std::string_view text) const;
};

// A whole number and B/s, KiB/s, MiB/s, GiB/s or TiB/s, at least `low` bytes a second.
struct RateFrom {
  std::uint64_t low;
  Parsed<std::uint64_t> operator()(std::string_view text) const;
};

Parsed<bool> parse_boolean(std::string_view text);      // true or false and nothing else
Parsed<std::string> parse_text(std::string_view text);  // anything that is not empty
Parsed<Path> parse_path(std::string_view text);
Parsed<std::string> parse_name(std::string_view text);  // [A-Za-z0-9][A-Za-z0-9_-]{0,62}

// As a person would write it: 250ms, 30s, 15m, 6h, 7d.
std::string format_duration(Milliseconds duration);

// One of the enumeration's words.
template <class Enum>
Parsed<Enum> parse_enum(std::string_view text) {
  std::vector<std::string_view> words;
  for (const auto& [value, word] : enum_names<Enum>) {
    if (word == text) return value;
    words.push_back(word);
  }
  return tl::unexpected(quote(text) + " is not " + one_of(words) + suggestion(text, words));
}

// One of the words, as it stands.
struct WordOf {
  std::span<const std::string_view> words;
  Parsed<std::string> operator()(std::string_view text) const;
};

}  // namespace transship::config
