#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "tests/support/http_host.h"

// Inside the registry in memory: what its files share.
namespace transship::testing {

inline HostReply refusal(int status, const std::string& code,
                         const std::string& message = "refused") {
  const nlohmann::json body{{"errors", {{{"code", code}, {"message", message}}}}};
  return {status, {{"Content-Type", "application/json"}}, body.dump()};
}

inline std::string value_of(const std::map<std::string, std::string>& map, const std::string& key) {
  const auto found = map.find(key);
  return found == map.end() ? std::string() : found->second;
}

// /v2/<name>/<kind>/<rest>
struct Place {
  std::string name;
  std::string kind;
  std::string rest;
};
inline std::optional<Place> place_of(const std::string& path) {
  for (const char* kind : {"/manifests/", "/blobs/uploads/", "/blobs/", "/tags/", "/referrers/"}) {
    const std::size_t at = path.rfind(kind);
    if (at == std::string::npos || at < 4) continue;
    const std::size_t length = std::char_traits<char>::length(kind);
    return Place{path.substr(4, at - 4), std::string(kind).substr(1, length - 2),
                 path.substr(at + length)};
  }
  return std::nullopt;
}

}  // namespace transship::testing
