#include "tests/support/memory_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "replicator/base/base64.h"
#include "replicator/oci/reference.h"
#include "tests/support/memory_registry_parts.h"

namespace transship::testing {

MemoryRegistry::MemoryRegistry(Traits traits)
    : traits_(std::move(traits)),
      host_([this](const HostRequest& request) { return handle(request); }) {
  host_.set_broken_off([this](const HostRequest& request) { broken_off(request); });
}

// --- what tests do and ask
// ----------------------------------------------------------------------------------------------

void MemoryRegistry::hold_all(Repository& repository, const TestImage& image) {
  for (const TestImage& child : image.children) hold_all(repository, child);
  for (const auto& [digest, bytes] : image.blobs) {
    repository.blobs.insert(digest);
    content_[digest] = bytes;
  }
  repository.manifests[image.digest()] = {image.manifest, image.media_type};
}

std::string MemoryRegistry::hold(const std::string& repository, const std::string& tag,
                                 const TestImage& image) {
  const std::lock_guard lock(mutex_);
  hold_all(repositories_[repository], image);
  if (!tag.empty()) repositories_[repository].tags[tag] = image.digest();
  return image.digest();
}

void MemoryRegistry::hold_by_digest(const std::string& repository, const std::string& digest,
                                    const TestImage& image) {
  const std::lock_guard lock(mutex_);
  hold_all(repositories_[repository], image);
  repositories_[repository].manifests.erase(image.digest());
  repositories_[repository].manifests[digest] = {image.manifest, image.media_type};
}

void MemoryRegistry::drop_blob(const std::string& repository, const std::string& digest) {
  const std::lock_guard lock(mutex_);
  repositories_[repository].blobs.erase(digest);
}

void MemoryRegistry::drop_tag(const std::string& repository, const std::string& tag) {
  const std::lock_guard lock(mutex_);
  repositories_[repository].tags.erase(tag);
}

void MemoryRegistry::drop_manifest(const std::string& repository, const std::string& digest) {
  const std::lock_guard lock(mutex_);
  repositories_[repository].manifests.erase(digest);
}

void MemoryRegistry::make_repository(const std::string& repository) {
  const std::lock_guard lock(mutex_);
  repositories_[repository];
}

std::string MemoryRegistry::digest_of(const std::string& repository, const std::string& tag) const {
  const std::lock_guard lock(mutex_);
  const auto found = repositories_.find(repository);
  return found == repositories_.end() ? std::string() : value_of(found->second.tags, tag);
}

std::string MemoryRegistry::media_type_of(const std::string& repository,
                                          const std::string& reference) const {
  const std::lock_guard lock(mutex_);
  const Stored* manifest = find(repository, reference);
  return manifest == nullptr ? std::string() : manifest->media_type;
}

std::string MemoryRegistry::manifest_of(const std::string& repository,
                                        const std::string& reference) const {
  const std::lock_guard lock(mutex_);
  const Stored* manifest = find(repository, reference);
  return manifest == nullptr ? std::string() : manifest->bytes;
}

const MemoryRegistry::Stored* MemoryRegistry::find(const std::string& repository,
                                                   const std::string& reference) const {
  const auto found = repositories_.find(repository);
  if (found == repositories_.end()) return nullptr;
  const std::string tagged = value_of(found->second.tags, reference);
  const auto manifest = found->second.manifests.find(tagged.empty() ? reference : tagged);
  return manifest == found->second.manifests.end() ? nullptr : &manifest->second;
}

std::size_t MemoryRegistry::open_uploads() const {
  const std::lock_guard lock(mutex_);
  std::size_t open = 0;
  for (const auto& [name, repository] : repositories_) open += repository.uploads.size();
  return open;
}

bool MemoryRegistry::has_blob(const std::string& repository, const std::string& digest) const {
  const std::lock_guard lock(mutex_);
  const auto found = repositories_.find(repository);
  return found != repositories_.end() && found->second.blobs.contains(digest);
}

void MemoryRegistry::set_fault(Fault fault) {
  const std::lock_guard lock(mutex_);
  fault_ = std::move(fault);
}

void MemoryRegistry::set_distortion(Distortion distortion) {
  const std::lock_guard lock(mutex_);
  distortion_ = std::move(distortion);
}

std::vector<MemoryRegistry::Seen> MemoryRegistry::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

void MemoryRegistry::forget_seen() {
  const std::lock_guard lock(mutex_);
  seen_.clear();
}

std::size_t MemoryRegistry::count(const std::string& method, const std::string& part) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::count_if(seen_.begin(), seen_.end(), [&](const Seen& request) {
        return request.method == method && request.path.find(part) != std::string::npos;
      }));
}

