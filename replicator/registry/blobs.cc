#include <fmt/format.h>

#include <charconv>

#include "replicator/registry/naming.h"
#include "replicator/registry/registry.h"

// Blobs and uploads (distribution-spec "Pulling blobs", "Pushing Blobs").
namespace transship::registry {

namespace {

constexpr std::chrono::minutes commit_answer_within{15};

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> number_in(const http::ResponseHead& head, std::string_view header) {
  const auto text = head.header(header);
  return text ? number(*text) : std::nullopt;
}

// "bytes 100-199/1000" (RFC 9110 section 14.4); the whole's length may be "*".
struct ContentRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::optional<std::uint64_t> whole;
};
std::optional<ContentRange> content_range(const http::ResponseHead& head) {
  const auto text = head.header("content-range");
  if (!text || !text->starts_with("bytes ")) return std::nullopt;
  const std::size_t dash = text->find('-');
  const std::size_t slash = text->find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash)
    return std::nullopt;
  const auto first = number(text->substr(6, dash - 6));
  const auto last = number(text->substr(dash + 1, slash - dash - 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return ContentRange{*first, *last, number(text->substr(slash + 1))};
}

// What an upload's "Range: 0-1023" says that the registry has. "0-0" is how an empty one is told.
std::optional<std::uint64_t> standing_in(const http::ResponseHead& head) {
  auto text = head.header("range");
  if (!text) return std::nullopt;
  if (text->starts_with("bytes=")) text->remove_prefix(6);
  const std::size_t dash = text->find('-');
  if (dash == std::string_view::npos || number(text->substr(0, dash)) != 0U) return std::nullopt;
  const auto last = number(text->substr(dash + 1));
  if (!last) return std::nullopt;
  return *last == 0 ? 0 : *last + 1;
}

std::string range_header(const Registry::BlobRange& range) {
  return range.bytes ? fmt::format("bytes={}-{}", range.from, range.from + *range.bytes - 1)
                     : fmt::format("bytes={}-", range.from);
}

// What is wrong with the answer to a request for a blob or a part of it, if anything.
std::optional<std::string> mistake_in(const http::ResponseHead& head, const oci::Descriptor& blob,
                                      const Registry::BlobRange& range) {
  if (head.status == 206) {
    const auto part = content_range(head);
    if (!part || part->first != range.from) return "another part than was asked for";
    if (part->whole && *part->whole != blob.size) {
      return fmt::format("{} bytes where its manifest says {}", *part->whole, blob.size);
    }
    return std::nullopt;
  }
  const auto length = number_in(head, "content-length");
  if (length && *length != blob.size)
    return fmt::format("{} bytes where its manifest says {}", *length, blob.size);
  return std::nullopt;
}

}  // namespace

asio::awaitable<Result<std::optional<std::uint64_t>>> Registry::head_blob(
    oci::Repository repository, oci::Digest digest) {
  Call call;
  call.method = "HEAD";
  call.target = path(repository, "blobs/" + digest.str());
  call.scopes = pull_scope(repository);
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  if (answer->head.status == 404) co_return std::optional<std::uint64_t>();
  if (answer->head.status != 200) {
    co_return fail(co_await transport_.error_of(
        std::move(*answer), "look at blob " + digest.str() + " of " + repository.str()));
  }
  co_return number_in(answer->head, "content-length").value_or(0);
}

asio::awaitable<Result<std::optional<Registry::OpenedBlob>>> Registry::open_blob(
    oci::Repository repository, oci::Descriptor blob, bool connected) {
  co_return co_await open_blob(std::move(repository), std::move(blob), connected, BlobRange{});
}

asio::awaitable<Result<std::optional<Registry::OpenedBlob>>> Registry::open_blob(
    oci::Repository repository, oci::Descriptor blob, bool connected, BlobRange range) {
  const std::string doing = fmt::format("read blob {} of {}", blob.digest.str(), repository.str());
  Call call;
  call.connected = connected;
  call.target = path(repository, "blobs/" + blob.digest.str());
  call.scopes = pull_scope(repository);
  call.short_answer = false;
  call.receive_buffer_bytes = range.buffer_bytes;
  const bool ranged = range.from > 0 || range.bytes;
  if (ranged) {
    call.headers.emplace_back("Range", range_header(range));
    if (!range.validator.empty()) call.headers.emplace_back("If-Range", range.validator);
  }
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  const int status = answer->head.status;
  if (status == 404) co_return std::optional<OpenedBlob>();
  if (status != 200 && !(ranged && status == 206))
    co_return fail(co_await transport_.error_of(std::move(*answer), doing));
  if (const auto mistake = mistake_in(answer->head, blob, range)) {
    co_return fail(ErrorKind::corrupt, fmt::format("{}: {} serves {}", doing, name(), *mistake));
  }
  std::string etag(answer->head.header("etag").value_or(""));
  if (!etag.starts_with('"')) etag.clear();  // a weak one does not promise the same bytes
  co_return OpenedBlob{std::move(*answer), status == 206 ? range.from : 0, std::move(etag)};
}

asio::awaitable<Result<Registry::Started>> Registry::start_blob(
    oci::Repository repository, oci::Digest digest, std::optional<oci::Repository> mount_from) {
  Call call;
  call.method = "POST";
  call.target = path(repository, "blobs/uploads/");
  call.scopes = push_scope(repository);
  if (mount_from) {
    call.target += fmt::format("?mount={}&from={}", http::query_encoded(digest.str()),
                               http::query_encoded(mount_from->str()));
    if (*mount_from != repository) call.scopes.push_back(pull_scope(*mount_from).front());
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
  co_return UploadSession{std::move(*url), std::move(answer->authorization),
                          number_in(answer->head, "oci-chunk-min-length").value_or(0)};
}

asio::awaitable<Result<Transport::Upload>> Registry::send_blob(oci::Repository repository,
                                                               UploadSession session,
                                                               oci::Descriptor blob) {
  Call call;
  call.method = "PUT";
  call.url = std::move(session.location);
  call.url->target += call.url->target.find('?') == std::string::npos ? '?' : '&';
  call.url->target += "digest=" + http::query_encoded(blob.digest.str());
  call.scopes = push_scope(repository);
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

asio::awaitable<Result<Transport::Upload>> Registry::send_chunk(oci::Repository repository,
                                                                UploadSession session,
                                                                std::uint64_t from,
                                                                std::uint64_t bytes) {
  Call call;
  call.method = "PATCH";
  call.url = std::move(session.location);
  call.scopes = push_scope(repository);
  call.headers.emplace_back("Content-Type", "application/octet-stream");
  call.headers.emplace_back("Content-Range", fmt::format("{}-{}", from, from + bytes - 1));
  call.upload_bytes = bytes;
  call.short_answer = false;
  co_return co_await transport_.start_upload(std::move(call));
}

asio::awaitable<Result<std::optional<Registry::Standing>>> Registry::finish_chunk(
    Transport::Upload upload, oci::Repository repository, UploadSession session, std::uint64_t to) {
  auto answer = co_await transport_.settle(std::move(upload));
  if (!answer) co_return fail(answer.error());
  const int status = answer->head.status;
  if (status != 202 && status != 201 && status != 204) {
    if (answer->token_renewed) co_return std::optional<Standing>();
    co_return fail(co_await transport_.error_of(
        std::move(*answer), fmt::format("upload a part of a blob to {}", repository.str())));
  }
  if (const auto location = answer->head.header("location")) {
    auto url = answer->url.resolve(*location);
    if (!url) co_return fail(url.error().with_context("the Location of a part's answer"));
    session.location = std::move(*url);
  }
  // What it took, it has: the Range of the answer is not to be relied on (Amazon ECR's stays at the
  // first chunk's end).
  co_return Standing{std::move(session), to};
}

asio::awaitable<Result<Registry::Finished>> Registry::commit_blob(oci::Repository repository,
                                                                  UploadSession session,
                                                                  oci::Digest digest) {
  oci::Descriptor nothing_more{{}, digest, 0, {}, {}};
  auto upload = co_await send_blob(repository, std::move(session), std::move(nothing_more));
  if (!upload) co_return fail(upload.error());
  co_return co_await finish_blob(std::move(*upload), std::move(repository), std::move(digest));
}

asio::awaitable<Result<std::optional<Registry::Standing>>> Registry::ask_standing(
    oci::Repository repository, UploadSession session) {
  Call call;
  call.url = session.location;
  call.scopes = push_scope(repository);
  call.connected = true;
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  const int status = answer->head.status;
  if (status == 404 || status == 400 || status == 405 || status == 416) {
    co_return std::optional<Standing>();
  }
  if (status != 204 && status != 202 && status != 200) {
    co_return fail(co_await transport_.error_of(
        std::move(*answer), fmt::format("ask where an upload to {} stands", repository.str())));
  }
  const auto has = standing_in(answer->head);
  if (!has) co_return std::optional<Standing>();
  if (const auto location = answer->head.header("location")) {
    auto url = answer->url.resolve(*location);
    if (url) session.location = std::move(*url);
  }
  co_return Standing{std::move(session), *has};
}

}  // namespace transship::registry
