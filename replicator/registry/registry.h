#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "replicator/oci/manifest.h"
#include "replicator/oci/reference.h"
#include "replicator/registry/shared_tags.h"
#include "replicator/registry/transport.h"

namespace transship::registry {

// What can be asked of one registry (OCI distribution-spec 1.1). An absent thing is a value, not an
// error; every other refusal is an error that names the registry and what was asked.
class Registry {
 public:
  Registry(http::Client& client, TransportOptions options,
           std::unique_ptr<CredentialSource> credentials, Observer& observer);

  [[nodiscard]] const std::string& name() const { return transport_.options().name; }
  // host[:port], as results name it.
  [[nodiscard]] std::string host() const { return transport_.options().url.authority(); }
  // Scheme, host and port.
  [[nodiscard]] std::string origin() const { return transport_.options().url.origin(); }
  [[nodiscard]] Observer& observer() const { return transport_.observer(); }
  // One of the connections that may be under way here at once. Whoever needs two registries at the
  // same time takes both places first, always in the same order of registries, so that no two
  // copies wait for one another.
  asio::awaitable<Semaphore::Place> connect() { return transport_.connect(); }
  // One that is free now.
  std::optional<Semaphore::Place> try_connect() { return transport_.try_connect(); }
  // With one more of the connections in use, no more than half of them would be.
  [[nodiscard]] bool half_is_free() const { return transport_.half_is_free(); }
  // Whether it asks for a pause that is short enough to be made within a try. The next request
  // makes it by itself.
  [[nodiscard]] bool asks_for_short_pause(const Error& error) const {
    return error.kind == ErrorKind::throttled && error.retry_after &&
           *error.retry_after <= transport_.options().longest_wait;
  }
  // What comes, and goes, at most in a second; each piece of a blob has to ask.
  [[nodiscard]] Pace& downloads() { return transport_.downloads(); }
  [[nodiscard]] Pace& uploads() { return transport_.uploads(); }

  // Whether it speaks the API and takes our credentials (distribution-spec "Determining Support").
  asio::awaitable<Result<void>> check_access();

  // --- manifests ("Pulling manifests", "Pushing Manifests") ---
  struct ManifestHead {
    oci::Digest digest;
    std::string media_type;
  };
  asio::awaitable<Result<std::optional<ManifestHead>>> head_manifest(oci::Repository repository,
                                                                     oci::Reference reference);
  // Its digest is proven; when it was asked for by digest, it has that digest (else corrupt).
  asio::awaitable<Result<std::optional<oci::Manifest>>> get_manifest(oci::Repository repository,
                                                                     oci::Reference reference);
  struct Put {
    // It listed the manifest among its subject's referrers, and said so (OCI-Subject).
    bool subject_noted = false;
  };
  // Returns once the registry has answered that it holds this digest under this reference. Errors:
  // conflict (an immutable tag), not_found or invalid with code MANIFEST_BLOB_UNKNOWN (something it
  // refers to is missing).
  asio::awaitable<Result<Put>> put_manifest(oci::Repository repository, oci::Reference reference,
                                            std::shared_ptr<const oci::Manifest> manifest);

  // --- blobs ("Pulling blobs", "Pushing Blobs", "Mounting a blob from another repository") ---
  asio::awaitable<Result<std::optional<std::uint64_t>>> head_blob(oci::Repository repository,
                                                                  oci::Digest digest);
  // Which part of a blob is wanted (RFC 9110 section 14).
  struct BlobRange {
    std::uint64_t from = 0;
    std::optional<std::uint64_t> bytes = {};  // to the end where left out
    std::string validator = {};               // the etag of an earlier answer (If-Range)
    std::size_t buffer_bytes = http::Request{}.receive_buffer_bytes;
  };
  struct OpenedBlob : Answer {
    std::uint64_t from = 0;  // where its bytes begin: 0 where the registry knows no ranges
    std::string etag = {};   // a strong one
  };
  // The content as it comes; its length, where the registry tells, is the descriptor's (else
  // corrupt). The digest is the reader's to prove. nullopt: not there. `connected`: the caller
  // holds a connection for it.
  asio::awaitable<Result<std::optional<OpenedBlob>>> open_blob(oci::Repository repository,
                                                               oci::Descriptor blob,
                                                               bool connected = false);
  asio::awaitable<Result<std::optional<OpenedBlob>>> open_blob(oci::Repository repository,
                                                               oci::Descriptor blob, bool connected,
                                                               BlobRange range);

