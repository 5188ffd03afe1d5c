#pragma once

#include <span>
#include <string>
#include <string_view>

namespace transship::config {

// A piece of the file, fit for a message: in quotes, control characters replaced, cut where it is
// long.
std::string quote(std::string_view text);

// `; did you mean "…"?` where one of the words is close to the text, else nothing.
std::string suggestion(std::string_view text, std::span<const std::string_view> words);

// "a, b or c"
std::string one_of(std::span<const std::string_view> words);

}  // namespace transship::config
