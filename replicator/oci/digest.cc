#include "replicator/oci/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

namespace transship::oci {

namespace {

constexpr std::string_view prefix(Algorithm algorithm) {
  return algorithm == Algorithm::sha256 ? "sha256:" : "sha512:";
}
constexpr std::size_t hex_digits(Algorithm algorithm) {
  return algorithm == Algorithm::sha256 ? 64 : 128;
}

std::string printable(std::string_view text) {
  std::string shown(text.substr(0, 80));
  std::replace_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return shown;
}

}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
  for (Algorithm algorithm : {Algorithm::sha256, Algorithm::sha512}) {
    if (!text.starts_with(prefix(algorithm))) continue;
    const std::string_view hex = text.substr(prefix(algorithm).size());
    const bool well_formed =
        hex.size() == hex_digits(algorithm) && std::all_of(hex.begin(), hex.end(), [](char c) {
          return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        });
    if (well_formed) return Digest(algorithm, std::string(text));
  }
  return fail(
      ErrorKind::invalid,
      fmt::format("\"{}\" is not a digest (sha256 or sha512, lower-case hex)", printable(text)));
}

Digest Digest::of(std::string_view bytes, Algorithm algorithm) {
  Hasher hasher(algorithm);
  hasher.update(bytes);
  return hasher.finish();
}

std::string_view Digest::hex() const {
  return std::string_view(text_).substr(prefix(algorithm_).size());
}

struct Hasher::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { EVP_MD_CTX_free(evp); }
};

Hasher::Hasher(Algorithm algorithm) : algorithm_(algorithm), context_(std::make_unique<Context>()) {
  EVP_DigestInit_ex(context_->evp, algorithm == Algorithm::sha256 ? EVP_sha256() : EVP_sha512(),
                    nullptr);
}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::update(std::string_view bytes) {
  EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size());
}

Digest Hasher::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
  unsigned int size = 0;
  EVP_DigestFinal_ex(context_->evp, raw.data(), &size);
  std::string text(prefix(algorithm_));
  constexpr std::string_view digits = "0123456789abcdef";
  for (unsigned int i = 0; i < size; ++i) {
    text += digits[raw.at(i) >> 4U];
    text += digits[raw.at(i) & 0xFU];
  }
  return {algorithm_, std::move(text)};
}

}  // namespace transship::oci
