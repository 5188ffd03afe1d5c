#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "replicator/base/task.h"
#include "replicator/http/client.h"
#include "replicator/registry/auth/challenge.h"
#include "replicator/registry/auth/credentials.h"

namespace transship::registry {

// What a request may touch, as token servers name it: "repository:team/app:pull,push",
// "registry:catalog:*".
using Scopes = std::vector<std::string>;

// Answers one registry's challenges (distribution-spec "authentication": Basic, or Bearer with a
// token server) and remembers what worked. Credentials go to the registry's own origin, and to a
// token realm elsewhere only where that is HTTPS, or where both are plain HTTP on loopback.
class Authorizer {
 public:
  // `tls` is the registry's; it holds for its token realm too.
  Authorizer(http::Client& client, http::Url registry, std::shared_ptr<const http::Tls> tls,
             std::unique_ptr<CredentialSource> source);

  // The value of the Authorization header for a request with these scopes; empty for none. It
  // fetches a token where it is known that one is needed.
  asio::awaitable<Result<std::string>> authorization(Scopes scopes);

  // Takes in a 401. True when it is worth asking again: something was learnt, or a token was
  // renewed.
  asio::awaitable<Result<bool>> challenged(Scopes scopes, std::string refused_authorization,
                                           std::vector<std::string> www_authenticate);

 private:
  enum class Scheme { unknown, basic, bearer };
  struct Token {
    std::string value;
    std::chrono::steady_clock::time_point renew_at{};
    bool fetching = false;
    Event fetched;
    std::optional<Error> failure;  // of the last try
    std::chrono::steady_clock::time_point failed_at{};
    explicit Token(asio::any_io_executor executor) : fetched(std::move(executor)) {}
  };

  asio::awaitable<Result<std::string>> bearer(Scopes scopes);
  asio::awaitable<Result<std::string>> basic();
  asio::awaitable<Result<void>> fetch(Token& token, const Scopes& scopes);
  Result<http::Request> token_request(const Scopes& scopes,
                                      const std::optional<Credentials>& credentials) const;
  [[nodiscard]] bool realm_may_have_credentials() const;
  Result<bool> learn(const std::vector<std::string>& www_authenticate);

  http::Client& client_;
  http::Url registry_;
  std::shared_ptr<const http::Tls> tls_;
  std::unique_ptr<CredentialSource> source_;
  Scheme scheme_ = Scheme::unknown;
  std::optional<http::Url> realm_;
  std::string service_;
  std::string challenge_scope_;
  std::map<std::string, std::shared_ptr<Token>> tokens_;  // by scopes, bounded by tokens_max
};

}  // namespace transship::registry
