#pragma once

#include <optional>
#include <string>

#include "config/config.h"

namespace transship::commands {

// The configuration, or nothing once every mistake in it was printed to standard error.
std::optional<config::Config> load_config(const std::string& file);

// "1.5 MiB", for people.
std::string bytes_text(std::uint64_t bytes);

}  // namespace transship::commands
