#include <sys/resource.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include "daemon/commands/commands.h"
#include "daemon/commands/load.h"
#include "daemon/daemon.h"
#include "daemon/log.h"

namespace transship::commands {

namespace {

constexpr rlim_t files_wanted = 65'536;

// Clients, transfers and the bus have a file each: as many as we may, whatever a shell says.
void allow_many_files() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= files_wanted) return;
  files.rlim_cur = std::min(files.rlim_max, files_wanted);
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &files));
}

}  // namespace

int run(const Common& common) {
  const auto config = load_config(common.config_file);
  if (!config) return 2;
  log::configure(config->log);
  allow_many_files();
  asio::io_context loop(1);
  Daemon daemon(loop, *config, common.config_file);
  int code = 1;
  asio::co_spawn(loop, daemon.run(), [&](const std::exception_ptr& thrown, int result) {
    if (!thrown) code = result;
    loop.stop();
  });
  loop.run();
  return code;
}

}  // namespace transship::commands
