#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <memory>

#include "config/config.h"
#include "replicator/state_directory.h"

// What commands have in common that work once and end.
namespace transship::commands {

// Runs `work` on the loop to its end. SIGINT or SIGTERM cancel it, and it is waited for, so that
// uploads that may go on later are kept; a second signal does not wait. False where it was
// interrupted.
bool run_until_interrupted(asio::io_context& loop, asio::awaitable<void> work);

// The state directory; null, and a line on standard error, where it cannot be used: then nothing is
// kept between runs, which costs time alone.
std::unique_ptr<StateDirectory> state_for_one_shot(const config::Config& config);

}  // namespace transship::commands
