#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "replicator/base/error.h"

namespace transship::http {

// An http or https URL (RFC 3986). The target, path and query, is kept byte for byte: registries
// sign what they put there.
struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; an IPv6 address in brackets
  std::uint16_t port = 0;
  std::string target;  // "/v2/…?…", never empty, never with a fragment

  // Errors: invalid (no absolute http or https URL, or one with credentials in it).
  static Result<Url> parse(std::string_view text);
  // The URL that a Location header means when it answers a request to this one.
  [[nodiscard]] Result<Url> resolve(std::string_view location) const;

  [[nodiscard]] std::string str() const { return origin() + target; }
  // Scheme, host and port: what credentials are for.
  [[nodiscard]] std::string origin() const;
  // host[:port], the port only where it is not the scheme's own.
  [[nodiscard]] std::string authority() const;
  // 127.0.0.0/8, ::1 or localhost.
  [[nodiscard]] bool is_loopback() const;
  friend bool operator==(const Url&, const Url&) = default;
};

// Percent-encodes everything but unreserved characters (RFC 3986 section 2.3).
std::string query_encoded(std::string_view text);

}  // namespace transship::http
