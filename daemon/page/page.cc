#include "daemon/page/page.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <string_view>

#include "daemon/page/sources.h"

namespace transship {

namespace {

// As Content-Security-Policy names a script or a style.
std::string hash_of(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr);
  std::array<unsigned char, std::size_t{2} * EVP_MAX_MD_SIZE> base64{};
  const int length = EVP_EncodeBlock(base64.data(), digest.data(), static_cast<int>(size));
  return fmt::format("'sha256-{}'",
                     std::string(base64.begin(), base64.begin() + static_cast<long>(length)));
}

void put_between(std::string& document, std::string_view open, std::string_view content) {
  document.insert(document.find(open) + open.size(), content);
}

}  // namespace

Page::Page()
    : document_(page_html),
      policy_(fmt::format("default-src 'none'; script-src {}; style-src {}; connect-src 'self'; "
                          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                          hash_of(page_js), hash_of(page_css))) {
  put_between(document_, "<style>", page_css);
  put_between(document_, "<script type=\"module\">", page_js);
}

HttpResponse Page::response() const {
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  response.body = document_;
  response.headers = {{"Content-Security-Policy", policy_},
                      {"X-Content-Type-Options", "nosniff"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cache-Control", "no-cache"}};
  return response;
}

}  // namespace transship
