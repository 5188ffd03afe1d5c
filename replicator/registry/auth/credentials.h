#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <memory>
#include <optional>
#include <string>

#include "replicator/base/error.h"
#include "replicator/base/secret.h"

namespace transship::registry {

struct Credentials {
  std::string username;
  Secret password;
  Secret identity_token;  // instead of a password: exchanged for access tokens (Docker's
                          // "identitytoken")
};

// Where a registry's credentials come from. Asked again whenever a registry refuses what it was
// given, so that rotated secrets are picked up.
class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  // nullopt: none, go anonymously. Errors: unauthorized (a file or helper that should give them
  // does not).
  virtual asio::awaitable<Result<std::optional<Credentials>>> get() = 0;
};

std::unique_ptr<CredentialSource> anonymous();
// The password is the file's content without the newline at its end; read anew each time.
std::unique_ptr<CredentialSource> basic(std::string username, std::string password_file);
// Docker's config.json ($DOCKER_CONFIG, else ~/.docker): auths, credHelpers, credsStore.
std::unique_ptr<CredentialSource> docker_config(std::string registry_host);
// A program "docker-credential-<helper>" on the PATH.
std::unique_ptr<CredentialSource> credential_helper(std::string helper, std::string registry_host);

}  // namespace transship::registry
