#include "tests/support/token_server.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "replicator/base/base64.h"
#include "tests/support/certificates.h"

namespace transship::testing {

namespace {

constexpr const char* issuer = "test-issuer";
constexpr const char* service = "test-registry";
// docker-registry takes a token so much longer than it says.
constexpr std::chrono::seconds leeway{60};

std::string base64url(const std::string& bytes) {
  std::string text = base64_encoded(bytes);
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  text.erase(text.find_last_not_of('=') + 1);
  return text;
}

// repository:team/app:pull,push
nlohmann::json access_of(const std::vector<std::string>& scopes) {
  nlohmann::json access = nlohmann::json::array();
  for (const std::string& scope : scopes) {
    const std::size_t first = scope.find(':');
    const std::size_t last = scope.rfind(':');
    if (first == std::string::npos || first == last) continue;
    nlohmann::json actions = nlohmann::json::array();
    std::istringstream words(scope.substr(last + 1));
    for (std::string word; std::getline(words, word, ',');) actions.push_back(word);
    access.push_back({{"type", scope.substr(0, first)},
                      {"name", scope.substr(first + 1, last - first - 1)},
                      {"actions", actions}});
  }
  return access;
}

}  // namespace

struct TokenServer::Key {
  explicit Key(const std::string& file) {
    FILE* stream = std::fopen(file.c_str(), "r");
    if (stream == nullptr) throw std::runtime_error("no key " + file);
    key = PEM_read_PrivateKey(stream, nullptr, nullptr, nullptr);
    std::fclose(stream);
    if (key == nullptr) throw std::runtime_error("no key in " + file);
  }
  ~Key() { EVP_PKEY_free(key); }
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;

  [[nodiscard]] std::string sign(const std::string& text) const {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    const auto* data = reinterpret_cast<const unsigned char*>(text.data());
    std::size_t size = 0;
    std::string signature;
    const bool begun = EVP_DigestSignInit(context, nullptr, EVP_sha256(), nullptr, key) == 1 &&
                       EVP_DigestSign(context, nullptr, &size, data, text.size()) == 1;
    signature.resize(size);
    const bool done =
        begun && EVP_DigestSign(context, reinterpret_cast<unsigned char*>(signature.data()), &size,
                                data, text.size()) == 1;
    EVP_MD_CTX_free(context);
    if (!done) throw std::runtime_error("a token could not be signed");
    return signature;
  }

  EVP_PKEY* key = nullptr;
  std::string x5c;  // the certificate, DER in base64
};

TokenServer::TokenServer(std::string username, std::string password, std::chrono::seconds lifetime,
                         std::chrono::seconds told)
    : credentials_("Basic " + base64_encoded(username + ":" + password)),
      lifetime_(lifetime),
      told_(told) {
  const std::string key = (directory_ / "token.key").string();
  const std::string certificate = (directory_ / "token.pem").string();
  openssl({"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens",
           "-keyout", key, "-out", certificate});
  key_ = std::make_unique<Key>(key);
  std::istringstream lines(read_file(certificate));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("-----")) key_->x5c += line;
  }
  host_ =
      std::make_unique<HttpHost>([this](const HostRequest& request) { return answer(request); });
}

TokenServer::~TokenServer() = default;

std::string TokenServer::registry_section() const {
  return fmt::format(
      "auth: {{token: {{realm: '{}/token', service: {}, issuer: {}, rootcertbundle: '{}'}}}}\n",
      host_->url(), service, issuer, (directory_ / "token.pem").string());
}

std::vector<std::string> TokenServer::given() const {
  const std::lock_guard lock(mutex_);
  return given_;
}

std::size_t TokenServer::refused() const {
  const std::lock_guard lock(mutex_);
  return refused_;
}

HostReply TokenServer::answer(const HostRequest& request) {
  const std::lock_guard lock(mutex_);
  if (request.header("authorization") != credentials_) {
    ++refused_;
    return {401, {}, R"({"details":"incorrect username or password"})"};
  }
  const auto asked = request.query.find("scope");
  const std::string all = asked == request.query.end() ? std::string() : asked->second;
  std::vector<std::string> scopes;
  std::istringstream words(all);
  for (std::string word; words >> word;) scopes.push_back(word);
  given_.push_back(all);
  const nlohmann::json body{{"token", token(scopes)}, {"expires_in", told_.count()}};
  return {200, {{"Content-Type", "application/json"}}, body.dump()};
}

std::string TokenServer::token(const std::vector<std::string>& scopes) const {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  const auto seconds = [](auto time) { return time.time_since_epoch().count(); };
  const nlohmann::json header{{"typ", "JWT"}, {"alg", "RS256"}, {"x5c", {key_->x5c}}};
  const nlohmann::json claims{{"iss", issuer},
                              {"sub", "test"},
                              {"aud", service},
                              {"nbf", seconds(now - std::chrono::hours(1))},
                              {"iat", seconds(now - std::chrono::hours(1))},
                              {"exp", seconds(now + lifetime_ - leeway)},
                              {"jti", std::to_string(given_.size())},
                              {"access", access_of(scopes)}};
  const std::string text = base64url(header.dump()) + "." + base64url(claims.dump());
  return text + "." + base64url(key_->sign(text));
}

}  // namespace transship::testing
