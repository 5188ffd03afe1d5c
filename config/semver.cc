#include "config/semver.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "config/quote.h"

namespace transship::config {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_numeric(std::string_view text) { return std::ranges::all_of(text, is_digit); }

bool is_identifier(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return is_digit(c) || c == '-' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  });
}

// Takes a number without leading zeros off the front of the text.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number > max_version_number) return std::nullopt;
  const auto length = static_cast<std::size_t>(end - text.data());
  if (length > 1 && text.front() == '0') return std::nullopt;
  text.remove_prefix(length);
  return number;
}

bool take(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

// Dotted identifiers up to a '+' or the end.
std::optional<std::vector<std::string>> take_identifiers(std::string_view& text,
                                                         bool leading_zeros) {
  std::vector<std::string> identifiers;
  do {
    const std::string_view one = text.substr(0, text.find_first_of(".+"));
    if (!is_identifier(one)) return std::nullopt;
    if (!leading_zeros && one.size() > 1 && one.front() == '0' && is_numeric(one)) {
      return std::nullopt;
    }
    identifiers.emplace_back(one);
    text.remove_prefix(one.size());
  } while (take(text, '.'));
  return identifiers;
}

// Takes `-pre.release` and `+build`, which must be all that is left.
std::optional<std::vector<std::string>> take_suffixes(std::string_view text) {
  std::vector<std::string> prerelease;
  if (take(text, '-')) {
    auto identifiers = take_identifiers(text, false);
    if (!identifiers) return std::nullopt;
    prerelease = *std::move(identifiers);
  }
  if (take(text, '+') && !take_identifiers(text, true)) return std::nullopt;
  if (!text.empty()) return std::nullopt;
  return prerelease;
}

// Numbers have no leading zeros, so that the longer one is the greater, however long they are.
std::strong_ordering compare_identifiers(const std::string& left, const std::string& right) {
  const bool left_numeric = is_numeric(left);
  if (left_numeric != is_numeric(right)) {
    return left_numeric ? std::strong_ordering::less : std::strong_ordering::greater;
  }
  if (left_numeric && left.size() != right.size()) return left.size() <=> right.size();
  return left <=> right;
}

}  // namespace

std::optional<Version> Version::parse(std::string_view text) {
  take(text, 'v');
  Version version;
  std::uint64_t* const numbers[] = {&version.major, &version.minor, &version.patch};
  for (std::uint64_t* number : numbers) {
    if (number != &version.major && !take(text, '.')) return std::nullopt;
    const auto taken = take_number(text);
    if (!taken) return std::nullopt;
    *number = *taken;
  }
  auto prerelease = take_suffixes(text);
  if (!prerelease) return std::nullopt;
  version.prerelease = *std::move(prerelease);
  return version;
}

std::strong_ordering Version::operator<=>(const Version& other) const {
  if (const auto order = major <=> other.major; order != 0) return order;
  if (const auto order = minor <=> other.minor; order != 0) return order;
  if (const auto order = patch <=> other.patch; order != 0) return order;
  if (prerelease.empty() != other.prerelease.empty()) {
    return prerelease.empty() ? std::strong_ordering::greater : std::strong_ordering::less;
  }
  return std::lexicographical_compare_three_way(prerelease.begin(), prerelease.end(),
                                                other.prerelease.begin(), other.prerelease.end(),
                                                compare_identifiers);
}

