#include "replicator/oci/digest.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

namespace transship::oci {

namespace {

constexpr std::string_view prefix(Algorithm algorithm) {
  return algorithm == Algorithm::sha256 ? "sha256:" : "sha512:";
}
constexpr std::size_t hex_digits(Algorithm algorithm) {
  return algorithm == Algorithm::sha256 ? 64 : 128;
}

// Of what OpenSSL keeps of a hash under way.
constexpr std::size_t context_bytes(Algorithm algorithm) {
  return algorithm == Algorithm::sha256 ? sizeof(SHA256_CTX) : sizeof(SHA512_CTX);
}

constexpr std::string_view hex_alphabet = "0123456789abcdef";

std::string in_hex(std::span<const unsigned char> bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const unsigned char byte : bytes) {
    text += hex_alphabet[byte >> 4U];
    text += hex_alphabet[byte & 0xFU];
  }
  return text;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const std::size_t high = hex_alphabet.find(text[i]);
    const std::size_t low = hex_alphabet.find(text[i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    bytes += static_cast<char>(high << 4U | low);
  }
  return bytes;
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

// OpenSSL's low-level functions, since EVP cannot give its state away; both run the same code.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"

struct Hasher::Context {
  union {
    SHA256_CTX sha256;
    SHA512_CTX sha512;
  };
};

Hasher::Hasher(Algorithm algorithm) : algorithm_(algorithm), context_(std::make_unique<Context>()) {
  if (algorithm_ == Algorithm::sha256) {
    SHA256_Init(&context_->sha256);
  } else {
    SHA512_Init(&context_->sha512);
  }
}
Hasher::Hasher(const Hasher& other)
    : algorithm_(other.algorithm_), context_(std::make_unique<Context>(*other.context_)) {}
Hasher& Hasher::operator=(const Hasher& other) {
  algorithm_ = other.algorithm_;
  *context_ = *other.context_;
  return *this;
}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::update(std::string_view bytes) {
  if (algorithm_ == Algorithm::sha256) {
    SHA256_Update(&context_->sha256, bytes.data(), bytes.size());
  } else {
    SHA512_Update(&context_->sha512, bytes.data(), bytes.size());
  }
}

Digest Hasher::finish() {
  std::array<unsigned char, SHA512_DIGEST_LENGTH> raw{};
  if (algorithm_ == Algorithm::sha256) {
    SHA256_Final(raw.data(), &context_->sha256);
  } else {
    SHA512_Final(raw.data(), &context_->sha512);
  }
  const std::size_t size =
      algorithm_ == Algorithm::sha256 ? SHA256_DIGEST_LENGTH : SHA512_DIGEST_LENGTH;
  return {algorithm_, std::string(prefix(algorithm_)) + in_hex({raw.data(), size})};
}

#pragma clang diagnostic pop

std::string Hasher::state() const {
  const auto* bytes = reinterpret_cast<const unsigned char*>(context_.get());
  return std::string(prefix(algorithm_)) + in_hex({bytes, context_bytes(algorithm_)});
}

Result<Hasher> Hasher::resume(Algorithm algorithm, std::string_view state) {
  const auto bad = [] { return fail(ErrorKind::invalid, "not the state of a hash"); };
  if (!state.starts_with(prefix(algorithm))) return bad();
  auto bytes = from_hex(state.substr(prefix(algorithm).size()));
  if (!bytes || bytes->size() != context_bytes(algorithm)) return bad();
  Hasher hasher(algorithm);
  std::memcpy(hasher.context_.get(), bytes->data(), bytes->size());
  const auto& context = *hasher.context_;
  const bool sound =
      algorithm == Algorithm::sha256
          ? context.sha256.num < SHA256_CBLOCK && context.sha256.md_len == SHA256_DIGEST_LENGTH
          : context.sha512.num < SHA512_CBLOCK && context.sha512.md_len == SHA512_DIGEST_LENGTH;
  if (!sound) return bad();
  return hasher;
}

}  // namespace transship::oci
