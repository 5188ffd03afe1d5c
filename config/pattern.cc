#include "config/pattern.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <utility>

#include "config/quote.h"

namespace transship::config {

namespace {

struct SignedGlob {
  bool exclude = false;
  Glob glob;
};

tl::expected<SignedGlob, std::string> parse_signed_glob(std::string_view item) {
  const bool exclude = item.starts_with('!');
  auto glob = Glob::parse(exclude ? item.substr(1) : item);
  if (glob) return SignedGlob{exclude, *std::move(glob)};
  if (exclude && item.substr(1).starts_with('!')) {
    return tl::unexpected(fmt::format("the pattern {} has more than one leading '!'", quote(item)));
  }
  return tl::unexpected(std::move(glob).error());
}

re2::StringPiece piece(std::string_view text) { return {text.data(), text.size()}; }

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
bool is_path_component(std::string_view text) {
  if (text.empty() || !is_alphanumeric(text.front()) || !is_alphanumeric(text.back())) return false;
  for (std::size_t at = 0; at < text.size();) {
    if (is_alphanumeric(text[at])) {
      ++at;
      continue;
    }
    const std::size_t end = std::min(text.find_first_not_of("._-", at), text.size());
    const std::string_view separator = text.substr(at, end - at);
    const bool dashes = separator.find_first_not_of('-') == std::string_view::npos;
    if (separator != "." && separator != "_" && separator != "__" && !dashes) return false;
    if (separator.empty()) return false;
    at = end;
  }
  return true;
}

}  // namespace

bool is_repository_name(std::string_view name) {
  if (name.size() > 255) return false;
  while (true) {
    const std::size_t slash = name.find('/');
    if (!is_path_component(name.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

tl::expected<RepositoryPatterns, std::string> RepositoryPatterns::parse(
    const std::vector<std::string>& items) {
  RepositoryPatterns patterns;
  for (const std::string& item : items) {
    if (Added added = patterns.add(item); !added) return tl::unexpected(added.error());
  }
  return patterns;
}

Added RepositoryPatterns::add(std::string_view item) {
  auto parsed = parse_signed_glob(item);
  if (!parsed) return tl::unexpected(parsed.error());
  if (!parsed->glob.has_wildcard() && !is_repository_name(parsed->glob.text())) {
    return tl::unexpected(fmt::format(
        "{} is not a repository name; write lower-case letters, digits, '.', '_', '-' and '/', "
        "such as team/app",
        quote(parsed->glob.text())));
  }
  items_.push_back({parsed->exclude, std::move(parsed->glob)});
  return {};
}

bool RepositoryPatterns::matches(std::string_view repository) const {
  for (auto item = items_.rbegin(); item != items_.rend(); ++item) {
    if (item->glob.matches(repository)) return !item->exclude;
  }
  return !items_.empty() && items_.front().exclude;
}

std::optional<std::vector<std::string>> RepositoryPatterns::literal() const {
  if (items_.empty() || items_.front().exclude) return std::nullopt;
  std::vector<std::string> names;
  for (const RepositoryPattern& item : items_) {
    if (item.exclude) continue;
    if (item.glob.has_wildcard()) return std::nullopt;
    const std::string& name = item.glob.text();
    if (matches(name) && std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

tl::expected<TagRegex, std::string> TagRegex::parse(std::string_view text) {
  if (text.empty())
    return tl::unexpected(std::string("the regex is empty; write .* for every tag"));
  if (text.size() > max_length) {
    return tl::unexpected(fmt::format("the regex is longer than {} characters", max_length));
  }
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(max_memory_bytes);
  TagRegex regex;
  regex.regex_ = std::make_shared<const re2::RE2>(piece(text), options);
  if (!regex.regex_->ok()) {
    return tl::unexpected(
        fmt::format("{} is not a regular expression: {}", quote(text), regex.regex_->error()));
  }
  return regex;
}

bool TagRegex::matches(std::string_view tag) const {
  return re2::RE2::FullMatch(piece(tag), *regex_);
}

const std::string& TagRegex::text() const { return regex_->pattern(); }

bool TagPattern::matches(std::string_view tag) const {
  struct Visitor {
    std::string_view tag;
    bool operator()(const Glob& glob) const { return glob.matches(tag); }
    bool operator()(const VersionRange& range) const { return range.contains(tag); }
    bool operator()(const TagRegex& regex) const { return regex.matches(tag); }
  };
  return std::visit(Visitor{tag}, test);
}

tl::expected<TagPatterns, std::string> TagPatterns::parse(const std::vector<std::string>& globs) {
  TagPatterns patterns;
  for (const std::string& item : globs) {
    if (Added added = patterns.add_glob(item); !added) return tl::unexpected(added.error());
  }
  return patterns;
}

Added TagPatterns::add_glob(std::string_view item) {
  auto parsed = parse_signed_glob(item);
  if (!parsed) return tl::unexpected(parsed.error());
  items_.push_back({parsed->exclude, std::move(parsed->glob)});
  return {};
}

Added TagPatterns::add_semver(std::string_view range) {
  auto parsed = VersionRange::parse(range);
  if (!parsed) return tl::unexpected(parsed.error());
  items_.push_back({false, *std::move(parsed)});
  return {};
}

Added TagPatterns::add_regex(std::string_view regex) {
  auto parsed = TagRegex::parse(regex);
  if (!parsed) return tl::unexpected(parsed.error());
  items_.push_back({false, *std::move(parsed)});
  return {};
}

bool TagPatterns::matches(std::string_view tag) const {
  for (auto item = items_.rbegin(); item != items_.rend(); ++item) {
    if (item->matches(tag)) return !item->exclude;
  }
  return items_.empty() || items_.front().exclude;
}

bool TagPatterns::matches_everything() const {
  for (auto item = items_.rbegin(); item != items_.rend(); ++item) {
    if (item->exclude) return false;
    const Glob* glob = std::get_if<Glob>(&item->test);
    if (glob != nullptr && (glob->text() == "*" || glob->text() == "**")) return true;
  }
  return items_.empty();
}

}  // namespace transship::config