  struct Mounted {};
  struct UploadSession {
    http::Url location;
    Secret authorization;               // what it was opened with
    std::uint64_t chunk_bytes_min = 0;  // of all chunks but the last (OCI-Chunk-Min-Length)
  };
  using Started = std::variant<Mounted, UploadSession>;
  // Opens an upload, or mounts the blob from `mount_from` where the registry can: then there is
  // nothing to send. Errors: not_found (a registry that wants its repositories to be made first).
  asio::awaitable<Result<Started>> start_blob(oci::Repository repository, oci::Digest digest,
                                              std::optional<oci::Repository> mount_from);

  // What ended a request of an upload, other than an error.
  enum class Finished {
    stored,
    token_renewed,  // the token had expired, and there is a new one now: to be sent again
  };
  // Sends the whole blob in one request ("POST then PUT"): write its bytes to the upload, then
  // finish_blob(). For each of these the caller holds a connection.
  asio::awaitable<Result<Transport::Upload>> send_blob(oci::Repository repository,
                                                       UploadSession session, oci::Descriptor blob);
  asio::awaitable<Result<Finished>> finish_blob(Transport::Upload upload,
                                                oci::Repository repository, oci::Digest digest);

  // The same in several ("Pushing a blob in chunks"): chunk after chunk, each with its answer, then
  // commit_blob().
  asio::awaitable<Result<Transport::Upload>> send_chunk(oci::Repository repository,
                                                        UploadSession session, std::uint64_t from,
                                                        std::uint64_t bytes);
  struct Standing {
    UploadSession session;    // with the location that goes on
    std::uint64_t bytes = 0;  // what the registry has
  };
  // nullopt: the token had expired, and there is a new one now. Errors: unsupported (it takes no
  // chunks), not_found (the session is gone), invalid (the chunk does not follow what it has).
  asio::awaitable<Result<std::optional<Standing>>> finish_chunk(Transport::Upload upload,
                                                                oci::Repository repository,
                                                                UploadSession session,
                                                                std::uint64_t to);
  asio::awaitable<Result<Finished>> commit_blob(oci::Repository repository, UploadSession session,
                                                oci::Digest digest);
  // Where an upload stands that was broken off. nullopt: it is gone, or cannot go on.
  asio::awaitable<Result<std::optional<Standing>>> ask_standing(oci::Repository repository,
                                                                UploadSession session);
  // Tells the registry, without waiting, that a session will not be used any more.
  void abandon(UploadSession session) {
    transport_.part_with(std::move(session.location), session.authorization);
  }

  // --- lists ("Listing Tags"; the catalogue is the old Docker registry API's) ---
  static constexpr std::size_t pages_max = 10'000;
  static constexpr std::size_t names_max = 1'000'000;
  // nullopt: the repository does not exist (or has no tag and never had).
  asio::awaitable<Result<std::optional<std::vector<std::string>>>> list_tags(
      oci::Repository repository);
  // Whether the repository is known there at all, by the cheapest list.
  asio::awaitable<Result<bool>> has_repository(oci::Repository repository);
  // Errors: unsupported (it has no catalogue, or not for us).
  asio::awaitable<Result<std::vector<std::string>>> list_repositories();

