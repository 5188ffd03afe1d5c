#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "monitoring/ledger.h"

namespace transship {

// When a certificate that the configuration names for a registry stops being valid.
struct CertificateEnd {
  std::string registry;
  std::string kind;  // client: the first of tls.cert_file; ca: the last to end of tls.ca_file
  monitoring::Time at;
};

// Reads the files, a few KiB each. One that cannot be read is left out: its requests say why.
std::vector<CertificateEnd> certificate_ends(const config::Config& config);

// When a credential in a file stops being valid, where it says so itself.
struct CredentialEnd {
  std::string registry;  // empty for the bus
  std::string kind;      // password: of auth.password_file; bus: of bus.credentials_file
  monitoring::Time at;
};
// Reads the files, as above.
std::vector<CredentialEnd> credential_ends(const config::Config& config);

// `exp` of the first JSON Web Token (RFC 7519) among the words of a text: a token is one word, and
// a NATS credentials file has one between its marks. Its signature is not looked at.
std::optional<monitoring::Time> token_end(std::string_view text);

}  // namespace transship
