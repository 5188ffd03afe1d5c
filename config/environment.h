#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace transship::config {

// Looks up an environment variable for `${NAME}`; none where it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// The environment of this process.
std::optional<std::string> process_environment(const std::string& name);

inline constexpr std::size_t max_value_bytes = std::size_t{1} << 16;

// Puts variables in the place of every `${NAME}`, once: what a variable holds is not looked at
// again. The error names the variable that is not set, or the `${` that begins no variable, or says
// that the result is too long.
tl::expected<std::string, std::string> expand(std::string_view text,
                                              const Environment& environment);

}  // namespace transship::config
