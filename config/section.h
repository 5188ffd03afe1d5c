#pragma once
// What the readers of the single maps are made of: a Reading collects every mistake, a Section
// walks one map.

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/document.h"
#include "config/environment.h"
#include "config/keys.h"
#include "config/mistake.h"
#include "config/values.h"

namespace transship::config {

// The items of one list: targets, patterns, rules.
inline constexpr std::size_t max_list_items = 1000;
// In the whole file: each may take TagRegex::max_memory_bytes.
inline constexpr int max_regexes = 256;

class Reading {
 public:
  Reading(std::string file, const Environment& environment)
      : file_(std::move(file)), environment_(environment) {}

  void report(const Position& position, std::string message);

  // The scalar's text with the variables filled in. Where it is none, or holds a line break or
  // control character, that is a mistake, of which `key` is told to be the place.
  std::optional<std::string> text(const Node& node, std::string_view key);

  // Counts a regex; a mistake at the one over the limit.
  bool admit_regex(const Position& position);

  bool clean() const { return mistakes_.empty(); }
  std::vector<Mistake> take_mistakes();  // in the order of their places, each once

 private:
  std::string file_;
  const Environment& environment_;
  std::vector<Mistake> mistakes_;
  int regexes_ = 0;
};

// One map. Making it reports keys that are unknown or written twice; reading a field reports what
// is wrong with its value. A function that reads gives true where the key is there and its value
// sound.
class Section {
 public:
  // `called` names the map in messages: "http", "rule".
  Section(Reading& reading, const Node& node, std::string called, const SectionKeys& keys);

  // The key's value, null where it is left out.
  const Node* find(std::string_view key) const;
  const Position& position() const { return node_.position; }

  template <class T, class Parse>
  bool optional(std::string_view key, T& field, Parse parse) {
    const Node* value = find(key);
    return value != nullptr && read(*value, key, field, parse);
  }

  template <class T, class Parse>
  bool required(std::string_view key, T& field, Parse parse) {
    return require(key) && optional(key, field, parse);
  }

  // Hands every item to `read(const Node&)`; a single value needs no list. An empty list is a
  // mistake.
  template <class Read>
  void each(std::string_view key, Read read) {
    const Node* value = find(key);
    if (value == nullptr || !is_fit_list(*value, key)) return;
    if (value->kind != Node::Kind::list) return read(*value);
    for (const NodePtr& item : value->list) read(*item);
  }

  // Appends every item that is sound and not there yet; one that is, is a mistake.
  template <class T, class Parse>
  void list(std::string_view key, std::vector<T>& field, Parse parse) {
    each(key, [&](const Node& item) {
      T value;
      if (!read(item, key, value, parse)) return;
      if (std::ranges::find(field, value) == field.end()) return field.push_back(std::move(value));
      reading_.report(item.position, fmt::format("{}: {} is there twice", key, quote(value)));
    });
  }

  // A mistake where the key is left out.
  bool require(std::string_view key);

  // A mistake at each key that is there and not among these: `what` is what they do not belong to.
  void only(std::span<const std::string_view> keys, std::string_view what);

  // A mistake at the key's value: "key: message".
  void report(std::string_view key, const Node& at, std::string_view message);

 private:
  template <class T, class Parse>
  bool read(const Node& value, std::string_view key, T& field, Parse parse) {
    const auto text = reading_.text(value, key);
    if (!text) return false;
    auto parsed = parse(std::string_view(*text));
    if (parsed) {
      field = *std::move(parsed);
      return true;
    }
    report(key, value, parsed.error());
    return false;
  }

  bool is_fit_list(const Node& value, std::string_view key);
  void refuse_strangers();

  Reading& reading_;
  const Node& node_;
  std::string called_;
  const SectionKeys& keys_;
};

}  // namespace transship::config
