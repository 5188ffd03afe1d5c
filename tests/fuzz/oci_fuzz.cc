// Any bytes as a manifest, a reference or a digest: nothing crashes, and what is accepted means
// what it says.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "replicator/oci/manifest.h"
#include "replicator/oci/reference.h"
#include "replicator/oci/referrers_index.h"
#include "replicator/oci/referrers_tag.h"

namespace {

using namespace transship;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_descriptor(const oci::Descriptor& descriptor) {
  require(oci::Digest::parse(descriptor.digest.str()).has_value());
  require(descriptor.size <= INT64_MAX);
  if (descriptor.data.empty()) return;
  require(descriptor.data.size() == descriptor.size);
  require(oci::Digest::of(descriptor.data, descriptor.digest.algorithm()) == descriptor.digest);
}

// Whatever others wrote under a fallback tag, it is refused, or goes on with one entry more.
void check_index_of_referrers(const oci::Manifest& existing) {
  const auto referrer = std::make_shared<const oci::Manifest>(
      *oci::parse_manifest(R"({"schemaVersion":2,"manifests":[]})", oci::media_type::oci_index));
  const auto index = oci::referrers_index_with(&existing, {referrer});
  if (index && *index) require((*index)->manifests.size() == existing.manifests.size() + 1);
}

void check_manifest(std::string_view content_type, std::string_view bytes) {
  const auto manifest = oci::parse_manifest(std::string(bytes), content_type);
  if (!manifest) return;
  require(manifest->bytes == bytes);
  require(manifest->digest == oci::Digest::of(bytes));
  require(manifest->is_index() ? manifest->blobs.empty() : manifest->manifests.empty());
  require(oci::accept_header().find(manifest->media_type) != std::string_view::npos);
  for (const auto& blob : manifest->blobs) check_descriptor(blob);
  for (const auto& child : manifest->manifests) check_descriptor(child);
  if (manifest->subject) check_descriptor(*manifest->subject);
  check_index_of_referrers(*manifest);
}

// A tag that stands for referrers leads to its subject's digest and back.
void check_referrers_tag(std::string_view text) {
  const auto tag = oci::ReferrersTag::parse(text);
  if (!tag) return;
  require(text == tag->subject + (tag->is_index() ? "" : "." + tag->suffix));
  if (const auto digest = tag->digest()) require(tag->refers_to(*digest));
}

// What is accepted ends up in URLs: nothing in it needs an escape, and it reads back as itself.
void check_references(std::string_view text) {
  const auto harmless = [](const std::string& name) {
    return name.find_first_of("?#%& \r\n\\\"<>@") == std::string::npos &&
           name.find("..") == std::string::npos;
  };
  if (const auto repository = oci::Repository::parse(text)) require(harmless(repository->str()));
  if (const auto reference = oci::Reference::parse(text)) {
    require(reference->str() == text);
    require((reference->tag() != nullptr) != (reference->digest() != nullptr));
  }
  if (const auto name = oci::ImageName::parse(text)) {
    require(harmless(name->repository.str()));
    require(name->str() == text);
  }
  if (const auto full = oci::FullReference::parse(text)) {
    require(!full->host.empty() && full->host.find_first_of("/?#@ ") == std::string::npos);
    std::string again = (full->plain_http ? "http://" : "https://") + full->host + "/";
    again += full->repository.str();
    if (full->reference) again += full->reference->suffix();
    const auto twin = oci::FullReference::parse(again);
    require(twin && twin->host == full->host && twin->repository == full->repository &&
            twin->reference == full->reference && twin->plain_http == full->plain_http);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr std::string_view types[] = {"",
                                        oci::media_type::oci_manifest,
                                        oci::media_type::oci_index,
                                        oci::media_type::docker_manifest,
                                        oci::media_type::docker_list,
                                        oci::media_type::oci_artifact,
                                        "application/json; charset=utf-8"};
  check_references(text);
  check_referrers_tag(text);
  check_manifest(types[data[0] % std::size(types)], text);
  return 0;
}
