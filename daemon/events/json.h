#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace transship::events {

// A value inside a JSON text. No tree is built: a hostile body of 16 MiB can hold millions of
// values, and an event is carried on as the very bytes that it came in. The text must outlive its
// values.
class Json {
 public:
  enum class Type { missing, null, boolean, number, string, array, object };

  // A value that is not there; looking for members in it finds such ones.
  Json() = default;

  // RFC 8259 in UTF-8, one value and nothing behind it, nested at most `depth_max` deep. A byte
  // order mark in front is skipped. Uses no recursion. On failure nothing, and why not in
  // `*problem`.
  static std::optional<Json> parse(std::string_view text, std::size_t depth_max,
                                   std::string* problem);

  [[nodiscard]] Type type() const;
  [[nodiscard]] bool is_missing() const { return source_.empty(); }
  [[nodiscard]] bool is_object() const { return type() == Type::object; }
  [[nodiscard]] bool is_array() const { return type() == Type::array; }

  // The member of that name, of several the last.
  [[nodiscard]] Json operator[](std::string_view key) const;
  // A string's text; nothing for other types, and for an escape that stands for no character (half
  // a surrogate pair).
  [[nodiscard]] std::optional<std::string> text() const;
  // A number that counts something: digits alone, below 2^64.
  [[nodiscard]] std::optional<std::uint64_t> count() const;
  // The bytes that the value is written in.
  [[nodiscard]] std::string_view source() const { return source_; }

  // visit(Json) for each element in order.
  template <class Visit>
  void for_each_element(Visit visit) const {
    for (Walk walk(source_, '['); walk.next();) visit(Json(walk.value));
  }
  // visit(Json key, Json value) for each member in order.
  template <class Visit>
  void for_each_member(Visit visit) const {
    for (Walk walk(source_, '{'); walk.next();) visit(Json(walk.key), Json(walk.value));
  }
  [[nodiscard]] std::size_t element_count() const;

 private:
  // Goes over the elements or members of a text that is known to be well formed.
  struct Walk {
    Walk(std::string_view source, char opening);
    bool next();
    std::string_view rest;
    std::string_view key;
    std::string_view value;
    bool members = false;
  };
  explicit Json(std::string_view source) : source_(source) {}

  std::string_view source_;
};

}  // namespace transship::events
