#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/support/http_host.h"
#include "tests/support/process.h"

namespace transship::testing {

// A token server as docker-registry's `auth: token` wants it (distribution "Token Authentication
// Implementation"): Basic credentials and scopes in, a token signed with RS256 out. It grants what
// is asked for, to one user.
class TokenServer {
 public:
  // `lifetime`: how long docker-registry takes a token, which allows clocks to differ by 60 s.
  // `told`: how long the answer says that it is good; a lie makes clients find out by a 401.
  TokenServer(std::string username, std::string password, std::chrono::seconds lifetime,
              std::chrono::seconds told);
  ~TokenServer();

  // The top-level section of docker-registry's configuration.
  [[nodiscard]] std::string registry_section() const;
  // The scopes of every token that was given, as they were asked for: one line a token.
  [[nodiscard]] std::vector<std::string> given() const;
  [[nodiscard]] std::size_t refused() const;

 private:
  HostReply answer(const HostRequest& request);
  [[nodiscard]] std::string token(const std::vector<std::string>& scopes) const;

  struct Key;
  std::string credentials_;
  std::chrono::seconds lifetime_;
  std::chrono::seconds told_;
  TemporaryDirectory directory_;
  std::unique_ptr<Key> key_;
  mutable std::mutex mutex_;
  std::vector<std::string> given_;
  std::size_t refused_ = 0;
  std::unique_ptr<HttpHost> host_;  // last: it stops first
};

}  // namespace transship::testing
