#include "daemon/events/json.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "daemon/events/json_scanner.h"

namespace transship::events {
namespace {

constexpr std::string_view spaces = " \t\n\r";

std::string_view without_leading_space(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(spaces), text.size()));
  return text;
}

std::string_view trimmed(std::string_view text) {
  text = without_leading_space(text);
  return text.substr(0, text.find_last_not_of(spaces) + 1);
}

std::size_t string_length(std::string_view text) {
  std::size_t at = 1;
  while (text[at] != '"') at += text[at] == '\\' ? 2 : 1;
  return at + 1;
}

// How many bytes the value at the front of a well-formed text has.
std::size_t value_length(std::string_view text) {
  if (text.front() == '"') return string_length(text);
  if (text.front() != '{' && text.front() != '[') {
    return std::min(text.find_first_of(",]} \t\n\r"), text.size());
  }
  std::size_t depth = 0;
  std::size_t at = 0;
  do {
    const char c = text[at];
    if (c == '"') {
      at += string_length(text.substr(at));
      continue;
    }
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    ++at;
  } while (depth > 0);
  return at;
}

}  // namespace

std::optional<Json> Json::parse(std::string_view text, std::size_t depth_max,
                                std::string* problem) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  JsonScanner scanner(text, depth_max);
  if (const char* wrong = scanner.problem(); wrong != nullptr) {
    *problem = fmt::format("not JSON: {} (byte {} of {})", wrong, scanner.position(), text.size());
    return std::nullopt;
  }
  return Json(trimmed(text));
}

Json::Type Json::type() const {
  if (source_.empty()) return Type::missing;
  switch (source_.front()) {
    case '{':
      return Type::object;
    case '[':
      return Type::array;
    case '"':
      return Type::string;
    case 't':
    case 'f':
      return Type::boolean;
    case 'n':
      return Type::null;
    default:
      return Type::number;
  }
}

Json Json::operator[](std::string_view key) const {
  Json found;
  for_each_member([&](Json name, Json value) {
    const std::string_view written = name.source().substr(1, name.source().size() - 2);
    const bool escaped = written.find('\\') != std::string_view::npos;
    if (escaped ? name.text() == key : written == key) found = value;
  });
  return found;
}

std::optional<std::string> Json::text() const {
  if (type() != Type::string) return std::nullopt;
  const std::string_view written = source_.substr(1, source_.size() - 2);
  if (written.find('\\') == std::string_view::npos) return std::string(written);
  const auto decoded = nlohmann::json::parse(source_, nullptr, false);
  if (!decoded.is_string()) return std::nullopt;
  return decoded.get<std::string>();
}

std::optional<std::uint64_t> Json::count() const {
  std::uint64_t number = 0;
  const char* const end = source_.data() + source_.size();
  const auto read = std::from_chars(source_.data(), end, number);
  if (source_.empty() || read.ec != std::errc() || read.ptr != end) return std::nullopt;
  return number;
}

std::size_t Json::element_count() const {
  std::size_t count = 0;
  for_each_element([&count](Json) { ++count; });
  return count;
}

Json::Walk::Walk(std::string_view source, char opening) : members(opening == '{') {
  if (!source.empty() && source.front() == opening) rest = source.substr(1);
}

bool Json::Walk::next() {
  rest = without_leading_space(rest);
  if (!rest.empty() && rest.front() == ',') rest = without_leading_space(rest.substr(1));
  if (rest.empty() || rest.front() == ']' || rest.front() == '}') return false;
  if (members) {
    key = rest.substr(0, string_length(rest));
    rest = without_leading_space(rest.substr(key.size()));
    rest = without_leading_space(rest.substr(1));  // the colon
  }
  value = rest.substr(0, value_length(rest));
  rest.remove_prefix(value.size());
  return true;
}

}  // namespace transship::events
