#include "replicator/registry/auth/docker_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "replicator/base/base64.h"

namespace transship::registry {

namespace {

using Json = nlohmann::json;

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// The spellings under which Docker and its kin file a registry: bare, as a URL, with the old API's
// path.
std::vector<std::string> spellings(std::string_view host) {
  std::vector<std::string> all;
  for (const char* scheme : {"", "https://", "http://"}) {
    for (const char* path : {"", "/", "/v1/", "/v2/"})
      all.push_back(fmt::format("{}{}{}", scheme, host, path));
  }
  if (host == "docker.io" || host == "registry-1.docker.io" || host == "index.docker.io") {
    all.emplace_back("https://index.docker.io/v1/");
  }
  return all;
}

Result<std::optional<Credentials>> credentials_of(const Json& entry, std::string_view host) {
  Credentials found{text_of(entry, "username"), Secret(text_of(entry, "password")),
                    Secret(text_of(entry, "identitytoken"))};
  if (const std::string auth = text_of(entry, "auth"); !auth.empty()) {
    const auto decoded = base64_decoded(auth);
    const std::size_t colon = decoded ? decoded->find(':') : std::string::npos;
    if (colon == std::string::npos) {
      return fail(ErrorKind::unauthorized,
                  fmt::format("the \"auth\" of {} is not base64 of user:password", host));
    }
    std::string password = decoded->substr(colon + 1);
    while (!password.empty() && password.back() == '\0') password.pop_back();
    found.username = decoded->substr(0, colon);
    found.password = Secret(std::move(password));
  }
  if (found.username.empty() && found.identity_token.empty()) return std::nullopt;
  return found;
}

}  // namespace

Result<DockerLogin> find_docker_login(std::string_view text, std::string_view host) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    return fail(ErrorKind::unauthorized, "not a JSON object");
  }
  const auto names = spellings(host);
  if (const auto helpers = json.find("credHelpers");
      helpers != json.end() && helpers->is_object()) {
    for (const std::string& name : names) {
      if (std::string helper = text_of(*helpers, name.c_str()); !helper.empty()) {
        return DockerLogin{std::nullopt, std::move(helper)};
      }
    }
  }
  if (std::string store = text_of(json, "credsStore"); !store.empty()) {
    return DockerLogin{std::nullopt, std::move(store)};
  }
  const auto auths = json.find("auths");
  if (auths == json.end() || !auths->is_object()) return DockerLogin{};
  for (const std::string& name : names) {
    const auto entry = auths->find(name);
    if (entry == auths->end() || !entry->is_object()) continue;
    auto credentials = credentials_of(*entry, host);
    if (!credentials) return fail(credentials.error());
    return DockerLogin{std::move(*credentials), {}};
  }
  return DockerLogin{};
}

}  // namespace transship::registry
