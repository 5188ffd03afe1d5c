#include "daemon/commands/load.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>

#include "config/reader.h"

namespace transship::commands {

std::optional<config::Config> load_config(const std::string& file) {
  auto config = config::read_file(file);
  if (config) return std::move(*config);
  for (const config::Mistake& mistake : config.error())
    fmt::print(stderr, "{}\n", to_string(mistake));
  return std::nullopt;
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units.at(unit));
}

}  // namespace transship::commands
