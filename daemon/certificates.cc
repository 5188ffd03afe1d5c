#include "daemon/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <memory>

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

}  // namespace

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
