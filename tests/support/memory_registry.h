#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/support/http_host.h"
#include "tests/support/image.h"

namespace transship::testing {

// A registry in memory that is stricter than real ones: it refuses a manifest when anything that it
// refers to is missing, checks every digest, every length and every Accept, and remembers every
// request. It misbehaves as it is told.
class MemoryRegistry {
 public:
  struct Traits {
    bool mounts = true;              // else 202 to every mount
    bool mounts_from_itself = true;  // else 202 to a mount from the repository it goes to
    bool tells_digest = true;        // Docker-Content-Digest
    bool creates_repositories =
        true;  // else a push to a repository that was not made is 404 NAME_UNKNOWN
    bool immutable_tags = false;
    bool deletes = true;       // of manifests; else 405
    bool deletes_tags = true;  // else 400 to a tag, as docker-registry 2 answers
    bool relative_locations = true;
    std::string basic_auth;  // user:password that every request needs
    bool bearer_auth =
        false;  // tokens from its own /token, for which basic_auth is asked where it is set
    std::string token_realm;       // instead of its own
    std::string blob_redirect;     // where GETs of blobs are redirected to: scheme://host:port
    std::size_t page_size = 1000;  // of lists, at most
    bool referrers_api = false;    // else 404 to every list of referrers
    bool tells_subject = true;     // OCI-Subject, where it has the API
    bool wants_subject = false;    // refuses what refers to a manifest that it does not hold
    bool ranges = true;            // of blobs
    bool chunks = true;            // of uploads
    bool keeps_broken_chunks =
        true;  // else an upload whose chunk broke cannot go on (docker-registry)
    // As Amazon ECR takes chunks: 201, a Range that stays at the first one's end, none under 5 MiB
    // but the last, and no word on where an upload stands.
    bool chunks_as_ecr = false;
    std::size_t chunk_bytes_min = 0;  // OCI-Chunk-Min-Length
  };
  // What is done to a request instead of, or with, the usual. nullopt: the usual.
  using Fault = std::function<std::optional<HostReply>(const HostRequest&)>;
  // Changes the usual reply.
  using Distortion = std::function<void(const HostRequest&, HostReply&)>;

  struct Seen {
    std::string method;
    std::string path;
    std::map<std::string, std::string> query;
    std::map<std::string, std::string> headers;
    std::size_t body_bytes;
    int status;
  };

  MemoryRegistry() : MemoryRegistry(Traits{}) {}
  explicit MemoryRegistry(Traits traits);

  [[nodiscard]] std::string url() const { return host_.url(); }
  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(host_.port()); }

  // Puts an image there as if it had been pushed long ago.
  std::string hold(const std::string& repository, const std::string& tag, const TestImage& image);
  // The same, its manifest under this digest alone (of another algorithm than sha256).
  void hold_by_digest(const std::string& repository, const std::string& digest,
                      const TestImage& image);
  void drop_blob(const std::string& repository, const std::string& digest);
  void drop_tag(const std::string& repository, const std::string& tag);
  void drop_manifest(const std::string& repository, const std::string& digest);
  void make_repository(const std::string& repository);
  [[nodiscard]] std::string digest_of(const std::string& repository, const std::string& tag) const;
  [[nodiscard]] std::string media_type_of(const std::string& repository,
                                          const std::string& reference) const;
  [[nodiscard]] std::string manifest_of(const std::string& repository,
                                        const std::string& reference) const;
  // Whether it would list this one among what refers to the subject.
  [[nodiscard]] bool lists_referrer(const std::string& repository, const std::string& subject,
                                    const std::string& referrer) const;
  [[nodiscard]] std::vector<std::string> tags_of(const std::string& repository) const;
  [[nodiscard]] bool has_blob(const std::string& repository, const std::string& digest) const;
  // Upload sessions that were opened, and neither finished nor deleted.
  [[nodiscard]] std::size_t open_uploads() const;

  void set_fault(Fault fault);
  void set_distortion(Distortion distortion);
  // Looks at bodies as they come; false cuts the connection.
  void set_watch(HttpHost::Watch watch) { host_.set_watch(std::move(watch)); }
  // Bytes of blobs that were served, and that came with uploads (those of broken requests too).
  [[nodiscard]] std::uint64_t blob_bytes_served() const;
  [[nodiscard]] std::uint64_t blob_bytes_received() const;
  [[nodiscard]] std::vector<Seen> seen() const;
  void forget_seen();
  // How many requests of this method whose path holds `part` there were.
  [[nodiscard]] std::size_t count(const std::string& method, const std::string& part = {}) const;
  // How often the blob that was sent most often to one repository was sent there.
  [[nodiscard]] std::size_t most_sends_of_one_blob() const;

 private:
  struct Stored {
    std::string bytes;
    std::string media_type;
  };
  struct Repository {
    std::map<std::string, Stored> manifests;  // by digest
    std::map<std::string, std::string> tags;
    std::set<std::string> blobs;
    std::map<std::string, std::string> uploads;  // id to what was received
  };

  HostReply handle(const HostRequest& request);
  HostReply route(const HostRequest& request);
  std::optional<HostReply> refuse_unauthorized(const HostRequest& request);
  HostReply token(const HostRequest& request);
  HostReply manifests(const HostRequest& request, const std::string& name,
                      const std::string& reference);
  HostReply put_manifest(const HostRequest& request, const std::string& name,
                         const std::string& reference);
  HostReply delete_manifest(const std::string& name, const std::string& reference);
  HostReply blobs(const HostRequest& request, const std::string& name, const std::string& digest);
  HostReply start_upload(const HostRequest& request, const std::string& name);
  HostReply add_chunk(const HostRequest& request, const std::string& name, const std::string& id);
  HostReply upload_standing(const HostRequest& request, const std::string& name,
                            const std::string& id);
  [[nodiscard]] std::string upload_location(const std::string& name, const std::string& id);
  void broken_off(const HostRequest& request);
  HostReply finish_upload(const HostRequest& request, const std::string& name,
                          const std::string& id);
  HostReply list_tags(const HostRequest& request, const std::string& name);
  HostReply catalog(const HostRequest& request);
  // memory_referrers.cc
  HostReply list_referrers(const HostRequest& request, const std::string& name,
                           const std::string& digest);
  std::optional<HostReply> refuse_referrer(const Repository& repository,
                                           const oci::Manifest& manifest) const;
  void tell_subject(const oci::Manifest& manifest, HostReply& reply) const;
  [[nodiscard]] const Stored* find(const std::string& repository,
                                   const std::string& reference) const;
  void hold_all(Repository& repository, const TestImage& image);

  mutable std::mutex mutex_;
  Traits traits_;
  std::map<std::string, Repository> repositories_;
  std::map<std::string, std::string> content_;  // of blobs, by digest
  std::vector<Seen> seen_;
  Fault fault_;
  Distortion distortion_;
  std::size_t next_upload_ = 0;
  std::map<std::string, bool> short_chunks_;         // uploads whose last chunk was one
  std::map<std::string, std::size_t> first_chunks_;  // their bytes, by upload
  std::shared_ptr<std::atomic<std::uint64_t>> served_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);
  std::uint64_t received_ = 0;
  std::map<std::string, std::size_t> sends_;  // of a blob, by repository and digest
  HttpHost host_;                             // last: it stops first
};

}  // namespace transship::testing
