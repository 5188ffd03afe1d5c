#include "config/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

namespace transship::config {

namespace {

using Failure = tl::unexpected<std::string>;

struct Unit {
  std::string_view name;
  std::uint64_t size;
};

constexpr Unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000},
};
constexpr Unit rate_units[] = {
    {"B/s", 1},
    {"KiB/s", std::uint64_t{1} << 10},
    {"MiB/s", std::uint64_t{1} << 20},
    {"GiB/s", std::uint64_t{1} << 30},
    {"TiB/s", std::uint64_t{1} << 40},
};

// Far above every limit, and any sum of a few still fits.
constexpr std::uint64_t max_amount = std::uint64_t{1} << 60;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

template <class Number>
std::optional<Number> parse_whole(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// A whole number and a unit without a blank between them; none where the text is anything else.
// What is above max_amount counts as max_amount.
std::optional<std::uint64_t> parse_amount(std::string_view text, std::span<const Unit> units) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto unit = std::ranges::find(units, text.substr(digits), &Unit::name);
  if (digits == 0 || unit == units.end()) return std::nullopt;
  const auto number = parse_whole<std::uint64_t>(text.substr(0, digits));
  if (!number || *number > max_amount / unit->size) return max_amount;
  return *number * unit->size;
}

// The greatest unit of which the amount is a whole number.
std::string format_amount(std::uint64_t amount, std::span<const Unit> units) {
  const Unit* best = &units.front();
  for (const Unit& unit : units) {
    if (amount != 0 && amount % unit.size == 0) best = &unit;
  }
  return fmt::format("{}{}", amount / best->size, best->name);
}

bool is_whole_number(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return !text.empty() && std::ranges::all_of(text, is_digit);
}

bool is_decimal_number(std::string_view text) {
  const std::size_t dot = text.find('.');
  if (!is_whole_number(text.substr(0, dot))) return false;
  return dot == std::string_view::npos ||
         (dot + 1 < text.size() && std::ranges::all_of(text.substr(dot + 1), is_digit));
}

}  // namespace

Parsed<int> IntegerIn::operator()(std::string_view text) const {
  if (!is_whole_number(text)) {
    return Failure(
        fmt::format("{} is not a whole number, such as {}", quote(text), std::clamp(8, low, high)));
  }
  const auto number = parse_whole<int>(text);
  if (number && *number >= low && *number <= high) return *number;
  return Failure(fmt::format("{} is out of range; allowed are {} to {}", quote(text), low, high));
}

Parsed<double> NumberIn::operator()(std::string_view text) const {
  if (!is_decimal_number(text)) {
    return Failure(fmt::format("{} is not a number, such as {} or 0.5", quote(text),
                               std::clamp(200.0, low, high)));
  }
  const auto number = parse_whole<double>(text);
  if (number && *number >= low && *number <= high) return *number;
  return Failure(fmt::format("{} is out of range; allowed are {} to {}", quote(text), low, high));
}

Parsed<Milliseconds> DurationIn::operator()(std::string_view text) const {
  const auto amount = parse_amount(text, duration_units);
  if (!amount) {
    return Failure(fmt::format(
        "{} is not a duration; write a number and a unit (ms, s, m, h, d), such as 30s or 5m",
        quote(text)));
  }
  const Milliseconds duration(static_cast<Milliseconds::rep>(*amount));
  if (duration >= low && duration <= high) return duration;
  return Failure(fmt::format("{} is out of range; allowed are {} to {}", quote(text),
                             format_duration(low), format_duration(high)));
}

Parsed<std::uint64_t> RateFrom::operator()(std::string_view text) const {
  const auto amount = parse_amount(text, rate_units);
  if (!amount) {
    return Failure(fmt::format(
        "{} is not a rate; write a number and a unit (B/s, KiB/s, MiB/s, GiB/s, TiB/s), "
        "such as 50MiB/s",
        quote(text)));
  }
  if (*amount >= low && *amount < max_amount) return *amount;
  return Failure(fmt::format("{} is out of range; allowed are {} and more, below {}", quote(text),
                             format_amount(low, rate_units),
                             format_amount(max_amount, rate_units)));
}

Parsed<bool> parse_boolean(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return Failure(quote(text) + " is neither true nor false");
}

Parsed<std::string> parse_text(std::string_view text) {
  if (text.empty()) return Failure("is empty");
  return std::string(text);
}

Parsed<Path> parse_path(std::string_view text) {
  if (text.empty()) return Failure("is empty; write the path of a file");
  return Path(text);
}

Parsed<std::string> parse_name(std::string_view text) {
  constexpr std::size_t max_name_length = 63;
  const auto is_alphanumeric = [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  const auto is_allowed = [&](char c) { return is_alphanumeric(c) || c == '_' || c == '-'; };
  if (!text.empty() && text.size() <= max_name_length && is_alphanumeric(text.front()) &&
      std::ranges::all_of(text, is_allowed)) {
    return std::string(text);
  }
  return Failure(fmt::format(
      "{} is not a name; write 1 to {} letters, digits, '_' and '-', a letter or digit first",
      quote(text), max_name_length));
}

std::string format_duration(Milliseconds duration) {
  if (duration.count() == 0) return "0s";
  return format_amount(static_cast<std::uint64_t>(duration.count()), duration_units);
}

Parsed<std::string> WordOf::operator()(std::string_view text) const {
  if (std::ranges::find(words, text) != words.end()) return std::string(text);
  return Failure(quote(text) + " is not " + one_of(words) + suggestion(text, words));
}

}  // namespace transship::config