namespace {

using Operator = VersionRange::Operator;
using Alternative = VersionRange::Alternative;
using Failure = tl::unexpected<std::string>;

// A version of which the last numbers may be missing or x: 1, 1.2, 1.x, *.
struct Partial {
  int given = 0;  // how many of the three numbers
  Version version;
};

bool take_wildcard(std::string_view& text) {
  return take(text, 'x') || take(text, 'X') || take(text, '*');
}

std::optional<Partial> parse_partial(std::string_view text) {
  take(text, 'v');
  Partial partial;
  std::uint64_t* const numbers[] = {&partial.version.major, &partial.version.minor,
                                    &partial.version.patch};
  bool open = false;  // a wildcard was read: no number may follow
  for (int index = 0; index < 3; ++index) {
    if (index > 0 && !take(text, '.')) break;
    if (take_wildcard(text)) {
      open = true;
      continue;
    }
    const auto number = open ? std::nullopt : take_number(text);
    if (!number) return std::nullopt;
    *numbers[index] = *number;
    ++partial.given;
  }
  if (partial.given < 3) return text.empty() ? std::optional(partial) : std::nullopt;
  auto prerelease = take_suffixes(text);
  if (!prerelease) return std::nullopt;
  partial.version.prerelease = *std::move(prerelease);
  return partial;
}

// The least version of all, its pre-releases too, with the number at `index` one higher: 1.2 and 0
// make 2.0.0-0.
Version next(const Version& version, int index) {
  Version result{
      version.major, index > 0 ? version.minor : 0, index > 1 ? version.patch : 0, {"0"}};
  ++(index == 0 ? result.major : index == 1 ? result.minor : result.patch);
  return result;
}

// Everything that the given numbers leave open: [1.2.0, 1.3.0-0) for 1.2.
void add_span(Alternative& to, const Partial& partial, int last_fixed) {
  to.push_back({Operator::greater_or_equal, partial.version});
  to.push_back({Operator::less, next(partial.version, last_fixed)});
}

void add_tilde(Alternative& to, const Partial& partial) {
  if (partial.given > 0) add_span(to, partial, std::min(partial.given - 1, 1));
}

// Up to the next change of the first number that is not zero.
void add_caret(Alternative& to, const Partial& partial) {
  if (partial.given == 0) return;
  const Version& version = partial.version;
  int fixed = version.major != 0 ? 0 : version.minor != 0 ? 1 : 2;
  add_span(to, partial, std::min(fixed, partial.given - 1));
}

void add_equal(Alternative& to, const Partial& partial) {
  if (partial.given == 3) {
    to.push_back({Operator::equal, partial.version});
  } else if (partial.given > 0) {
    add_span(to, partial, partial.given - 1);
  }
}

// False where nothing can hold: less or greater than any version.
bool add_bound(Alternative& to, std::string_view op, const Partial& partial) {
  const bool upper = op.front() == '<';
  const bool with_equal = op.size() == 2;
  if (partial.given == 0) return with_equal;
  if (partial.given == 3) {
    to.push_back({upper ? (with_equal ? Operator::less_or_equal : Operator::less)
                        : (with_equal ? Operator::greater_or_equal : Operator::greater),
                  partial.version});
    return true;
  }
  // `<=1.2` and `>1.2` mean the end of everything that is called 1.2, `<1.2` and `>=1.2` its
  // beginning.
  const bool at_end = upper == with_equal;
  Version edge = at_end ? next(partial.version, partial.given - 1) : partial.version;
  edge.prerelease.clear();
  if (upper) edge.prerelease = {"0"};
  to.push_back({upper ? Operator::less : Operator::greater_or_equal, std::move(edge)});
  return true;
}

std::string_view take_operator(std::string_view& text) {
  for (const std::string_view op : {">=", "<=", ">", "<", "=", "^", "~"}) {
    if (!text.starts_with(op)) continue;
    text.remove_prefix(op.size());
    return op;
  }
  return "=";
}

Failure not_a_range(std::string_view part) {
  return Failure(fmt::format(
      "{} is not a semver range; write comparators such as \">=1.4 <3\", \"^1.2\", \"~1.2\", "
      "\"1.x\" or \"1.2 - 2.3\", joined by ||",
      quote(part)));
}

tl::expected<void, std::string> add_comparator(Alternative& to, std::string_view op,
                                               std::string_view operand) {
  const auto partial = parse_partial(operand);
  if (!partial) return not_a_range(operand.empty() ? op : operand);
  if (op == "^") {
    add_caret(to, *partial);
  } else if (op == "~") {
    add_tilde(to, *partial);
  } else if (op == "=") {
    add_equal(to, *partial);
  } else if (!add_bound(to, op, *partial)) {
    return Failure(fmt::format("\"{}{}\" takes no version at all", op, operand));
  }
  return {};
}

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    if (text.empty()) return words;
    words.push_back(text.substr(0, text.find_first_of(" \t")));
    text.remove_prefix(words.back().size());
  }
}

tl::expected<Alternative, std::string> parse_alternative(std::string_view text) {
  const auto words = split_words(text);
  if (words.empty()) return not_a_range(text);
  Alternative alternative;
  if (words.size() == 3 && words[1] == "-") {
    const auto from = parse_partial(words[0]);
    const auto to = parse_partial(words[2]);
    if (!from || !to) return not_a_range(text);
    add_bound(alternative, ">=", *from);
    add_bound(alternative, "<=", *to);
    return alternative;
  }
  for (std::size_t at = 0; at < words.size(); ++at) {
    std::string_view operand = words[at];
    const std::string_view op = take_operator(operand);
    const bool stands_alone = operand.empty() && at + 1 < words.size();
    if (stands_alone) operand = words[++at];  // ">= 1.2"
    if (auto added = add_comparator(alternative, op, operand); !added) {
      return tl::unexpected(added.error());
    }
  }
  return alternative;
}

bool holds(const VersionRange::Comparator& comparator, const Version& version) {
  const auto order = version <=> comparator.version;
  switch (comparator.op) {
    case Operator::less:
      return order < 0;
    case Operator::less_or_equal:
      return order <= 0;
    case Operator::equal:
      return order == 0;
    case Operator::greater_or_equal:
      return order >= 0;
    case Operator::greater:
      return order > 0;
  }
  return false;
}

bool names_prerelease_of(const VersionRange::Comparator& comparator, const Version& version) {
  const Version& named = comparator.version;
  return !named.prerelease.empty() && named.major == version.major &&
         named.minor == version.minor && named.patch == version.patch;
}

bool contains_version(const Alternative& alternative, const Version& version) {
  const auto holds_for = [&](const auto& comparator) { return holds(comparator, version); };
  const auto names_it = [&](const auto& each) { return names_prerelease_of(each, version); };
  return std::ranges::all_of(alternative, holds_for) &&
         (version.prerelease.empty() || std::ranges::any_of(alternative, names_it));
}

}  // namespace

tl::expected<VersionRange, std::string> VersionRange::parse(std::string_view text) {
  if (text.size() > max_length) {
    return Failure(fmt::format("the semver range is longer than {} characters", max_length));
  }
  VersionRange range;
  range.text_ = text;
  while (true) {
    const std::size_t bar = text.find("||");
    auto alternative = parse_alternative(text.substr(0, bar));
    if (!alternative) return tl::unexpected(std::move(alternative).error());
    range.alternatives_.push_back(*std::move(alternative));
    if (bar == std::string_view::npos) return range;
    text.remove_prefix(bar + 2);
  }
}

bool VersionRange::contains(const Version& version) const {
  return std::ranges::any_of(
      alternatives_, [&](const Alternative& each) { return contains_version(each, version); });
}

bool VersionRange::contains(std::string_view tag) const {
  const auto version = Version::parse(tag);
  return version && contains(*version);
}

}  // namespace transship::config
