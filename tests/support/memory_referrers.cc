#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tests/support/memory_registry.h"

// The referrers API of the registry in memory (distribution-spec 1.1, "Listing Referrers").
namespace transship::testing {

namespace {

std::optional<oci::Manifest> parsed(const std::string& bytes, const std::string& media_type) {
  auto manifest = oci::parse_manifest(bytes, media_type);
  return manifest ? std::optional(std::move(*manifest)) : std::nullopt;
}

bool refers_to(const std::string& bytes, const std::string& media_type,
               const std::string& subject) {
  const auto manifest = parsed(bytes, media_type);
  return manifest && manifest->subject && manifest->subject->digest.str() == subject;
}

}  // namespace

bool MemoryRegistry::lists_referrer(const std::string& repository, const std::string& subject,
                                    const std::string& referrer) const {
  const std::lock_guard lock(mutex_);
  const Stored* manifest = find(repository, referrer);
  if (manifest == nullptr) return false;
  if (traits_.referrers_api) return refers_to(manifest->bytes, manifest->media_type, subject);
  const Stored* stored = find(repository, referrers_tag(subject));
  const auto index = stored == nullptr ? std::nullopt : parsed(stored->bytes, stored->media_type);
  return index && std::any_of(index->manifests.begin(), index->manifests.end(),
                              [&](const auto& entry) { return entry.digest.str() == referrer; });
}

std::vector<std::string> MemoryRegistry::tags_of(const std::string& repository) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> tags;
  const auto found = repositories_.find(repository);
  if (found == repositories_.end()) return tags;
  for (const auto& [tag, digest] : found->second.tags) tags.push_back(tag);
  return tags;
}

HostReply MemoryRegistry::list_referrers(const HostRequest& request, const std::string& name,
                                         const std::string& digest) {
  if (!traits_.referrers_api)
    return {404, {{"Content-Type", "text/plain"}}, "404 page not found\n"};
  if (request.method != "GET") return {405, {}, {}};
  if (!oci::Digest::parse(digest)) return {400, {}, {}};
  const auto last = request.query.find("last");
  nlohmann::json entries = nlohmann::json::array();
  HostReply reply{200, {{"Content-Type", std::string(oci::media_type::oci_index)}}, {}};
  const auto repository = repositories_.find(name);
  const std::map<std::string, Stored> none;
  for (const auto& [referrer, stored] :
       repository == repositories_.end() ? none : repository->second.manifests) {
    if (last != request.query.end() && referrer <= last->second) continue;
    if (!refers_to(stored.bytes, stored.media_type, digest)) continue;
    if (entries.size() == traits_.page_size) {
      reply.headers.emplace_back(
          "Link", fmt::format(R"(</v2/{}/referrers/{}?last={}>; rel="next")", name, digest,
                              entries.back()["digest"].get<std::string>()));
      break;
    }
    const auto manifest = parsed(stored.bytes, stored.media_type);
    entries.push_back({{"mediaType", stored.media_type},
                       {"digest", referrer},
                       {"size", stored.bytes.size()},
                       {"artifactType", manifest->type_as_referrer()},
                       {"annotations", manifest->annotations}});
  }
  reply.body = nlohmann::json{
      {"schemaVersion", 2},
      {"mediaType", oci::media_type::oci_index},
      {"manifests",
       entries}}.dump();
  return reply;
}

std::optional<HostReply> MemoryRegistry::refuse_referrer(const Repository& repository,
                                                         const oci::Manifest& manifest) const {
  if (!traits_.wants_subject || !manifest.subject ||
      repository.manifests.contains(manifest.subject->digest.str()))
    return std::nullopt;
  return HostReply{404,
                   {{"Content-Type", "application/json"}},
                   R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such subject"}]})"};
}

void MemoryRegistry::tell_subject(const oci::Manifest& manifest, HostReply& reply) const {
  if (traits_.referrers_api && traits_.tells_subject && manifest.subject)
    reply.headers.emplace_back("OCI-Subject", manifest.subject->digest.str());
}

}  // namespace transship::testing
