#pragma once

#include <asio/awaitable.hpp>
#include <optional>
#include <string>

#include "replicator/registry/auth/credentials.h"

namespace transship::registry {

// Runs `docker-credential-<helper> get` with the registry's host on its standard input, away from
// the loop, and reads its JSON answer. It has 30 s and 64 KiB. nullopt where the helper says that
// it has none.
asio::awaitable<Result<std::optional<Credentials>>> ask_helper(std::string helper,
                                                               std::string host);

}  // namespace transship::registry
