#pragma once

#include <compare>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "replicator/base/error.h"

namespace transship::oci {

enum class Algorithm { sha256, sha512 };

// A content digest (OCI image-spec, descriptor.md "Digests"): "sha256:" and 64, or "sha512:" and
// 128 lower-case hex digits. Nothing else is accepted, since digests end up in URLs and file names.
class Digest {
 public:
  static Result<Digest> parse(std::string_view text);
  static Digest of(std::string_view bytes, Algorithm algorithm = Algorithm::sha256);

  [[nodiscard]] const std::string& str() const { return text_; }
  [[nodiscard]] Algorithm algorithm() const { return algorithm_; }
  [[nodiscard]] std::string_view hex() const;

  friend auto operator<=>(const Digest& a, const Digest& b) { return a.text_ <=> b.text_; }
  friend bool operator==(const Digest& a, const Digest& b) { return a.text_ == b.text_; }

 private:
  friend class Hasher;
  Digest(Algorithm algorithm, std::string text) : algorithm_(algorithm), text_(std::move(text)) {}
  Algorithm algorithm_;
  std::string text_;
};

// Hashes bytes as they pass by.
class Hasher {
 public:
  explicit Hasher(Algorithm algorithm);
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  ~Hasher();

  void update(std::string_view bytes);
  [[nodiscard]] Digest finish();  // once, at the end

  // What it has seen so far, as text, so that it can go on later, in another process too.
  [[nodiscard]] std::string state() const;
  // Errors: invalid (not such a text, or one of another algorithm).
  static Result<Hasher> resume(Algorithm algorithm, std::string_view state);
  Hasher(const Hasher& other);
  Hasher& operator=(const Hasher& other);

 private:
  struct Context;
  Algorithm algorithm_;
  std::unique_ptr<Context> context_;
};

}  // namespace transship::oci

template <>
struct std::hash<transship::oci::Digest> {
  std::size_t operator()(const transship::oci::Digest& digest) const noexcept {
    return std::hash<std::string>{}(digest.str());
  }
};
