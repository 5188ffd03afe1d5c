#include "replicator/http/url.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>

namespace transship::http {

namespace {

constexpr std::size_t url_bytes_max = 16UL << 10U;

struct UrlCleanup {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string part_of(CURLU* url, CURLUPart what, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, what, &text, flags) != CURLUE_OK) return {};
  std::string value(text);
  curl_free(text);
  return value;
}

tl::unexpected<Error> invalid(std::string_view text, std::string_view why) {
  // A query, and what is before an '@', may hold a secret.
  std::string_view public_part = text.substr(0, text.find('?'));
  if (const std::size_t at = public_part.rfind('@'); at != std::string_view::npos)
    public_part.remove_prefix(at + 1);
  std::string shown(public_part.substr(0, 200));
  std::replace_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return fail(ErrorKind::invalid, fmt::format("\"{}\" is not a usable URL: {}", shown, why));
}

}  // namespace

Result<Url> Url::parse(std::string_view text) {
  if (text.size() > url_bytes_max) return invalid(text, "too long");
  if (std::any_of(text.begin(), text.end(), [](char c) { return c <= ' ' || c == '\x7f'; })) {
    return invalid(text, "blanks or control characters");
  }
  // libcurl takes one to three slashes, and guesses a scheme from a name.
  const std::size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos || text.find_first_of("/?#@") < scheme_end ||
      text.substr(scheme_end + 3).starts_with('/')) {
    return invalid(text, "it must be absolute, http:// or https://");
  }
  const std::unique_ptr<CURLU, UrlCleanup> url(curl_url());
  const std::string whole(text);
  if (curl_url_set(url.get(), CURLUPART_URL, whole.c_str(), CURLU_PATH_AS_IS) != CURLUE_OK) {
    return invalid(text, "it must be absolute, http:// or https://");
  }
  Url parsed;
  parsed.scheme = part_of(url.get(), CURLUPART_SCHEME);
  if (parsed.scheme != "http" && parsed.scheme != "https") {
    return invalid(text, "neither http nor https");
  }
  if (!part_of(url.get(), CURLUPART_USER).empty() ||
      !part_of(url.get(), CURLUPART_PASSWORD).empty()) {
    return invalid(text, "it holds credentials");
  }
  // libcurl decodes a host, and reads "33%38" as something else the second time.
  const std::size_t authority = scheme_end + 3;
  const std::size_t from = std::min(text.find_first_of("/?#", authority), text.size());
  if (text.substr(authority, from - authority).find('%') != std::string_view::npos) {
    return invalid(text, "an escape in its host");
  }
  parsed.host = part_of(url.get(), CURLUPART_HOST);
  std::transform(parsed.host.begin(), parsed.host.end(), parsed.host.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const std::string port = part_of(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  std::from_chars(port.data(), port.data() + port.size(), parsed.port);
  if (parsed.host.empty() || parsed.port == 0) return invalid(text, "no host or no port");

  // The target as it was written: behind the authority, up to a fragment.
  parsed.target = text.substr(from, std::min(text.find('#', from), text.size()) - from);
  if (!parsed.target.starts_with('/')) parsed.target.insert(0, "/");
  return parsed;
}

Result<Url> Url::resolve(std::string_view location) const {
  if (location.empty()) return invalid(location, "it is empty");
  const std::size_t scheme_end = location.find("://");
  if (scheme_end != std::string_view::npos && location.find_first_of("/?#") > scheme_end) {
    return parse(location);
  }
  if (location.starts_with("//")) return parse(scheme + ":" + std::string(location));
  const std::string base = origin();
  if (location.starts_with('/')) return parse(base + std::string(location));
  const std::string path = target.substr(0, target.find('?'));
  if (location.starts_with('?')) return parse(base + path + std::string(location));
  return parse(base + path.substr(0, path.rfind('/') + 1) + std::string(location));
}

std::string Url::authority() const {
  const bool own_port = port == (scheme == "https" ? 443 : 80);
  return own_port ? host : fmt::format("{}:{}", host, port);
}

std::string Url::origin() const { return scheme + "://" + authority(); }

bool Url::is_loopback() const {
  if (host == "localhost" || host == "[::1]") return true;
  return host.starts_with("127.") && std::all_of(host.begin(), host.end(), [](char c) {
           return c == '.' || (c >= '0' && c <= '9');
         });
}

std::string query_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                            (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (unreserved) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace transship::http
