#include "replicator/registry/auth/credentials.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "replicator/registry/auth/docker_config.h"
#include "replicator/registry/auth/helper_program.h"

namespace transship::registry {

namespace {

using Found = Result<std::optional<Credentials>>;

class Anonymous final : public CredentialSource {
 public:
  asio::awaitable<Found> get() override { co_return std::optional<Credentials>(); }
};

class Basic final : public CredentialSource {
 public:
  Basic(std::string username, std::string password_file)
      : username_(std::move(username)), password_file_(std::move(password_file)) {}

  asio::awaitable<Found> get() override {
    std::ifstream file(password_file_, std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    if (!file) {
      co_return fail(ErrorKind::unauthorized,
                     fmt::format("the password file {} cannot be read", password_file_));
    }
    std::string password = content.str();
    while (!password.empty() && (password.back() == '\n' || password.back() == '\r')) {
      password.pop_back();
    }
    co_return Credentials{username_, Secret(std::move(password)), Secret()};
  }

 private:
  std::string username_;
  std::string password_file_;
};

class Helper final : public CredentialSource {
 public:
  Helper(std::string helper, std::string host)
      : helper_(std::move(helper)), host_(std::move(host)) {}
  asio::awaitable<Found> get() override { co_return co_await ask_helper(helper_, host_); }

 private:
  std::string helper_;
  std::string host_;
};

class DockerConfig final : public CredentialSource {
 public:
  explicit DockerConfig(std::string host) : host_(std::move(host)) {}

  asio::awaitable<Found> get() override {
    const std::string path = docker_config_path();
    std::ifstream file(path, std::ios::binary);
    if (!file)
      co_return std::optional<Credentials>();  // a machine without Docker logins goes anonymously
    std::ostringstream content;
    content << file.rdbuf();
    auto entry = find_docker_login(content.str(), host_);
    if (!entry) co_return fail(entry.error().with_context(path));
    if (!entry->helper.empty()) co_return co_await ask_helper(entry->helper, host_);
    co_return entry->credentials;
  }

 private:
  static std::string docker_config_path() {
    if (const char* directory = std::getenv("DOCKER_CONFIG")) {
      return std::string(directory) + "/config.json";
    }
    const char* home = std::getenv("HOME");
    return std::string(home != nullptr ? home : "/root") + "/.docker/config.json";
  }
  std::string host_;
};

}  // namespace

std::unique_ptr<CredentialSource> anonymous() { return std::make_unique<Anonymous>(); }
std::unique_ptr<CredentialSource> basic(std::string username, std::string password_file) {
  return std::make_unique<Basic>(std::move(username), std::move(password_file));
}
std::unique_ptr<CredentialSource> docker_config(std::string registry_host) {
  return std::make_unique<DockerConfig>(std::move(registry_host));
}
std::unique_ptr<CredentialSource> credential_helper(std::string helper, std::string registry_host) {
  return std::make_unique<Helper>(std::move(helper), std::move(registry_host));
}

}  // namespace transship::registry
