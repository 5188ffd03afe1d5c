// Two halves of a registry without a disk, for blobs that are larger than it: bench_endless PORT
// LAYERS MIB_PER_LAYER. As a source it shows one image, bench/endless:v0, whose layers it makes up
// as they are read, in ranges too. As a target it takes any upload, in chunks too, throws it away
// and believes its digest. It prints a line once it listens, and runs until it is killed.
#include <fmt/format.h>
#include <microhttpd.h>
#include <netinet/in.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "tests/support/image.h"

namespace {

using transship::oci::Digest;

constexpr std::uint64_t block_bytes = 1UL << 20U;

// A layer is one block over and over; its first eight bytes count the blocks.
struct Layer {
  std::string block;
  std::uint64_t bytes = 0;
  std::string digest;

  void read(std::uint64_t position, char* into, std::size_t size) const {
    while (size > 0) {
      const std::uint64_t within = position % block_bytes;
      const std::size_t part = std::min<std::uint64_t>(size, block_bytes - within);
      std::memcpy(into, block.data() + within, part);
      position += part;
      into += part;
      size -= part;
    }
  }
  void hash() {
    transship::oci::Hasher hasher(transship::oci::Algorithm::sha256);
    for (std::uint64_t done = 0; done < bytes; done += block_bytes) hasher.update(block);
    digest = hasher.finish().str();
  }
};

struct Registry {
  std::vector<Layer> layers;
  std::string manifest;
  std::string manifest_digest;
  std::string config;
  std::mutex mutex;
  std::map<std::string, std::uint64_t> uploads;  // bytes received
  std::map<std::string, std::string> tags;       // that were put
  std::uint64_t next_upload = 0;