std::size_t MemoryRegistry::most_sends_of_one_blob() const {
  const std::lock_guard lock(mutex_);
  std::size_t most = 0;
  for (const auto& [blob, times] : sends_) most = std::max(most, times);
  return most;
}

// --- the protocol
// -------------------------------------------------------------------------------------------------------

HostReply MemoryRegistry::handle(const HostRequest& request) {
  Fault fault;
  Distortion distortion;
  {
    const std::lock_guard lock(mutex_);
    fault = fault_;
    distortion = distortion_;
  }
  HostReply reply;
  std::optional<HostReply> instead = fault ? fault(request) : std::nullopt;
  const std::lock_guard lock(mutex_);
  reply = instead ? std::move(*instead) : route(request);
  if (!instead && distortion) distortion(request, reply);
  seen_.push_back({request.method, request.path, request.query, request.headers,
                   request.body.size(), reply.status});
  return reply;
}

HostReply MemoryRegistry::route(const HostRequest& request) {
  if (request.path == "/token") return token(request);
  if (auto refused = refuse_unauthorized(request)) return *refused;
  if (request.path == "/v2/") return {200, {}, "{}"};
  if (request.path == "/v2/_catalog") return catalog(request);
  const auto place = place_of(request.path);
  if (!place || !oci::Repository::parse(place->name)) return refusal(404, "NAME_INVALID");
  if (place->kind == "manifests") return manifests(request, place->name, place->rest);
  if (place->kind == "tags") return list_tags(request, place->name);
  if (place->kind == "referrers") return list_referrers(request, place->name, place->rest);
  if (place->kind == "blobs") return blobs(request, place->name, place->rest);
  if (request.method == "POST" && place->rest.empty()) return start_upload(request, place->name);
  if (request.method == "PUT") return finish_upload(request, place->name, place->rest);
  if (request.method == "PATCH" && traits_.chunks)
    return add_chunk(request, place->name, place->rest);
  if (request.method == "GET") return upload_standing(request, place->name, place->rest);
  if (request.method == "DELETE") {
    return repositories_[place->name].uploads.erase(place->rest) > 0
               ? HostReply{204, {}, {}}
               : refusal(404, "BLOB_UPLOAD_UNKNOWN");
  }
  return refusal(405, "UNSUPPORTED");
}

std::optional<HostReply> MemoryRegistry::refuse_unauthorized(const HostRequest& request) {
  const std::string given = request.header("authorization");
  if (traits_.bearer_auth) {
    if (given == "Bearer good") return std::nullopt;
    const std::string realm = traits_.token_realm.empty() ? url() + "/token" : traits_.token_realm;
    HostReply reply = refusal(401, "UNAUTHORIZED");
    reply.headers.emplace_back("WWW-Authenticate",
                               fmt::format(R"(Bearer realm="{}",service="memory")", realm));
    return reply;
  }
  if (traits_.basic_auth.empty() || given == "Basic " + base64_encoded(traits_.basic_auth))
    return std::nullopt;
  HostReply reply = refusal(401, "UNAUTHORIZED");
  reply.headers.emplace_back("WWW-Authenticate", R"(Basic realm="memory")");
  return reply;
}

HostReply MemoryRegistry::token(const HostRequest& request) {
  if (!traits_.basic_auth.empty() &&
      request.header("authorization") != "Basic " + base64_encoded(traits_.basic_auth)) {
    return refusal(401, "UNAUTHORIZED");
  }
  return {200, {{"Content-Type", "application/json"}}, R"({"token":"good","expires_in":300})"};
}

HostReply MemoryRegistry::manifests(const HostRequest& request, const std::string& name,
                                    const std::string& reference) {
  if (!oci::Reference::parse(reference)) return refusal(400, "MANIFEST_INVALID");
  if (request.method == "PUT") return put_manifest(request, name, reference);
  if (request.method == "DELETE") return delete_manifest(name, reference);
  if (request.method != "GET" && request.method != "HEAD") return refusal(405, "UNSUPPORTED");
  const auto repository = repositories_.find(name);
  if (repository == repositories_.end()) return refusal(404, "NAME_UNKNOWN");
  const std::string tagged = value_of(repository->second.tags, reference);
  const auto found = repository->second.manifests.find(tagged.empty() ? reference : tagged);
  if (found == repository->second.manifests.end()) return refusal(404, "MANIFEST_UNKNOWN");
  if (request.header("accept").find(found->second.media_type) == std::string::npos) {
    return refusal(406, "MANIFEST_INVALID",
                   "the Accept header does not name " + found->second.media_type);
  }
  HostReply reply{200, {{"Content-Type", found->second.media_type}}, found->second.bytes};
  if (traits_.tells_digest) reply.headers.emplace_back("Docker-Content-Digest", found->first);
  return reply;
}

