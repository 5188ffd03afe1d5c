#include "replicator/registry/registry.h"

#include <fmt/format.h>

#include <set>

#include "replicator/registry/naming.h"

namespace transship::registry {

namespace {

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
  call.scopes = pull_scope(repository);
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
  call.scopes = pull_scope(repository);
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
  call.scopes = push_scope(repository);
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

asio::awaitable<Result<std::optional<std::vector<std::string>>>> Registry::list_tags(
    oci::Repository repository) {
  auto tags = co_await list(path(repository, "tags/list?n=1000"), pull_scope(repository), "tags",
                            "list the tags of " + repository.str());
  co_return tags;
}

asio::awaitable<Result<bool>> Registry::has_repository(oci::Repository repository) {
  Call call;
  call.target = path(repository, "tags/list?n=1");
  call.scopes = pull_scope(repository);
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
