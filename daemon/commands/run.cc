#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include "daemon/commands/commands.h"
#include "daemon/commands/load.h"
#include "daemon/daemon.h"
#include "daemon/log.h"

namespace transship::commands {

int run(const Common& common) {
  const auto config = load_config(common.config_file);
  if (!config) return 2;
  log::configure(config->log);
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
