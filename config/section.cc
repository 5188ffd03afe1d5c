#include "config/section.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <map>
#include <tuple>

namespace transship::config {

namespace {

std::string_view kind_name(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null:
      return "nothing";
    case Node::Kind::scalar:
      return "a single value";
    case Node::Kind::list:
      return "a list";
    case Node::Kind::map:
      return "a map";
  }
  return "something else";
}

}  // namespace

void Reading::report(const Position& position, std::string message) {
  mistakes_.push_back({file_, position.line, position.column, std::move(message)});
}

std::optional<std::string> Reading::text(const Node& node, std::string_view key) {
  if (node.kind == Node::Kind::null) {
    report(node.position, fmt::format("{}: has no value", key));
    return std::nullopt;
  }
  if (node.kind != Node::Kind::scalar) {
    report(node.position, fmt::format("{}: must be a single value, not {}", key, kind_name(node)));
    return std::nullopt;
  }
  auto expanded = expand(node.scalar, environment_);
  if (!expanded) {
    report(node.position, fmt::format("{}: {}", key, expanded.error()));
    return std::nullopt;
  }
  const bool control =
      std::ranges::any_of(*expanded, [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; });
  if (control) {
    report(node.position, fmt::format("{}: holds a line break or a control character", key));
    return std::nullopt;
  }
  return *std::move(expanded);
}

bool Reading::admit_regex(const Position& position) {
  if (++regexes_ <= max_regexes) return true;
  report(position, fmt::format("regex: more than {} in one file", max_regexes));
  return false;
}

std::vector<Mistake> Reading::take_mistakes() {
  std::ranges::sort(mistakes_, {}, [](const Mistake& mistake) {
    return std::tie(mistake.line, mistake.column, mistake.message);
  });
  const auto repeated = std::ranges::unique(mistakes_);
  mistakes_.erase(repeated.begin(), repeated.end());
  return std::move(mistakes_);
}

Section::Section(Reading& reading, const Node& node, std::string called, const SectionKeys& keys)
    : reading_(reading), node_(node), called_(std::move(called)), keys_(keys) {
  if (node.kind == Node::Kind::map) {
    refuse_strangers();
  } else if (node.kind != Node::Kind::null || !keys.section.empty()) {
    reading.report(node.position,
                   fmt::format("{}: must be a map, not {}", called_, kind_name(node)));
  }
}

const Node* Section::find(std::string_view key) const {
  assert(std::ranges::find(keys_.keys, key) != keys_.keys.end());
  const auto found = std::ranges::find(node_.map, key, &Node::Entry::key);
  return found == node_.map.end() ? nullptr : found->value.get();
}

bool Section::require(std::string_view key) {
  if (find(key) != nullptr) return true;
  const bool empty_file = node_.kind == Node::Kind::null && keys_.section.empty();
  if (node_.kind == Node::Kind::map || empty_file) {
    reading_.report(node_.position, fmt::format("{}: {} is missing", called_, key));
  }
  return false;
}

void Section::only(std::span<const std::string_view> keys, std::string_view what) {
  for (const Node::Entry& entry : node_.map) {
    const bool known = std::ranges::find(keys_.keys, entry.key) != keys_.keys.end();
    if (!known || std::ranges::find(keys, entry.key) != keys.end()) continue;
    reading_.report(entry.position, fmt::format("{}: does not belong to {}", entry.key, what));
  }
}

void Section::report(std::string_view key, const Node& at, std::string_view message) {
  reading_.report(at.position, fmt::format("{}: {}", key, message));
}

bool Section::is_fit_list(const Node& value, std::string_view key) {
  if (value.kind == Node::Kind::null) {
    report(key, value, "has no value");
  } else if (value.kind == Node::Kind::list && value.list.empty()) {
    report(key, value, "is an empty list");
  } else if (value.list.size() > max_list_items) {
    report(key, value, fmt::format("has more than {} items", max_list_items));
  } else {
    return true;
  }
  return false;
}

void Section::refuse_strangers() {
  std::map<std::string_view, int> first_lines;
  for (const Node::Entry& entry : node_.map) {
    if (std::ranges::find(keys_.keys, entry.key) == keys_.keys.end()) {
      reading_.report(entry.position,
                      fmt::format("{}: {} is not a known key{}", called_, quote(entry.key),
                                  suggestion(entry.key, keys_.keys)));
      continue;
    }
    const auto [first, is_new] = first_lines.emplace(entry.key, entry.position.line);
    if (is_new) continue;
    reading_.report(entry.position,
                    fmt::format("{}: is there twice, first on line {}", entry.key, first->second));
  }
}

}  // namespace transship::config
