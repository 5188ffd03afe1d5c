#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "replicator/oci/digest.h"

namespace transship::oci {

// A repository's name: the grammar of the OCI distribution-spec ("Pulling manifests"), at most 256
// bytes.
class Repository {
 public:
  static Result<Repository> parse(std::string_view text);
  [[nodiscard]] const std::string& str() const { return text_; }
  friend auto operator<=>(const Repository&, const Repository&) = default;

 private:
  explicit Repository(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// A tag: [A-Za-z0-9_][A-Za-z0-9._-]{0,127}.
class Tag {
 public:
  static Result<Tag> parse(std::string_view text);
  [[nodiscard]] const std::string& str() const { return text_; }
  friend auto operator<=>(const Tag&, const Tag&) = default;

 private:
  explicit Tag(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// What a manifest is asked for by.
class Reference {
 public:
  Reference(Tag tag) : value_(std::move(tag)) {}           // NOLINT(google-explicit-constructor)
  Reference(Digest digest) : value_(std::move(digest)) {}  // NOLINT(google-explicit-constructor)
  static Result<Reference> parse(std::string_view tag_or_digest);

  [[nodiscard]] const Tag* tag() const { return std::get_if<Tag>(&value_); }
  [[nodiscard]] const Digest* digest() const { return std::get_if<Digest>(&value_); }
  [[nodiscard]] const std::string& str() const { return tag() ? tag()->str() : digest()->str(); }
  // ":v1" or "@sha256:…", as it is written behind a repository.
  [[nodiscard]] std::string suffix() const { return (tag() ? ":" : "@") + str(); }
  friend auto operator<=>(const Reference&, const Reference&) = default;

 private:
  std::variant<Tag, Digest> value_;
};

// repository:tag or repository@digest, as an operator names an image of a known registry.
struct ImageName {
  Repository repository;
  Reference reference;
  static Result<ImageName> parse(std::string_view text);
  [[nodiscard]] std::string str() const { return repository.str() + reference.suffix(); }
  friend auto operator<=>(const ImageName&, const ImageName&) = default;
};

// [https://|http://]host[:port]/repository[:tag|@digest], as `transship copy` takes it. Plain HTTP
// only where written.
struct FullReference {
  bool plain_http = false;
  std::string host;  // host[:port], as written
  Repository repository;
  std::optional<Reference> reference;
  static Result<FullReference> parse(std::string_view text);
};

}  // namespace transship::oci
