#pragma once
// YAML as a tree in which every value knows its place. yaml-cpp scans and parses; its own tree is
// not used because it hides duplicate keys, loses the place of what is missing and sets no bounds.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "config/mistake.h"

namespace transship::config {

struct Node;
using NodePtr = std::shared_ptr<const Node>;  // shared where an alias names the same value again

struct Node {
  enum class Kind { null, scalar, list, map };
  struct Entry;

  Kind kind = Kind::null;
  Position position;
  std::string scalar;
  std::vector<NodePtr> list;
  std::vector<Entry> map;  // as written, duplicates too
};

struct Node::Entry {
  std::string key;
  Position position;  // of the key
  NodePtr value;      // never null
};

struct Fault {
  Position position;
  std::string message;
};

inline constexpr std::size_t max_nesting = 64;
inline constexpr std::size_t max_nodes = 100'000;

// The one document in the text. An empty text is a null. The fault is the first: syntax, a
// character that YAML does not allow, a second document, a tag, a key that is no scalar, nesting or
// nodes over the limit.
tl::expected<NodePtr, Fault> parse_document(std::string_view text);

}  // namespace transship::config
