#pragma once

#include <optional>
#include <string>
#include <vector>

// The commands of the program. Each returns the exit code: 0 done; 1 done, and something failed or
// differs; 2 the command line or the configuration is wrong, nothing was touched; 3 something
// needed never answered, so nothing could be done.
namespace transship::commands {

enum class Output { text, json };

struct Common {
  std::string config_file = "/etc/transship/transship.yaml";
  Output output = Output::text;
};

// Which of the configured images a command is for: all, or those of a rule, a target, or by name at
// the source.
struct Selection {
  std::optional<std::string> rule;
  std::optional<std::string> target;
  std::vector<std::string> images;
};

int run(const Common& common);
int check(const Common& common, bool online);
int copy(const Common& common, const std::string& source, const std::string& target,
         bool referrers);
int plan(const Common& common, const Selection& selection);
struct SyncOptions {
  bool closure = false;        // also check and repair what unchanged tags reach
  bool allow_deletes = false;  // whatever the breaker says
};
int sync(const Common& common, const Selection& selection, SyncOptions options);
int verify(const Common& common, const Selection& selection, bool deep);
int status(const Common& common, const std::optional<std::string>& url);

int why(const Common& common, const std::string& image, const std::string& target,
        const std::optional<std::string>& url);

// `transship dead …`: what is asked of a running daemon about its dead letters.
struct DeadRequest {
  std::string action;  // list, retry or drop
  std::optional<std::string> target;
  std::vector<std::string> ids;
  bool all = false;
  std::optional<std::string> url;
};
int dead(const Common& common, const DeadRequest& request);

}  // namespace transship::commands
