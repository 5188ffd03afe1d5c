#include "replicator/oci/reference.h"

#include <fmt/format.h>

#include <algorithm>

namespace transship::oci {

namespace {

constexpr std::size_t repository_bytes_max = 256;
constexpr std::size_t tag_bytes_max = 128;

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_word(char c) { return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_'; }

std::string quoted(std::string_view text) {
  std::string shown(text.substr(0, 300));
  std::replace_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return '"' + shown + '"';
}

// One path component: [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
bool is_component(std::string_view text) {
  std::size_t at = 0;
  const auto letters = [&] {
    const std::size_t from = at;
    while (at < text.size() && is_lower_or_digit(text[at])) ++at;
    return at > from;
  };
  const auto separator = [&] {
    if (text.substr(at).starts_with("__")) {
      at += 2;
    } else if (text[at] == '.' || text[at] == '_') {
      ++at;
    } else if (text[at] == '-') {
      while (at < text.size() && text[at] == '-') ++at;
    } else {
      return false;
    }
    return true;
  };
  if (!letters()) return false;
  while (at < text.size()) {
    if (!separator() || !letters()) return false;
  }
  return true;
}

bool is_host(std::string_view text) {
  return !text.empty() && text.size() <= 255 && std::all_of(text.begin(), text.end(), [](char c) {
    return is_word(c) || c == '.' || c == '-' || c == ':' || c == '[' || c == ']';
  });
}

// The reference behind a repository: "@digest", or ":tag" behind the last slash.
std::size_t reference_position(std::string_view text) {
  if (const std::size_t at = text.find('@'); at != std::string_view::npos) return at;
  const std::size_t slash = text.rfind('/');
  const std::size_t colon = text.find(':', slash == std::string_view::npos ? 0 : slash);
  return colon == std::string_view::npos ? text.size() : colon;
}

}  // namespace

Result<Repository> Repository::parse(std::string_view text) {
  const auto invalid = [&] {
    return fail(ErrorKind::invalid,
                quoted(text) +
                    " is not a repository name (lower-case letters, digits, and "
                    "'.', '_', '-' or '/' between them)");
  };
  if (text.empty() || text.size() > repository_bytes_max) return invalid();
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t slash = std::min(text.find('/', from), text.size());
    if (!is_component(text.substr(from, slash - from))) return invalid();
    from = slash + 1;
  }
  return Repository(std::string(text));
}

Result<Tag> Tag::parse(std::string_view text) {
  const bool well_formed = !text.empty() && text.size() <= tag_bytes_max && is_word(text.front()) &&
                           std::all_of(text.begin(), text.end(),
                                       [](char c) { return is_word(c) || c == '.' || c == '-'; });
  if (!well_formed) return fail(ErrorKind::invalid, quoted(text) + " is not a tag");
  return Tag(std::string(text));
}

Result<Reference> Reference::parse(std::string_view text) {
  if (text.find(':') != std::string_view::npos) {
    return Digest::parse(text).map([](Digest digest) { return Reference(std::move(digest)); });
  }
  return Tag::parse(text).map([](Tag tag) { return Reference(std::move(tag)); });
}

Result<ImageName> ImageName::parse(std::string_view text) {
  const std::size_t split = reference_position(text);
  if (split == text.size()) {
    return fail(ErrorKind::invalid,
                quoted(text) + " names no image: write repository:tag or repository@digest");
  }
  auto repository = Repository::parse(text.substr(0, split));
  if (!repository) return fail(repository.error());
  const std::string_view behind = text.substr(split + 1);
  auto reference = text[split] == '@'
                       ? Digest::parse(behind).map([](Digest d) { return Reference(std::move(d)); })
                       : Tag::parse(behind).map([](Tag t) { return Reference(std::move(t)); });
  if (!reference) return fail(reference.error());
  return ImageName{std::move(*repository), std::move(*reference)};
}

Result<FullReference> FullReference::parse(std::string_view text) {
  std::string_view rest = text;
  const bool plain_http = rest.starts_with("http://");
  if (plain_http) {
    rest.remove_prefix(7);
  } else if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
  }
  const std::size_t slash = rest.find('/');
  if (slash == std::string_view::npos || !is_host(rest.substr(0, slash))) {
    return fail(ErrorKind::invalid,
                quoted(text) +
                    " is not an image: write [https://|http://]host[:port]/repository"
                    "[:tag|@digest]");
  }
  const std::string_view path = rest.substr(slash + 1);
  const std::size_t split = reference_position(path);
  auto repository = Repository::parse(path.substr(0, split));
  if (!repository) return fail(repository.error());
  FullReference full{plain_http, std::string(rest.substr(0, slash)), std::move(*repository), {}};
  if (split < path.size()) {
    auto name = ImageName::parse(path);
    if (!name) return fail(name.error());
    full.reference = std::move(name->reference);
  }
  return full;
}

}  // namespace transship::oci