  const Layer* find(const std::string& digest) const {
    for (const Layer& layer : layers)
      if (layer.digest == digest) return &layer;
    return nullptr;
  }
};

struct Request {
  std::string body;  // of manifests
  std::uint64_t bytes = 0;
};

struct Reading {
  const Layer* layer;
  std::uint64_t from;
};
ssize_t read_layer(void* self, std::uint64_t position, char* into, std::size_t room) {
  const auto& reading = *static_cast<Reading*>(self);
  reading.layer->read(reading.from + position, into, room);
  return static_cast<ssize_t>(room);
}

MHD_Result answer(MHD_Connection* connection, int status, MHD_Response* response,
                  const std::vector<std::pair<std::string, std::string>>& headers) {
  for (const auto& [name, value] : headers)
    MHD_add_response_header(response, name.c_str(), value.c_str());
  const MHD_Result queued = MHD_queue_response(connection, static_cast<unsigned>(status), response);
  MHD_destroy_response(response);
  return queued;
}

MHD_Result answer_text(MHD_Connection* connection, int status, std::string text,
                       const std::vector<std::pair<std::string, std::string>>& headers = {}) {
  return answer(connection, status,
                MHD_create_response_from_buffer(text.size(), text.data(), MHD_RESPMEM_MUST_COPY),
                headers);
}

MHD_Result serve_blob(Registry& registry, MHD_Connection* connection, const std::string& digest) {
  if (digest == Digest::of(registry.config).str())
    return answer_text(connection, 200, registry.config);
  const Layer* layer = registry.find(digest);
  if (layer == nullptr || layer->bytes == 0) return answer_text(connection, 404, "{}");
  std::uint64_t first = 0;
  std::uint64_t last = layer->bytes - 1;
  const char* range = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Range");
  if (range != nullptr && std::strncmp(range, "bytes=", 6) == 0) {
    char* end = nullptr;
    first = std::strtoull(range + 6, &end, 10);
    if (end != nullptr && end[0] == '-' && end[1] != '\0')
      last = std::strtoull(end + 1, nullptr, 10);
  }
  MHD_Response* response = MHD_create_response_from_callback(
      last - first + 1, 256UL << 10U, &read_layer, new Reading{layer, first},
      [](void* reading) { delete static_cast<Reading*>(reading); });
  return answer(connection, range != nullptr ? 206 : 200, response,
                {{"Content-Range", fmt::format("bytes {}-{}/{}", first, last, layer->bytes)}});
}

MHD_Result serve_manifest(Registry& registry, MHD_Connection* connection, const std::string& method,
                          const std::string& reference, const Request& request) {
  const std::string type = "application/vnd.oci.image.manifest.v1+json";
  if (method == "PUT") {
    const std::string digest = Digest::of(request.body).str();
    const std::lock_guard lock(registry.mutex);
    registry.tags[reference] = digest;
    return answer_text(connection, 201, "", {{"Docker-Content-Digest", digest}});
  }
  if (reference != "v0" && reference != registry.manifest_digest)
    return answer_text(connection, 404, "{}");
  return answer_text(connection, 200, registry.manifest,
                     {{"Content-Type", type}, {"Docker-Content-Digest", registry.manifest_digest}});
}

MHD_Result serve_upload(Registry& registry, MHD_Connection* connection, const std::string& method,
                        const std::string& path, const Request& request) {
  const std::lock_guard lock(registry.mutex);
  if (method == "POST") {
    const std::string id = std::to_string(++registry.next_upload);
    registry.uploads[id] = 0;
    return answer_text(connection, 202, "", {{"Location", path + id}, {"Range", "0-0"}});
  }
  std::uint64_t& have = registry.uploads[path.substr(path.rfind('/') + 1)];
  have += request.bytes;
  const std::string range = fmt::format("0-{}", have == 0 ? 0 : have - 1);
  if (method == "PUT") return answer_text(connection, 201, "");
  return answer_text(connection, method == "PATCH" ? 202 : 204, "",
                     {{"Location", path}, {"Range", range}});
}

MHD_Result on_request(void* self, MHD_Connection* connection, const char* url, const char* method,
                      const char*, const char* data, std::size_t* size, void** slot) {
  auto& registry = *static_cast<Registry*>(self);
  auto* request = static_cast<Request*>(*slot);
  if (request == nullptr) {
    *slot = new Request;
    return MHD_YES;
  }
  const std::string path = url;
  if (*size > 0) {
    if (path.find("/manifests/") != std::string::npos) request->body.append(data, *size);
    request->bytes += *size;
    *size = 0;
    return MHD_YES;
  }
  const std::string last = path.substr(path.rfind('/') + 1);
  if (path.find("/blobs/uploads/") != std::string::npos)
    return serve_upload(registry, connection, method, path, *request);
  if (path.find("/manifests/") != std::string::npos)
    return serve_manifest(registry, connection, method, last, *request);
  if (path.find("/blobs/") != std::string::npos)
    return std::string(method) == "HEAD" ? answer_text(connection, 404, "")
                                         : serve_blob(registry, connection, last);
  return answer_text(connection, path == "/v2/" ? 200 : 404, "{}");
}

void make_image(Registry& registry, std::uint64_t layers, std::uint64_t bytes) {
  registry.layers.resize(layers);
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < layers; ++i) {
    registry.layers[i] = {transship::testing::noise(i + 1, block_bytes), bytes, {}};
    threads.emplace_back([&layer = registry.layers[i]] { layer.hash(); });
  }
  for (std::thread& thread : threads) thread.join();
  registry.config = "{}";
  nlohmann::json manifest{{"schemaVersion", 2},
                          {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                          {"config",
                           {{"mediaType", "application/vnd.oci.image.config.v1+json"},
                            {"digest", Digest::of(registry.config).str()},
                            {"size", registry.config.size()}}},
                          {"layers", nlohmann::json::array()}};
  for (const Layer& layer : registry.layers) {
    manifest["layers"].push_back({{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                                  {"digest", layer.digest},
                                  {"size", layer.bytes}});
  }
  registry.manifest = manifest.dump();
  registry.manifest_digest = Digest::of(registry.manifest).str();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: {} PORT LAYERS MIB_PER_LAYER\n", argv[0]);
    return 2;
  }
  Registry registry;
  make_image(registry, std::strtoull(argv[2], nullptr, 10),
             std::strtoull(argv[3], nullptr, 10) * block_bytes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::strtoul(argv[1], nullptr, 10)));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  MHD_Daemon* daemon = MHD_start_daemon(
      MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, 0, nullptr,
      nullptr, &on_request, &registry, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_NOTIFY_COMPLETED,
      +[](void*, MHD_Connection*, void** slot, MHD_RequestTerminationCode) {
        delete static_cast<Request*>(*slot);
        *slot = nullptr;
      },
      nullptr, MHD_OPTION_CONNECTION_MEMORY_LIMIT, std::size_t{262'144}, MHD_OPTION_END);
  if (daemon == nullptr) {
    fmt::print(stderr, "port {} cannot be listened on\n", argv[1]);
    return 1;
  }
  fmt::print("listening\n");
  std::fflush(stdout);
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}