  // --- referrers ("Listing Referrers") ---
  static constexpr std::size_t referrers_pages_max = 1'000;
  static constexpr std::size_t referrers_max = 10'000;  // of one manifest
  // How long a registry that has no API for them is not asked again: it may be upgraded.
  static constexpr std::chrono::hours referrers_api_remembered{1};
  // What refers to a manifest, as the registry says: nothing of it is proven. nullopt: it has no
  // API for that. Errors: invalid (a limit, pages without end), what the registry says.
  asio::awaitable<Result<std::optional<std::vector<oci::Descriptor>>>> list_referrers(
      oci::Repository repository, oci::Digest subject);
  // Whether it has the API, as its answers have told lately; nullopt: not known.
  [[nodiscard]] std::optional<bool> has_referrers_api() const;
  // Whose turn it is to change a tag that several copies may change at once.
  [[nodiscard]] TagTurns& tag_turns() { return tag_turns_; }
  // The tags of repositories, read once for all that ask at the same time.
  [[nodiscard]] TagLists& tag_lists() { return tag_lists_; }

  // --- deletes ("Content Management"), in delete.cc ---
  // True where the tag is answered with 404 by what is a registry: whatever answers 404 to
  // everything does not count. Errors: transient (it does not speak the API).
  asio::awaitable<Result<bool>> plainly_lacks(oci::Repository repository, oci::Tag tag);

  // What goes with a manifest must be allowed to: asked about each other tag that shows it.
  using MayGo = std::function<asio::awaitable<Result<bool>>(oci::Tag)>;
  struct Deletion {
    enum class Outcome {
      deleted,
      absent,  // it was not there
      moved,   // it shows another digest, and was left alone
    };
    Outcome outcome = Outcome::deleted;
    bool by_digest = false;           // the manifest went, and with it every tag that showed it:
    std::vector<oci::Tag> also = {};  // these others
  };
  // Takes a tag away that shows this digest. A registry that takes no tags (docker-registry 2) is
  // asked to delete the manifest, if and only if every other tag that shows it may go too, and no
  // tag's index holds it. Errors: conflict (something else needs the manifest), unsupported (this
  // registry allows no deletes, or the repository has more than tags_looked_at_max tags).
  asio::awaitable<Result<Deletion>> delete_tag(oci::Repository repository, oci::Tag tag,
                                               oci::Digest digest, MayGo may_go);
  static constexpr std::size_t tags_looked_at_max = 100'000;

 private:
  class TagLook;
  asio::awaitable<Result<int>> send_delete(oci::Repository repository, oci::Reference reference,
                                           std::optional<Error>& refusal);
  asio::awaitable<Result<Deletion>> delete_manifest(oci::Repository repository, oci::Tag tag,
                                                    oci::Digest digest, MayGo may_go);
  asio::awaitable<Result<std::shared_ptr<TagLook>>> look_at_tags(oci::Repository repository);
  asio::awaitable<Result<void>> fill(TagLook& look, oci::Repository repository);
  asio::awaitable<Result<void>> fill(TagLook& look, oci::Repository repository, oci::Tag tag);
  asio::awaitable<Result<std::optional<std::vector<std::string>>>> list(std::string target,
                                                                        Scopes scopes,
                                                                        const char* key,
                                                                        std::string doing);
  // Takes a page in; returns how much in it was new.
  using AddPage = std::function<Result<std::size_t>(const http::ResponseHead&, std::string body)>;
  asio::awaitable<Result<void>> pages(std::string target, Scopes scopes, std::string accept,
                                      std::string doing, std::size_t most, AddPage add);
  void note_referrers_api(bool has);
  [[nodiscard]] std::string path(const oci::Repository& repository, std::string_view rest) const;

  Transport transport_;
  struct ReferrersApi {
    bool has;
    std::chrono::steady_clock::time_point told;
  };
  std::optional<ReferrersApi> referrers_api_;
  std::shared_ptr<Event> asking_for_referrers_;  // the first question, until it is answered
  TagTurns tag_turns_;
  TagLists tag_lists_{*this};
  bool takes_no_tags_ = false;  // to delete
  std::map<oci::Repository, std::shared_ptr<TagLook>> tag_looks_;
};

}  // namespace transship::registry
