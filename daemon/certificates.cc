#include "daemon/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "replicator/base/base64.h"

namespace transship {

namespace {

// A bundle of every authority that there is has some 150.
constexpr std::size_t certificates_max = 1000;

std::vector<monitoring::Time> ends_of(const std::filesystem::path& file) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_file(file.c_str(), "r"), &BIO_free);
  std::vector<monitoring::Time> ends;
  while (bio && ends.size() < certificates_max) {
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(
        PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), &X509_free);
    std::tm utc{};
    if (!certificate || ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &utc) != 1) break;
    ends.emplace_back(std::chrono::seconds(::timegm(&utc)));
  }
  ERR_clear_error();  // the end of the file is one, too
  return ends;
}

constexpr std::size_t credential_bytes_max = 64UL << 10U;
constexpr double latest_end_seconds = 253'402'300'799.0;  // of the year 9999

std::optional<monitoring::Time> end_of_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string content(credential_bytes_max, '\0');
  stream.read(content.data(), static_cast<std::streamsize>(content.size()));
  content.resize(static_cast<std::size_t>(stream.gcount()));
  return token_end(content);
}

std::optional<monitoring::Time> end_of_token(std::string_view word) {
  const std::size_t first = word.find('.');
  const std::size_t second = word.find('.', first == word.npos ? first : first + 1);
  if (second == word.npos) return std::nullopt;
  std::string payload(word.substr(first + 1, second - first - 1));
  std::replace(payload.begin(), payload.end(), '-', '+');
  std::replace(payload.begin(), payload.end(), '_', '/');
  payload.append((4 - payload.size() % 4) % 4, '=');
  const auto decoded = base64_decoded(payload);
  if (!decoded) return std::nullopt;
  const auto claims = nlohmann::json::parse(*decoded, nullptr, /*allow_exceptions=*/false);
  if (!claims.is_object() || !claims.contains("exp") || !claims["exp"].is_number())
    return std::nullopt;
  const double seconds = claims["exp"].get<double>();
  if (!(seconds > 0 && seconds <= latest_end_seconds)) return std::nullopt;  // 0: NATS' never
  return monitoring::Time(std::chrono::seconds(static_cast<std::int64_t>(seconds)));
}

}  // namespace

std::optional<monitoring::Time> token_end(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n";
  while (!text.empty()) {
    const std::size_t begin = std::min(text.find_first_not_of(blanks), text.size());
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(blanks));
    if (const auto end = end_of_token(word)) return end;
    text.remove_prefix(word.size());
  }
  return std::nullopt;
}

std::vector<CredentialEnd> credential_ends(const config::Config& config) {
  std::vector<CredentialEnd> all;
  for (const config::Registry& registry : config.registries) {
    const auto* basic = std::get_if<config::BasicAuth>(&registry.auth);
    if (basic == nullptr) continue;
    if (const auto end = end_of_file(basic->password_file))
      all.push_back({registry.name, "password", *end});
  }
  const auto* jetstream = std::get_if<config::JetStreamBus>(&config.bus);
  if (jetstream != nullptr && jetstream->credentials_file) {
    if (const auto end = end_of_file(*jetstream->credentials_file))
      all.push_back({{}, "bus", *end});
  }
  return all;
}

std::vector<CertificateEnd> certificate_ends(const config::Config& config) {
  std::vector<CertificateEnd> all;
  for (const config::Registry& registry : config.registries) {
    if (registry.tls.cert_file) {
      const auto ends = ends_of(*registry.tls.cert_file);
      if (!ends.empty()) all.push_back({registry.name, "client", ends.front()});
    }
    if (registry.tls.ca_file) {
      // While authorities are changed, the old one is there too.
      const auto ends = ends_of(*registry.tls.ca_file);
      if (!ends.empty())
        all.push_back({registry.name, "ca", *std::max_element(ends.begin(), ends.end())});
    }
  }
  return all;
}

}  // namespace transship
