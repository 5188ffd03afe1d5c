#include "daemon/commands/one_shot.h"

#include <fmt/format.h>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/signal_set.hpp>
#include <csignal>
#include <cstdio>

namespace transship::commands {

bool run_until_interrupted(asio::io_context& loop, asio::awaitable<void> work) {
  bool complete = false;
  bool interrupted = false;
  asio::cancellation_signal cancel;
  asio::signal_set signals(loop, SIGINT, SIGTERM);
  signals.async_wait([&](asio::error_code error, int number) {
    if (error) return;
    interrupted = true;
    std::signal(number, SIG_DFL);
    cancel.emit(asio::cancellation_type::terminal);
  });
  asio::co_spawn(loop, std::move(work),
                 asio::bind_cancellation_slot(cancel.slot(), [&](const std::exception_ptr& thrown) {
                   complete = !thrown;
                   loop.stop();
                 }));
  loop.run();
  return complete && !interrupted;
}

std::unique_ptr<StateDirectory> state_for_one_shot(const config::Config& config) {
  if (const auto usable = StateDirectory::usable(config.state); !usable) {
    fmt::print(stderr, "{}; nothing is kept between runs, which costs time alone\n",
               usable.error().message);
    return nullptr;
  }
  return std::make_unique<StateDirectory>(config.state);
}

}  // namespace transship::commands
