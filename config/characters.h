#pragma once

#include <optional>
#include <string_view>

#include "config/document.h"

namespace transship::config {

// The first place where the text is not UTF-8 or holds a control character: such bytes can end a
// document early for yaml-cpp, or hide in a terminal.
std::optional<Fault> find_forbidden_character(std::string_view text);

}  // namespace transship::config
