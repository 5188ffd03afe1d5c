#pragma once
// The lists of patterns with which a rule chooses its repositories and tags. The last item that
// matches decides; a list that starts with an exclusion ("!…") starts from everything, any other
// from nothing.

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <variant>
#include <vector>

#include "config/glob.h"
#include "config/semver.h"

namespace re2 {
class RE2;
}

namespace transship::config {

// Nothing, or what is wrong with an item, quoting it.
using Added = tl::expected<void, std::string>;

struct RepositoryPattern {
  bool exclude = false;
  Glob glob;
  bool operator==(const RepositoryPattern&) const = default;
};

class RepositoryPatterns {
 public:
  // All items at once; the error is the first item's.
  static tl::expected<RepositoryPatterns, std::string> parse(const std::vector<std::string>& items);

  // A glob, with or without one leading `!`. What has no wildcard must be a valid repository name.
  Added add(std::string_view item);

  // An empty list matches nothing.
  bool matches(std::string_view repository) const;

  // The repositories, each named in full, where the list can match no other: such a rule needs no
  // catalogue of the source. None where a wildcard chooses. In the list's order, each once.
  std::optional<std::vector<std::string>> literal() const;

  bool empty() const { return items_.empty(); }
  const std::vector<RepositoryPattern>& items() const { return items_; }
  bool operator==(const RepositoryPatterns&) const = default;

 private:
  std::vector<RepositoryPattern> items_;
};

// A regular expression (RE2) that must match a whole tag.
class TagRegex {
 public:
  static constexpr std::size_t max_length = 1024;
  static constexpr int max_memory_bytes = 1 << 18;

  static tl::expected<TagRegex, std::string> parse(std::string_view text);
  bool matches(std::string_view tag) const;
  const std::string& text() const;
  bool operator==(const TagRegex& other) const { return text() == other.text(); }

 private:
  std::shared_ptr<const re2::RE2> regex_;  // never null; shared because it never changes
};

struct TagPattern {
  bool exclude = false;
  std::variant<Glob, VersionRange, TagRegex> test;

  bool matches(std::string_view tag) const;
  bool operator==(const TagPattern&) const = default;
};

class TagPatterns {
 public:
  static tl::expected<TagPatterns, std::string> parse(const std::vector<std::string>& globs);

  Added add_glob(std::string_view item);  // with or without one leading `!`
  Added add_semver(std::string_view range);
  Added add_regex(std::string_view regex);

  // An empty list matches every tag.
  bool matches(std::string_view tag) const;

  // True where it is plain to see that no tag is left out: no list, or `*` with no exclusion after
  // it.
  bool matches_everything() const;

  const std::vector<TagPattern>& items() const { return items_; }
  bool operator==(const TagPatterns&) const = default;

 private:
  std::vector<TagPattern> items_;
};

// The grammar of a repository name in the OCI distribution specification, at most 255 characters.
bool is_repository_name(std::string_view name);

}  // namespace transship::config
