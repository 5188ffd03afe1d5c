#include "replicator/http/peer_certificate.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>

namespace transship::http {

std::optional<std::chrono::sys_seconds> peer_certificate_end(CURL* easy) {
  const curl_tlssessioninfo* session = nullptr;
  if (curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &session) != CURLE_OK || session == nullptr ||
      session->backend != CURLSSLBACKEND_OPENSSL || session->internals == nullptr)
    return std::nullopt;
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      SSL_get1_peer_certificate(static_cast<const SSL*>(session->internals)), &X509_free);
  std::tm utc{};
  if (!certificate || ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &utc) != 1)
    return std::nullopt;
  return std::chrono::sys_seconds(std::chrono::seconds(::timegm(&utc)));
}

}  // namespace transship::http
