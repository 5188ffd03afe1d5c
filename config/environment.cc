#include "config/environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "config/quote.h"

namespace transship::config {

namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_variable_name(std::string_view name) {
  return !name.empty() && !is_digit(name.front()) &&
         std::ranges::all_of(name, [](char c) { return is_letter(c) || is_digit(c); });
}

}  // namespace

std::optional<std::string> process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

tl::expected<std::string, std::string> expand(std::string_view text,
                                              const Environment& environment) {
  std::string result;
  while (true) {
    const std::size_t start = text.find("${");
    result += text.substr(0, start);
    if (start == std::string_view::npos) return result;
    text.remove_prefix(start);
    const std::size_t end = text.find('}');
    const std::string name(text.substr(0, end).substr(2));
    if (end == std::string_view::npos || !is_variable_name(name)) {
      return tl::unexpected(fmt::format("{} is not a variable; write ${{NAME}}",
                                        quote(text.substr(0, end).substr(0, 40))));
    }
    const auto value = environment(name);
    if (!value) return tl::unexpected(fmt::format("the variable ${{{}}} is not set", name));
    result += *value;
    if (result.size() > max_value_bytes) {
      return tl::unexpected(
          fmt::format("with ${{{}}} filled in, it is longer than {} bytes", name, max_value_bytes));
    }
    text.remove_prefix(end + 1);
  }
}

}  // namespace transship::config
