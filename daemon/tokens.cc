#include "daemon/tokens.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <fstream>

#include "replicator/oci/digest.h"

namespace transship {

Result<void> Tokens::load() {
  std::ifstream file(file_);
  if (!file)
    return fail(ErrorKind::invalid,
                fmt::format("the token file {} cannot be read", file_.string()));
  std::vector<Secret> tokens;
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty()) tokens.emplace_back(std::move(line));
  }
  if (tokens.empty())
    return fail(ErrorKind::invalid,
                fmt::format("the token file {} holds no token", file_.string()));
  tokens_ = std::move(tokens);
  loaded_at_ = std::chrono::steady_clock::now();
  return {};
}

bool Tokens::accepts(std::string_view token) {
  // A file that cannot be read right now leaves the known tokens in force.
  if (std::chrono::steady_clock::now() - loaded_at_ > read_again_after) static_cast<void>(load());
  // Digests have one length, so that neither the length nor the place of a difference can be timed.
  const std::string given = oci::Digest::of(token).str();
  bool accepted = false;
  for (const Secret& known : tokens_) {
    const std::string wanted = oci::Digest::of(known.reveal()).str();
    accepted |= CRYPTO_memcmp(given.data(), wanted.data(), wanted.size()) == 0;
  }
  return accepted;
}

}  // namespace transship
