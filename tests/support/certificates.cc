#include "tests/support/certificates.h"

#include <stdexcept>

namespace transship::testing {

std::string openssl(std::vector<std::string> words) {
  words.insert(words.begin(), "openssl");
  const Finished finished = run(std::move(words));
  if (finished.exit_code != 0) throw std::runtime_error("openssl: " + finished.errors);
  return finished.output;
}

Certificates::Certificates() {
  make_authority("authority");
  make_authority("other");
  make_signed(server);
  make_signed(client);
}

void Certificates::make_authority(const std::string& name) {
  openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
           "-days", "2", "-subj", "/CN=" + name, "-keyout", key(name), "-out", certificate(name)});
}

void Certificates::make_signed(const std::string& name) {
  write_file(file(name + ".ext"),
             "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n");
  openssl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
           "/CN=" + name, "-keyout", key(name), "-out", file(name + ".csr")});
  openssl({"x509", "-req", "-days", "2", "-in", file(name + ".csr"), "-CA", authority(), "-CAkey",
           key("authority"), "-CAcreateserial", "-extfile", file(name + ".ext"), "-out",
           certificate(name)});
}

}  // namespace transship::testing
