#pragma once

#include <string>
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

}  // namespace transship
