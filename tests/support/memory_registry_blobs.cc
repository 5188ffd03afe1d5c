#include <fmt/format.h>

#include <algorithm>

#include "tests/support/memory_registry.h"
#include "tests/support/memory_registry_parts.h"

// Blobs and uploads of the registry in memory.
namespace transship::testing {

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

}  // namespace transship::testing
