#include "config/glob.h"

#include <fmt/format.h>

#include <bitset>

#include "config/quote.h"

namespace transship::config {

namespace {

// Null where the text is fine.
const char* fault_of(std::string_view text) {
  if (text.empty()) return "is empty";
  if (text.size() > Glob::max_length) return "is longer than 255 characters";
  if (text.find("***") != std::string_view::npos) return "has more than two '*' in a row";
  if (text.find('!') != std::string_view::npos)
    return "has a '!' that is not its one first character";
  if (text.find_first_of("[]{}\\") != std::string_view::npos) {
    return "has a special character; only *, ? and ** are known";
  }
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f') return "has a blank in it";
  }
  return nullptr;
}

}  // namespace

Glob::Glob(std::string text)
    : text_(std::move(text)), has_wildcard_(text_.find_first_of("*?") != std::string::npos) {}

tl::expected<Glob, std::string> Glob::parse(std::string_view text) {
  if (const char* fault = fault_of(text)) {
    return tl::unexpected(fmt::format("the pattern {} {}", quote(text), fault));
  }
  return Glob(std::string(text));
}

// Follows every way to match at once: `reached` holds the places of the pattern that the characters
// read so far can have led to. The second star of a `**` is a place of its own that nothing needs
// to pass.
bool Glob::matches(std::string_view name) const {
  if (!has_wildcard_) return name == text_;

  using Places = std::bitset<max_length + 1>;
  const std::size_t end = text_.size();
  const auto star_width = [&](std::size_t at) { return text_.compare(at, 2, "**") == 0 ? 2U : 1U; };
  // A star may stand for nothing: from its place the one behind it is reached too.
  const auto pass_stars = [&](Places& places) {
    for (std::size_t at = 0; at < end; at += text_[at] == '*' ? star_width(at) : 1) {
      if (text_[at] == '*' && places[at]) places.set(at + star_width(at));
    }
  };

  Places reached;
  reached.set(0);
  pass_stars(reached);
  for (const char c : name) {
    Places next;
    for (std::size_t at = 0; at < end; at += text_[at] == '*' ? star_width(at) : 1) {
      if (!reached[at]) continue;
      if (text_[at] == '*') {
        if (c != '/' || star_width(at) == 2) next.set(at);
      } else if (text_[at] == c || (text_[at] == '?' && c != '/')) {
        next.set(at + 1);
      }
    }
    if (next.none()) return false;
    pass_stars(next);
    reached = next;
  }
  return reached[end];
}

}  // namespace transship::config
