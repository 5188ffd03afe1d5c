// Any bytes as an address, a header or a Docker configuration: nothing crashes, and what is
// accepted is harmless.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <tuple>

#include "replicator/http/url.h"
#include "replicator/registry/auth/challenge.h"
#include "replicator/registry/auth/docker_config.h"

namespace {

using namespace transship;

void require(bool holds) {
  if (!holds) std::abort();
}

// Credentials are for an origin, so an address must mean the same to us and to libcurl, however
// often it is written.
void check_url(const http::Url& url) {
  require(url.scheme == "http" || url.scheme == "https");
  require(!url.host.empty() && url.port != 0 && url.target.starts_with('/'));
  require(url.host.find_first_of("/?#@\\ \r\n") == std::string::npos);
  require(url.target.find_first_of("# \r\n") == std::string::npos);
  const auto again = http::Url::parse(url.str());
  require(again.has_value() && *again == url);
}

void check_urls(std::string_view text) {
  if (const auto url = http::Url::parse(text)) check_url(*url);
  static const auto base =
      *http::Url::parse("https://registry.example.com:5000/v2/a/blobs/uploads/?x=y");
  if (const auto url = base.resolve(text)) check_url(*url);
}

void check_headers(std::string_view text) {
  for (const auto& challenge : registry::parse_challenges(text)) require(!challenge.scheme.empty());
  const auto seconds = registry::parse_retry_after(text, 1'700'000'000);
  require(!seconds || (*seconds >= 0 && *seconds <= 30L * 24 * 3600));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_urls(text);
  check_headers(text);
  std::ignore = registry::find_docker_login(text, "registry.example.com");
  std::ignore = http::query_encoded(text);
  return 0;
}
