#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "replicator/oci/digest.h"

namespace transship::oci {

namespace media_type {
inline constexpr std::string_view oci_manifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view oci_index = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view oci_artifact = "application/vnd.oci.artifact.manifest.v1+json";
inline constexpr std::string_view docker_manifest =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view docker_list =
    "application/vnd.docker.distribution.manifest.list.v2+json";
}  // namespace media_type

// Every manifest type we can carry, as the value of an Accept header. Registries that are strict
// about Accept convert or refuse what is not named, so all are named, always.
std::string_view accept_header();

// OCI image-spec, descriptor.md.
struct Descriptor {
  std::string media_type;
  Digest digest;
  std::uint64_t size = 0;         // bytes
  std::vector<std::string> urls;  // where a non-distributable layer may be had instead
  std::string data;  // the content itself, where the descriptor embeds it (decoded, digest proven)

  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

struct ManifestLimits {
  std::size_t bytes =
      4UL << 20U;  // a registry must take 4 MiB (distribution-spec); nobody should send more
  std::size_t descriptors = 10'000;   // of one manifest
  std::size_t depth = 64;             // nesting of JSON
  std::size_t json_values = 500'000;  // what the parser may have to hold in memory
};

// A manifest or an index, with the bytes it was served as. They are never written anew: digest and
// media type at a target equal the source's.
struct Manifest {
  std::string bytes;
  Digest digest;
  std::string media_type;
  std::vector<Descriptor> blobs;      // an image's config and layers, in order; an artifact's blobs
  std::vector<Descriptor> manifests;  // an index's children, in order
  std::optional<Descriptor> subject;  // what this refers to (a signature's image)
  std::string artifact_type;
  std::map<std::string, std::string> annotations;  // those that are strings, as all should be

  [[nodiscard]] bool is_index() const;
  // What a list of referrers tells of it (distribution-spec, "Listing Referrers"): its
  // artifactType, else the media type of its config; may be empty.
  [[nodiscard]] std::string type_as_referrer() const;
};

// Reads a manifest strictly. `content_type` is what the registry served it as (empty where it said
// nothing): it must agree with the mediaType inside. Errors: invalid (breaks the format or a
// limit), unsupported (Docker schema 1).
Result<Manifest> parse_manifest(std::string bytes, std::string_view content_type,
                                Algorithm algorithm = Algorithm::sha256,
                                const ManifestLimits& limits = {});

}  // namespace transship::oci
