#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "replicator/oci/manifest.h"

namespace transship::testing {

// An image made for a test: its manifest and the content that it reaches.
struct TestImage {
  std::string manifest;
  std::string media_type{oci::media_type::oci_manifest};
  std::map<std::string, std::string> blobs;  // by digest
  std::vector<TestImage> children;           // of an index

  [[nodiscard]] std::string digest() const { return oci::Digest::of(manifest).str(); }
};

// Bytes that are the same for the same seed and look random to everyone else.
std::string noise(std::uint64_t seed, std::size_t bytes);

// An image with a config and one layer a size; the seed makes it different from others.
TestImage make_image(std::uint64_t seed,
                     const std::vector<std::size_t>& layer_bytes = {1000, 2000});
TestImage make_image_of(std::vector<std::string> layers, std::uint64_t seed);
TestImage make_index(std::vector<TestImage> children);
// What refers to `subject` (an artifact of this type with one blob, as ORAS and notation make
// them).
TestImage make_referrer(const TestImage& subject, const std::string& artifact_type,
                        std::uint64_t seed);
// A signature, attestation … as cosign keeps it under a tag: it names no subject.
TestImage make_signature(std::uint64_t seed);
// "sha256-<hex>", behind which a suffix may come.
std::string referrers_tag(const std::string& digest, const std::string& suffix = {});

// Pushes as `docker push` does: blobs, then children, then the manifest under the tag. `registry`
// is http://host:port. Returns the digest; throws where the registry refuses.
std::string push(const std::string& registry, const std::string& repository, const std::string& tag,
                 const TestImage& image);
void push_blobs(const std::string& registry, const std::string& repository, const TestImage& image);
void push_manifest(const std::string& registry, const std::string& repository,
                   const std::string& reference, const TestImage& image);

// The digest that the registry shows under a tag, empty where there is none.
std::string digest_at(const std::string& registry, const std::string& repository,
                      const std::string& reference);
// Whether everything that the reference reaches is there, each blob read and hashed. Empty when
// complete, else what is missing.
std::string incompleteness(const std::string& registry, const std::string& repository,
                           const std::string& reference);

}  // namespace transship::testing