HostReply MemoryRegistry::put_manifest(const HostRequest& request, const std::string& name,
                                       const std::string& reference) {
  const auto parsed_reference = oci::Reference::parse(reference);
  const auto algorithm = parsed_reference->digest() != nullptr
                             ? parsed_reference->digest()->algorithm()
                             : oci::Algorithm::sha256;
  auto manifest = oci::parse_manifest(request.body, request.header("content-type"), algorithm);
  if (!manifest) return refusal(400, "MANIFEST_INVALID", manifest.error().message);
  if (parsed_reference->digest() != nullptr && *parsed_reference->digest() != manifest->digest) {
    return refusal(400, "DIGEST_INVALID");
  }
  Repository& repository = repositories_[name];
  for (const oci::Descriptor& blob : manifest->blobs) {
    if (!repository.blobs.contains(blob.digest.str()) && blob.urls.empty()) {
      return refusal(400, "MANIFEST_BLOB_UNKNOWN", blob.digest.str());
    }
    if (blob.urls.empty() && content_[blob.digest.str()].size() != blob.size)
      return refusal(400, "SIZE_INVALID");
  }
  for (const oci::Descriptor& child : manifest->manifests) {
    if (!repository.manifests.contains(child.digest.str())) {
      return refusal(400, "MANIFEST_BLOB_UNKNOWN", child.digest.str());
    }
  }
  if (auto refused = refuse_referrer(repository, *manifest)) return *refused;
  const std::string digest = manifest->digest.str();
  if (parsed_reference->tag() != nullptr) {
    const std::string before = value_of(repository.tags, reference);
    if (traits_.immutable_tags && !before.empty() && before != digest)
      return refusal(409, "TAG_INVALID", "immutable");
    repository.tags[reference] = digest;
  }
  repository.manifests[digest] = {request.body, request.header("content-type")};
  HostReply reply{201, {{"Location", fmt::format("/v2/{}/manifests/{}", name, digest)}}, {}};
  if (traits_.tells_digest) reply.headers.emplace_back("Docker-Content-Digest", digest);
  tell_subject(*manifest, reply);
  return reply;
}

HostReply MemoryRegistry::delete_manifest(const std::string& name, const std::string& reference) {
  if (!traits_.deletes) return refusal(405, "UNSUPPORTED");
  const auto repository = repositories_.find(name);
  if (repository == repositories_.end()) return refusal(404, "NAME_UNKNOWN");
  if (!oci::Digest::parse(reference)) {
    if (!traits_.deletes_tags) return refusal(400, "DIGEST_INVALID");
    return repository->second.tags.erase(reference) > 0 ? HostReply{202, {}, {}}
                                                        : refusal(404, "MANIFEST_UNKNOWN");
  }
  std::erase_if(repository->second.tags, [&](const auto& tag) { return tag.second == reference; });
  return repository->second.manifests.erase(reference) > 0 ? HostReply{202, {}, {}}
                                                           : refusal(404, "MANIFEST_UNKNOWN");
}

HostReply MemoryRegistry::list_tags(const HostRequest& request, const std::string& name) {
  const auto repository = repositories_.find(name);
  if (repository == repositories_.end()) return refusal(404, "NAME_UNKNOWN");
  std::size_t page = traits_.page_size;
  if (const std::string n = value_of(request.query, "n"); !n.empty())
    page = std::min<std::size_t>(page, std::stoul(n));
  nlohmann::json tags = nlohmann::json::array();
  HostReply reply{200, {{"Content-Type", "application/json"}}, {}};
  for (auto tag = repository->second.tags.upper_bound(value_of(request.query, "last"));
       tag != repository->second.tags.end(); ++tag) {
    if (tags.size() == page) {
      reply.headers.emplace_back(
          "Link", fmt::format(R"(</v2/{}/tags/list?n={}&last={}>; rel="next")", name, page,
                              tags.back().get<std::string>()));
      break;
    }
    tags.push_back(tag->first);
  }
  reply.body = nlohmann::json{{"name", name}, {"tags", tags}}.dump();
  return reply;
}

HostReply MemoryRegistry::catalog(const HostRequest&) {
  nlohmann::json names = nlohmann::json::array();
  for (const auto& [name, repository] : repositories_) names.push_back(name);
  return {
      200, {{"Content-Type", "application/json"}}, nlohmann::json{{"repositories", names}}.dump()};
}

}  // namespace transship::testing
