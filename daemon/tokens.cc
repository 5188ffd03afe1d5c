#include "daemon/tokens.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <fstream>

#include "replicator/oci/digest.h"

namespace transship {

namespace {

struct stat look_at(const std::filesystem::path& file) {
  struct stat seen{};
  if (::stat(file.c_str(), &seen) != 0) seen = {};
  return seen;
}

bool is_same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace

Result<void> Tokens::load() {
  seen_ = look_at(file_);  // before it is read: what changes meanwhile is read again
  loaded_ = false;
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
  loaded_ = true;
  return {};
}

void Tokens::load_if_changed() {
  if (loaded_ && is_same(seen_, look_at(file_))) return;
  static_cast<void>(load());
}

bool Tokens::accepts(std::string_view token) {
  load_if_changed();
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
