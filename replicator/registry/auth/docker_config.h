#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "replicator/registry/auth/credentials.h"

namespace transship::registry {

// What Docker's config.json says about one registry: credentials, or the helper that has them, or
// nothing.
struct DockerLogin {
  std::optional<Credentials> credentials;
  std::string helper;
};

// Pure: `text` is the file's content, `host` is host[:port]. A helper for this host (credHelpers)
// comes before the general one (credsStore), which comes before what is written in the file
// (auths).
Result<DockerLogin> find_docker_login(std::string_view text, std::string_view host);

}  // namespace transship::registry
