#pragma once

#include <string>

#include "tests/support/process.h"

namespace transship::testing {

// Certificates made for one test: an authority, a server on 127.0.0.1 and a client that it has
// signed, and another authority that has signed nothing. Files in PEM; throws without openssl.
class Certificates {
 public:
  Certificates();

  [[nodiscard]] std::string authority() const { return file("authority.pem"); }
  [[nodiscard]] std::string other_authority() const { return file("other.pem"); }
  [[nodiscard]] std::string certificate(const std::string& of) const { return file(of + ".pem"); }
  [[nodiscard]] std::string key(const std::string& of) const { return file(of + ".key"); }

  static constexpr const char* server = "server";
  static constexpr const char* client = "client";

 private:
  [[nodiscard]] std::string file(const std::string& name) const {
    return (directory_ / name).string();
  }
  void make_authority(const std::string& name);
  void make_signed(const std::string& name);

  TemporaryDirectory directory_;
};

// Runs openssl; throws where it fails. Returns its output.
std::string openssl(std::vector<std::string> words);

}  // namespace transship::testing
