#pragma once

#include <optional>
#include <string>

// The commands of the program. Each returns the exit code: 0 done; 1 done, and something failed or
// differs; 2 the command line or the configuration is wrong, nothing was touched; 3 something
// needed never answered, so nothing could be done.
namespace transship::commands {

enum class Output { text, json };

struct Common {
  std::string config_file = "/etc/transship/transship.yaml";
  Output output = Output::text;
};

int run(const Common& common);
int check(const Common& common, bool online);
int copy(const Common& common, const std::string& source, const std::string& target,
         bool referrers);
int status(const Common& common, const std::optional<std::string>& url);

}  // namespace transship::commands
