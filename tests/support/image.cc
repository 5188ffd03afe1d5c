#include "tests/support/image.h"

#include <fmt/format.h>

#include <random>
#include <stdexcept>

#include "tests/support/http.h"

namespace transship::testing {

namespace {

constexpr std::string_view config_type = "application/vnd.oci.image.config.v1+json";
constexpr std::string_view layer_type = "application/vnd.oci.image.layer.v1.tar";

std::string descriptor(std::string_view type, const std::string& digest, std::size_t size) {
  return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":{}}})", type, digest, size);
}

std::vector<std::string> accept() { return {"Accept: " + std::string(oci::accept_header())}; }

[[noreturn]] void refuse(const std::string& what, const HttpAnswer& answer) {
  throw std::runtime_error(fmt::format("{}: {} {}", what, answer.status, answer.body));
}

}  // namespace

std::string noise(std::uint64_t seed, std::size_t bytes) {
  std::mt19937_64 random(seed);
  std::string out(bytes, '\0');
  for (std::size_t i = 0; i < bytes; i += 8) {
    const std::uint64_t word = random();
    for (std::size_t k = 0; k < 8 && i + k < bytes; ++k)
      out[i + k] = static_cast<char>(word >> (8 * k));
  }
  return out;
}

TestImage make_image_of(std::vector<std::string> layers, std::uint64_t seed) {
  TestImage image;
  const std::string config =
      fmt::format(R"({{"architecture":"amd64","os":"linux","seed":{}}})", seed);
  const std::string config_digest = oci::Digest::of(config).str();
  std::string list;
  for (std::string& layer : layers) {
    const std::string digest = oci::Digest::of(layer).str();
    list += (list.empty() ? "" : ",") + descriptor(layer_type, digest, layer.size());
    image.blobs[digest] = std::move(layer);
  }
  image.manifest = fmt::format(
      R"({{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}})",
      oci::media_type::oci_manifest, descriptor(config_type, config_digest, config.size()), list);
  image.blobs[config_digest] = config;
  return image;
}

TestImage make_image(std::uint64_t seed, const std::vector<std::size_t>& layer_bytes) {
  std::vector<std::string> layers;
  layers.reserve(layer_bytes.size());
  for (std::size_t i = 0; i < layer_bytes.size(); ++i)
    layers.push_back(noise(seed * 1000 + i, layer_bytes[i]));
  return make_image_of(std::move(layers), seed);
}

TestImage make_index(std::vector<TestImage> children) {
  TestImage index;
  index.media_type = oci::media_type::oci_index;
  std::string list;
  for (const TestImage& child : children) {
    list += (list.empty() ? "" : ",") +
            descriptor(child.media_type, child.digest(), child.manifest.size());
  }
  index.manifest = fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}})",
                               oci::media_type::oci_index, list);
  index.children = std::move(children);
  return index;
}

TestImage make_referrer(const TestImage& subject, const std::string& artifact_type,
                        std::uint64_t seed) {
  TestImage referrer;
  const std::string config = "{}";
  const std::string content = noise(seed + 5000, 100);
  const std::string config_digest = oci::Digest::of(config).str();
  const std::string content_digest = oci::Digest::of(content).str();
  referrer.blobs[config_digest] = config;
  referrer.blobs[content_digest] = content;
  referrer.manifest = fmt::format(
      R"({{"schemaVersion":2,"mediaType":"{}","artifactType":"{}","config":{},"layers":[{}],"subject":{},"annotations":{{"seed":"{}"}}}})",
      oci::media_type::oci_manifest, artifact_type,
      descriptor("application/vnd.oci.empty.v1+json", config_digest, config.size()),
      descriptor("application/octet-stream", content_digest, content.size()),
      descriptor(subject.media_type, subject.digest(), subject.manifest.size()), seed);
  return referrer;
}

TestImage make_signature(std::uint64_t seed) {
  return make_image_of({noise(seed + 9000, 120)}, seed + 9000);
}

std::string referrers_tag(const std::string& digest, const std::string& suffix) {
  std::string tag = digest;
  tag[tag.find(':')] = '-';
  return suffix.empty() ? tag : tag + "." + suffix;
}

void push_blobs(const std::string& registry, const std::string& repository,
                const TestImage& image) {
  for (const TestImage& child : image.children) push_blobs(registry, repository, child);
  for (const auto& [digest, content] : image.blobs) {
    const auto started = http("POST", fmt::format("{}/v2/{}/blobs/uploads/", registry, repository));
    if (started.status != 202) refuse("start an upload", started);
    std::string location = started.headers.at("location");
    if (location.starts_with('/')) location = registry + location;
    location += (location.find('?') == std::string::npos ? "?digest=" : "&digest=") + digest;
    const auto sent = http("PUT", location, content, {"Content-Type: application/octet-stream"});
    if (sent.status != 201) refuse("upload a blob", sent);
  }
}

void push_manifest(const std::string& registry, const std::string& repository,
                   const std::string& reference, const TestImage& image) {
  const auto put =
      http("PUT", fmt::format("{}/v2/{}/manifests/{}", registry, repository, reference),
           image.manifest, {"Content-Type: " + image.media_type});
  if (put.status != 201) refuse("put a manifest", put);
}

std::string push(const std::string& registry, const std::string& repository, const std::string& tag,
                 const TestImage& image) {
  push_blobs(registry, repository, image);
  for (const TestImage& child : image.children)
    push_manifest(registry, repository, child.digest(), child);
  push_manifest(registry, repository, tag, image);
  return image.digest();
}

std::string digest_at(const std::string& registry, const std::string& repository,
                      const std::string& reference) {
  const auto head = http(
      "HEAD", fmt::format("{}/v2/{}/manifests/{}", registry, repository, reference), {}, accept());
  const auto digest = head.headers.find("docker-content-digest");
  return head.status == 200 && digest != head.headers.end() ? digest->second : std::string();
}

std::string incompleteness(const std::string& registry, const std::string& repository,
                           const std::string& reference) {
  const auto got = http(
      "GET", fmt::format("{}/v2/{}/manifests/{}", registry, repository, reference), {}, accept());
  if (got.status != 200) return fmt::format("manifest {}: {}", reference, got.status);
  auto manifest = oci::parse_manifest(got.body, got.headers.at("content-type"));
  if (!manifest) return manifest.error().message;
  for (const oci::Descriptor& child : manifest->manifests) {
    std::string missing = incompleteness(registry, repository, child.digest.str());
    if (!missing.empty()) return missing;
  }
  for (const oci::Descriptor& blob : manifest->blobs) {
    const auto content =
        http("GET", fmt::format("{}/v2/{}/blobs/{}", registry, repository, blob.digest.str()));
    if (content.status != 200) return fmt::format("blob {}: {}", blob.digest.str(), content.status);
    if (oci::Digest::of(content.body) != blob.digest)
      return fmt::format("blob {}: wrong bytes", blob.digest.str());
  }
  return {};
}

}  // namespace transship::testing
