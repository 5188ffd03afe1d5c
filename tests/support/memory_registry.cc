#include "tests/support/memory_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "replicator/base/base64.h"
#include "replicator/oci/reference.h"

namespace transship::testing {

namespace {

HostReply refusal(int status, const std::string& code, const std::string& message = "refused") {
  const nlohmann::json body{{"errors", {{{"code", code}, {"message", message}}}}};
  return {status, {{"Content-Type", "application/json"}}, body.dump()};
}

std::string value_of(const std::map<std::string, std::string>& map, const std::string& key) {
  const auto found = map.find(key);
  return found == map.end() ? std::string() : found->second;
}

// /v2/<name>/<kind>/<rest>
struct Place {
  std::string name;
  std::string kind;
  std::string rest;
};
std::optional<Place> place_of(const std::string& path) {
  for (const char* kind : {"/manifests/", "/blobs/uploads/", "/blobs/", "/tags/", "/referrers/"}) {
    const std::size_t at = path.rfind(kind);
    if (at == std::string::npos || at < 4) continue;
    const std::size_t length = std::char_traits<char>::length(kind);
    return Place{path.substr(4, at - 4), std::string(kind).substr(1, length - 2),
                 path.substr(at + length)};
  }
  return std::nullopt;
}

}  // namespace

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

HostReply MemoryRegistry::blobs(const HostRequest& request, const std::string& name,
                                const std::string& digest) {
  if (request.method != "GET" && request.method != "HEAD") return refusal(405, "UNSUPPORTED");
  const auto repository = repositories_.find(name);
  if (repository == repositories_.end() || !repository->second.blobs.contains(digest)) {
    return refusal(404, "BLOB_UNKNOWN");
  }
  if (request.method == "GET" && !traits_.blob_redirect.empty()) {
    return {307, {{"Location", traits_.blob_redirect + "/content/" + digest}}, {}};
  }
  HostReply reply{200,
                  {{"Content-Type", "application/octet-stream"}, {"Docker-Content-Digest", digest}},
                  content_[digest]};
  const std::string range = request.header("range");
  if (traits_.ranges && range.starts_with("bytes=")) {
    const std::size_t size = reply.body.size();
    const std::size_t dash = range.find('-');
    const std::size_t first = std::stoul(range.substr(6, dash - 6));
    const std::string last_text = range.substr(dash + 1);
    if (first >= size) return refusal(416, "RANGE_INVALID");
    const std::size_t last =
        last_text.empty() ? size - 1 : std::min(std::stoul(last_text), size - 1);
    reply.status = 206;
    reply.body = reply.body.substr(first, last - first + 1);
    reply.headers.emplace_back("Content-Range", fmt::format("bytes {}-{}/{}", first, last, size));
  }
  if (request.method == "GET") reply.sent = served_;
  return reply;
}

std::uint64_t MemoryRegistry::blob_bytes_served() const { return *served_; }

std::uint64_t MemoryRegistry::blob_bytes_received() const {
  const std::lock_guard lock(mutex_);
  return received_;
}

HostReply MemoryRegistry::start_upload(const HostRequest& request, const std::string& name) {
  if (!repositories_.contains(name) && !traits_.creates_repositories) {
    return refusal(404, "NAME_UNKNOWN", "the repository does not exist");
  }
  const std::string mount = value_of(request.query, "mount");
  const std::string from = value_of(request.query, "from");
  if (!mount.empty() && !oci::Digest::parse(mount)) return refusal(400, "DIGEST_INVALID");
  const auto other = repositories_.find(from);
  const bool can = traits_.mounts && (from != name || traits_.mounts_from_itself);
  if (!mount.empty() && can && other != repositories_.end() &&
      other->second.blobs.contains(mount)) {
    repositories_[name].blobs.insert(mount);
    return {201, {{"Location", fmt::format("/v2/{}/blobs/{}", name, mount)}}, {}};
  }
  const std::string id = fmt::format("upload-{}", ++next_upload_);
  repositories_[name].uploads[id] = {};
  HostReply reply{202, {{"Location", upload_location(name, id)}, {"Range", "0-0"}}, {}};
  if (traits_.chunk_bytes_min > 0) {
    reply.headers.emplace_back("OCI-Chunk-Min-Length", std::to_string(traits_.chunk_bytes_min));
  }
  return reply;
}

// As docker-registry does: the location says where the upload stands, and only that one goes on.
std::string MemoryRegistry::upload_location(const std::string& name, const std::string& id) {
  const std::string location = fmt::format("/v2/{}/blobs/uploads/{}?_state=a%2Bb%3D%3D&x={}", name,
                                           id, repositories_[name].uploads[id].size());
  return traits_.relative_locations ? location : url() + location;
}

HostReply MemoryRegistry::upload_standing(const HostRequest& request, const std::string& name,
                                          const std::string& id) {
  Repository& repository = repositories_[name];
  if (!repository.uploads.contains(id) || traits_.chunks_as_ecr)
    return refusal(404, "BLOB_UPLOAD_UNKNOWN");
  const std::size_t size = repository.uploads[id].size();
  if (!traits_.keeps_broken_chunks && value_of(request.query, "x") != std::to_string(size))
    return refusal(404, "BLOB_UPLOAD_INVALID");
  return {204,
          {{"Location", upload_location(name, id)},
           {"Range", fmt::format("0-{}", size == 0 ? 0 : size - 1)}},
          {}};
}

HostReply MemoryRegistry::add_chunk(const HostRequest& request, const std::string& name,
                                    const std::string& id) {
  received_ += request.body.size();
  Repository& repository = repositories_[name];
  if (!repository.uploads.contains(id)) return refusal(404, "BLOB_UPLOAD_UNKNOWN");
  std::string& have = repository.uploads[id];
  if (value_of(request.query, "_state") != "a+b==" ||
      value_of(request.query, "x") != std::to_string(have.size()))
    return refusal(404, "BLOB_UPLOAD_INVALID");
  const std::string range = request.header("content-range");
  if (range != fmt::format("{}-{}", have.size(), have.size() + request.body.size() - 1))
    return refusal(416, "BLOB_UPLOAD_INVALID");
  have += request.body;
  return {
      202,
      {{"Location", upload_location(name, id)}, {"Range", fmt::format("0-{}", have.size() - 1)}},
      {}};
}

void MemoryRegistry::broken_off(const HostRequest& request) {
  const std::lock_guard lock(mutex_);
  const auto place = place_of(request.path);
  if (!place || place->kind != "blobs/uploads") return;
  received_ += request.body.size();
  seen_.push_back(
      {request.method, request.path, request.query, request.headers, request.body.size(), 499});
  Repository& repository = repositories_[place->name];
  if (repository.uploads.contains(place->rest)) repository.uploads[place->rest] += request.body;
}

HostReply MemoryRegistry::finish_upload(const HostRequest& request, const std::string& name,
                                        const std::string& id) {
  received_ += request.body.size();
  Repository& repository = repositories_[name];
  if (!repository.uploads.contains(id)) return refusal(404, "BLOB_UPLOAD_UNKNOWN");
  std::string whole = repository.uploads[id] + request.body;
  if (value_of(request.query, "_state") != "a+b==" ||
      value_of(request.query, "x") != std::to_string(repository.uploads[id].size()))
    return refusal(400, "BLOB_UPLOAD_INVALID", "the state was changed");
  const std::string wanted = value_of(request.query, "digest");
  auto digest = oci::Digest::parse(wanted);
  if (!digest || oci::Digest::of(whole, digest->algorithm()) != *digest)
    return refusal(400, "DIGEST_INVALID");
  repository.uploads.erase(id);
  ++sends_[name + "@" + wanted];
  repository.blobs.insert(wanted);
  content_[wanted] = std::move(whole);
  return {201,
          {{"Location", fmt::format("/v2/{}/blobs/{}", name, wanted)},
           {"Docker-Content-Digest", wanted}},
          {}};
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
