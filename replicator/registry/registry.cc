#include "replicator/registry/registry.h"

#include <fmt/format.h>

#include <charconv>
#include <set>

namespace transship::registry {

namespace {

constexpr std::chrono::minutes commit_answer_within{15};

Scopes pull(const oci::Repository& repository) {
  return {"repository:" + repository.str() + ":pull"};
}
Scopes push(const oci::Repository& repository) {
  return {"repository:" + repository.str() + ":pull,push"};
}

std::string named(const oci::Repository& repository, const oci::Reference& reference) {
  return repository.str() + reference.suffix();
}

std::optional<std::uint64_t> content_length(const http::ResponseHead& head) {
  const auto text = head.header("content-length");
  if (!text) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return value;
}

std::optional<oci::Digest> told_digest(const http::ResponseHead& head) {
  const auto text = head.header("docker-content-digest");
  if (!text) return std::nullopt;
  auto digest = oci::Digest::parse(*text);
  return digest ? std::optional(std::move(*digest)) : std::nullopt;
}

}  // namespace

Registry::Registry(http::Client& client, TransportOptions options,
                   std::unique_ptr<CredentialSource> credentials, Observer& observer)
    : transport_(client, std::move(options), std::move(credentials), observer) {}

std::string Registry::path(const oci::Repository& repository, std::string_view rest) const {
  return fmt::format("/v2/{}/{}", repository.str(), rest);
}

asio::awaitable<Result<void>> Registry::ping() {
  Call call;
  call.target = "/v2/";
  auto answer = co_await transport_.send(std::move(call));
  if (!answer && answer.error().unanswered) co_return fail(answer.error());
  co_return Result<void>{};
}

asio::awaitable<Result<void>> Registry::check_access() {
  Call call;
  call.target = "/v2/";
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  if (answer->head.status == 200) co_return Result<void>{};
  co_return fail(co_await transport_.error_of(std::move(*answer), "ask for its API"));
}

asio::awaitable<Result<std::optional<Registry::ManifestHead>>> Registry::head_manifest(
    oci::Repository repository, oci::Reference reference) {
  Call call;
  call.method = "HEAD";
  call.target = path(repository, "manifests/" + reference.str());
  call.scopes = pull(repository);
  call.headers.emplace_back("Accept", oci::accept_header());
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  if (answer->head.status == 404) co_return std::optional<ManifestHead>();
  if (answer->head.status != 200 && answer->head.status != 405) {
    co_return fail(co_await transport_.error_of(std::move(*answer),
                                                "look at " + named(repository, reference)));
  }
  auto digest = told_digest(answer->head);
  const auto media_type = answer->head.header("content-type");
  if (answer->head.status == 200 && digest) {
    co_return ManifestHead{std::move(*digest), std::string(media_type.value_or(""))};
  }
  // A registry that answers HEAD without a digest (or not at all) is asked for the manifest itself.
  answer->place.release();
  auto manifest = co_await get_manifest(repository, reference);
  if (!manifest) co_return fail(manifest.error());
  if (!*manifest) co_return std::optional<ManifestHead>();
  co_return ManifestHead{(*manifest)->digest, (*manifest)->media_type};
}

asio::awaitable<Result<std::optional<oci::Manifest>>> Registry::get_manifest(
    oci::Repository repository, oci::Reference reference) {
  const std::string doing = "read " + named(repository, reference);
  Call call;
  call.target = path(repository, "manifests/" + reference.str());
  call.scopes = pull(repository);
  call.headers.emplace_back("Accept", oci::accept_header());
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  if (answer->head.status == 404) co_return std::optional<oci::Manifest>();
  if (answer->head.status != 200)
    co_return fail(co_await transport_.error_of(std::move(*answer), doing));

  const std::string content_type(answer->head.header("content-type").value_or(""));
  const auto told = told_digest(answer->head);
  const std::string context = fmt::format("{}: {}", doing, name());
  auto bytes = co_await answer->exchange.read_all(oci::ManifestLimits{}.bytes);
  if (!bytes) co_return fail(bytes.error().with_context(context));
  const auto* wanted = reference.digest();
  const auto algorithm = wanted != nullptr ? wanted->algorithm()
                         : told            ? told->algorithm()
                                           : oci::Algorithm::sha256;
  auto manifest = oci::parse_manifest(std::move(*bytes), content_type, algorithm);
  if (!manifest) co_return fail(manifest.error().with_context(context));
  const oci::Digest* promised = wanted != nullptr ? wanted : told ? &*told : nullptr;
  if (promised != nullptr && *promised != manifest->digest) {
    co_return fail(ErrorKind::corrupt,
                   fmt::format("{} served a manifest with digest {} as {}", context,
                               manifest->digest.str(), promised->str()));
  }
  co_return std::move(*manifest);
}

asio::awaitable<Result<Registry::Put>> Registry::put_manifest(
    oci::Repository repository, oci::Reference reference,
    std::shared_ptr<const oci::Manifest> manifest) {
  const std::string doing = "put " + named(repository, reference);
  Call call;
  call.method = "PUT";
  call.target = path(repository, "manifests/" + reference.str());
  call.scopes = push(repository);
  call.headers.emplace_back("Content-Type", manifest->media_type);
  call.body = manifest->bytes;
  const oci::Digest digest = manifest->digest;
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  const int status = answer->head.status;
  if (status != 201 && status != 200 && status != 202 && status != 204) {
    Error error = co_await transport_.error_of(std::move(*answer), doing);
    // Immutable tags are refused under many names (Harbor 412, Amazon ECR TAG_INVALID, others in
    // words).
    if (reference.tag() != nullptr && status < 500 &&
        (error.code == "TAG_INVALID" || error.message.find("immutable") != std::string::npos)) {
      error.kind = ErrorKind::conflict;
    }
    co_return fail(error);
  }
  const Put put{answer->head.header("oci-subject").has_value()};
  if (put.subject_noted) note_referrers_api(true);
  // A registry may name the same bytes by another algorithm than the source's.
  const auto told = told_digest(answer->head);
  if (told && oci::Digest::of(manifest->bytes, told->algorithm()) == *told) co_return put;
  answer->place.release();
  // The answer does not prove that it holds this digest: ask.
  auto shown = co_await head_manifest(repository, reference);
  if (!shown) co_return fail(shown.error().with_context(doing));
  if (!*shown || (*shown)->digest != digest) {
    co_return fail(ErrorKind::transient,
                   fmt::format("{}: {} took the manifest, but shows {} instead of {}", doing,
                               name(), *shown ? (*shown)->digest.str() : "nothing", digest.str()));
  }
  co_return put;
}

asio::awaitable<Result<std::optional<std::uint64_t>>> Registry::head_blob(
    oci::Repository repository, oci::Digest digest) {
  Call call;
  call.method = "HEAD";
  call.target = path(repository, "blobs/" + digest.str());
  call.scopes = pull(repository);
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  if (answer->head.status == 404) co_return std::optional<std::uint64_t>();
  if (answer->head.status != 200) {
    co_return fail(co_await transport_.error_of(
        std::move(*answer), "look at blob " + digest.str() + " of " + repository.str()));
  }
  co_return content_length(answer->head).value_or(0);
}

asio::awaitable<Result<std::optional<Answer>>> Registry::open_blob(
    oci::Repository repository, oci::Descriptor blob, std::optional<Semaphore::Place> place) {
  const std::string doing = fmt::format("read blob {} of {}", blob.digest.str(), repository.str());
  Call call;
  call.place = std::move(place);
  call.target = path(repository, "blobs/" + blob.digest.str());
  call.scopes = pull(repository);
  call.short_answer = false;
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  if (answer->head.status == 404) co_return std::optional<Answer>();
  if (answer->head.status != 200)
    co_return fail(co_await transport_.error_of(std::move(*answer), doing));
  if (const auto length = content_length(answer->head); length && *length != blob.size) {
    co_return fail(ErrorKind::corrupt,
                   fmt::format("{}: {} serves {} bytes where its manifest says {}", doing, name(),
                               *length, blob.size));
  }
  co_return std::optional<Answer>(std::move(*answer));
}

asio::awaitable<Result<Registry::Started>> Registry::start_blob(
    oci::Repository repository, oci::Digest digest, std::optional<oci::Repository> mount_from) {
  Call call;
  call.method = "POST";
  call.target = path(repository, "blobs/uploads/");
  call.scopes = push(repository);
  if (mount_from) {
    call.target += fmt::format("?mount={}&from={}", http::query_encoded(digest.str()),
                               http::query_encoded(mount_from->str()));
    if (*mount_from != repository) call.scopes.push_back(pull(*mount_from).front());
  }
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  if (mount_from && answer->head.status == 201) co_return Mounted{};
  if (answer->head.status != 202) {
    Error error =
        co_await transport_.error_of(std::move(*answer), "start an upload to " + repository.str());
    if (error.kind == ErrorKind::not_found) {
      error.message +=
          " (the repository does not exist there, and this registry wants it to be made first)";
    }
    co_return fail(error);
  }
  const auto location = answer->head.header("location");
  if (!location) {
    co_return fail(ErrorKind::invalid, fmt::format("start an upload to {}: {} gave no Location",
                                                   repository.str(), name()));
  }
  auto url = answer->url.resolve(*location);
  if (!url) {
    co_return fail(url.error().with_context(
        fmt::format("start an upload to {}: the Location of {}", repository.str(), name())));
  }
  co_return UploadSession{std::move(*url), std::move(answer->authorization)};
}

asio::awaitable<Result<Transport::Upload>> Registry::send_blob(
    oci::Repository repository, UploadSession session, oci::Descriptor blob,
    std::optional<Semaphore::Place> place) {
  Call call;
  call.place = std::move(place);
  call.method = "PUT";
  call.url = std::move(session.location);
  call.url->target += call.url->target.find('?') == std::string::npos ? '?' : '&';
  call.url->target += "digest=" + http::query_encoded(blob.digest.str());
  call.scopes = push(repository);
  call.headers.emplace_back("Content-Type", "application/octet-stream");
  call.upload_bytes = blob.size;
  call.short_answer = false;
  call.answer_within = commit_answer_within;
  co_return co_await transport_.start_upload(std::move(call));
}

asio::awaitable<Result<Registry::Finished>> Registry::finish_blob(Transport::Upload upload,
                                                                  oci::Repository repository,
                                                                  oci::Digest digest) {
  auto answer = co_await transport_.settle(std::move(upload));
  if (!answer) co_return fail(answer.error());
  const int status = answer->head.status;
  if (status == 201 || status == 200 || status == 204) co_return Finished::stored;
  if (answer->token_renewed) co_return Finished::token_renewed;
  Error error = co_await transport_.error_of(
      std::move(*answer), fmt::format("upload blob {} to {}", digest.str(), repository.str()));
  // The session is gone, which says nothing about the blob: a new one may do better.
  if (error.kind == ErrorKind::not_found) error.kind = ErrorKind::transient;
  co_return fail(error);
}

asio::awaitable<Result<std::optional<std::vector<std::string>>>> Registry::list_tags(
    oci::Repository repository) {
  auto tags = co_await list(path(repository, "tags/list?n=1000"), pull(repository), "tags",
                            "list the tags of " + repository.str());
  co_return tags;
}

asio::awaitable<Result<bool>> Registry::has_repository(oci::Repository repository) {
  Call call;
  call.target = path(repository, "tags/list?n=1");
  call.scopes = pull(repository);
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  co_return answer->head.status != 404;
}

asio::awaitable<Result<std::vector<std::string>>> Registry::list_repositories() {
  auto names = co_await list("/v2/_catalog?n=1000", {"registry:catalog:*"}, "repositories",
                             "list the repositories");
  if (!names) {
    Error error = names.error();
    if (error.kind == ErrorKind::unauthorized || error.kind == ErrorKind::invalid) {
      error.message += " (name repositories in full where a registry has no catalogue)";
    }
    co_return fail(error);
  }
  if (!*names) {
    co_return fail(
        ErrorKind::unsupported,
        fmt::format("{} has no catalogue: name its repositories in full, without * or ?", name()));
  }
  co_return std::move(**names);
}

}  // namespace transship::registry
