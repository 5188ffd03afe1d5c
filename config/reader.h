#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.h"
#include "config/environment.h"
#include "config/mistake.h"

namespace transship::config {

// The configuration, or everything that is wrong with it, in the file's order; never an empty list.
using ReadResult = tl::expected<Config, std::vector<Mistake>>;

inline constexpr std::size_t max_file_bytes = std::size_t{1} << 20;

// Never throws for what the file holds, a hostile one included. Files that the configuration names
// (passwords, tokens, certificates) are not opened.
ReadResult read_file(const std::filesystem::path& path,
                     const Environment& environment = process_environment);

// `name` stands for the file in the mistakes.
ReadResult read_text(std::string_view text, const std::string& name,
                     const Environment& environment = process_environment);

}  // namespace transship::config
