#include "replicator/registry/transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

namespace transship::registry {

namespace {

constexpr int redirects_max = 5;
constexpr int token_renewals_max = 2;
constexpr int waits_max = 3;  // Retry-After obeyed within one call
constexpr std::size_t error_body_bytes_max = 64UL << 10U;
constexpr std::chrono::seconds short_answer_within{120};
constexpr std::chrono::seconds parting_within{10};
constexpr std::chrono::milliseconds shortest_wait{100};  // of a Retry-After

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::optional<std::chrono::milliseconds> retry_after_of(const http::ResponseHead& head) {
  const auto header = head.header("retry-after");
  if (!header) return std::nullopt;
  const auto seconds = parse_retry_after(*header, static_cast<long>(std::time(nullptr)));
  if (!seconds) return std::nullopt;
  return std::chrono::seconds(*seconds);
}

struct RegistryMessage {
  std::string code;
  std::string message;
};

// The error body of the distribution-spec; a body that is something else says nothing.
RegistryMessage read_error_body(const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return {};
  const auto errors = json.find("errors");
  if (errors == json.end() || !errors->is_array() || errors->empty() || !(*errors)[0].is_object()) {
    return {};
  }
  RegistryMessage found;
  const auto text = [&](const char* key) {
    const auto value = (*errors)[0].find(key);
    if (value == (*errors)[0].end() || !value->is_string()) return std::string();
    std::string shown = value->get<std::string>().substr(0, 300);
    std::replace_if(shown.begin(), shown.end(), [](char c) { return c >= 0 && c < ' '; }, ' ');
    return shown;
  };
  found.code = text("code");
  found.message = text("message");
  return found;
}

Secret authorization_of(const http::Request& request) {
  const bool has = !request.headers.empty() && request.headers.back().first == "Authorization";
  return has ? Secret(request.headers.back().second) : Secret();
}

}  // namespace

ErrorKind kind_of_status(int status, std::string_view code, bool has_retry_after) {
  if (status == 429) return ErrorKind::throttled;
  if (status == 503) return has_retry_after ? ErrorKind::throttled : ErrorKind::transient;
  if (status == 401 || status == 403) return ErrorKind::unauthorized;
  if (status == 404 || status == 410) return ErrorKind::not_found;
  if (status == 409 || status == 412) return ErrorKind::conflict;
  if (status == 405 || status == 501) return ErrorKind::unsupported;
  if (status == 408 || status == 425 || status >= 500) return ErrorKind::transient;
  // The bytes were proven before they were sent, and a manifest's blobs were seen there:
  // docker-registry says this of two uploads that met.
  if (code == "DIGEST_INVALID" || code == "BLOB_UPLOAD_INVALID" ||
      code == "MANIFEST_BLOB_UNKNOWN") {
    return ErrorKind::transient;
  }
  return ErrorKind::invalid;
}

Transport::Transport(http::Client& client, TransportOptions options,
                     std::unique_ptr<CredentialSource> credentials, Observer& observer)
    : client_(client),
      options_(std::move(options)),
      authorizer_(client, options_.url, options_.tls, std::move(credentials)),
      observer_(observer),
      connections_(client.executor(), options_.connections),
      throttle_(options_.requests_per_second, options_.longest_wait),
      downloads_(static_cast<double>(options_.download_rate)),
      uploads_(static_cast<double>(options_.upload_rate)) {}

bool Transport::is_own(const http::Url& url) const { return url.origin() == options_.url.origin(); }

// A client certificate is a credential too: it goes to the registry alone. A private authority is
// only trust.
std::shared_ptr<const http::Tls> Transport::tls_for(const http::Url& url) const {
  if (is_own(url) || !options_.tls || options_.tls->cert_file.empty()) return options_.tls;
  return std::make_shared<http::Tls>(http::Tls{options_.tls->ca_file, {}, {}});
}

asio::awaitable<Result<http::Request>> Transport::request_for(const Call& call,
                                                              const http::Url& url) {
  http::Request request;
  request.method = call.method;
  request.url = url;
  request.headers = call.headers;
  request.body = call.body;
  request.upload_bytes = call.upload_bytes;
  request.receive_buffer_bytes = call.receive_buffer_bytes;
  request.timeouts = options_.timeouts;
  if (call.short_answer) request.timeouts.total = short_answer_within;
  if (call.answer_within) request.timeouts.answer = *call.answer_within;
  request.tls = tls_for(url);
  if (!is_own(url)) co_return request;
  auto authorization = co_await authorizer_.authorization(call.scopes);
  if (!authorization) co_return fail(authorization.error());
  if (!authorization->empty()) request.headers.emplace_back("Authorization", *authorization);
  co_return request;
}

asio::awaitable<Result<Transport::Sent>> Transport::send_once(const Call& call,
                                                              const http::Url& url) {
  if (is_own(url)) co_await throttle_.turn();
  auto request = co_await request_for(call, url);
  if (!request) co_return fail(request.error());
  Secret authorization = authorization_of(*request);
  const auto started = std::chrono::steady_clock::now();
  auto exchange = client_.start(std::move(*request));
  auto head = co_await exchange.head();
  if (head) learn_from(url, *head);
  tell(call.method, head, started);
  if (!head) co_return fail(head.error());
  co_return Sent{std::move(*head), std::move(exchange), std::move(authorization)};
}

void Transport::tell(std::string_view method, const Result<http::ResponseHead>& head,
                     std::chrono::steady_clock::time_point started) {
  if (!head && head.error().unanswered) observer_.request_unanswered(options_.name, head.error());
  observer_.request_done(options_.name, method, head ? head->status : 0,
                         std::chrono::steady_clock::now() - started);
}

// What other hosts say, to which blobs are redirected, is no word of the registry's.
void Transport::learn_from(const http::Url& url, const http::ResponseHead& head) {
  if (is_own(url) && head.certificate_end)
    observer_.certificate_seen(options_.name, *head.certificate_end);
  learn_load(url, head);
}

void Transport::learn_load(const http::Url& url, const http::ResponseHead& head) {
  if (!is_own(url)) return;
  if (head.status == 429 || head.status == 503) {
    throttle_.refused(retry_after_of(head));
  } else {
    throttle_.accepted();
  }
}

Result<http::Url> Transport::redirected(const http::Url& from,
                                        const http::ResponseHead& head) const {
  const auto location = head.header("location");
  auto next = location ? from.resolve(*location)
                       : fail(ErrorKind::invalid, "a redirect without a Location");
  if (!next) return fail(next.error().with_context(options_.name));
  if (from.scheme == "https" && next->scheme == "http") {
    return fail(ErrorKind::invalid,
                fmt::format("{}: a redirect from https to {}", options_.name, next->origin()));
  }
  return next;
}

asio::awaitable<Result<bool>> Transport::renew(Scopes scopes, const http::ResponseHead& refusal,
                                               const Secret& refused) {
  std::vector<std::string> challenges;
  for (const auto& [name, value] : refusal.headers) {
    if (name == "www-authenticate") challenges.push_back(value);
  }
  auto again =
      co_await authorizer_.challenged(std::move(scopes), refused.reveal(), std::move(challenges));
  if (again && *again) observer_.request_retried(options_.name, "token");
  co_return again;
}

asio::awaitable<Result<Answer>> Transport::send(Call call) {
  http::Url url = options_.url;
  if (call.url) {
    url = *call.url;
  } else {
    url.target = call.target;
  }
  Semaphore::Place place;
  if (!call.connected) place = co_await connections_.acquire();
  int redirects = 0;
  int renewals = 0;
  int waits = 0;
  for (;;) {
    auto sent = co_await send_once(call, url);
    if (!sent) co_return fail(sent.error());
    const int status = sent->head.status;
    std::optional<std::chrono::milliseconds> wait;
    if (status == 401 && is_own(url) && renewals < token_renewals_max) {
      ++renewals;
      auto again = co_await renew(call.scopes, sent->head, sent->authorization);
      if (!again) co_return fail(again.error());
      if (*again) wait = std::chrono::milliseconds(0);
    } else if (is_redirect(status) && (call.method == "GET" || call.method == "HEAD")) {
      auto next = redirected(url, sent->head);
      if (!next) co_return fail(next.error());
      if (++redirects > redirects_max) {
        co_return fail(ErrorKind::invalid,
                       fmt::format("{}: more than {} redirects", options_.name, redirects_max));
      }
      url = std::move(*next);
      wait = std::chrono::milliseconds(0);
    } else if ((status == 429 || status == 503) && waits < waits_max) {
      wait = retry_after_of(sent->head);
      if (wait && *wait > options_.longest_wait) wait.reset();
      if (wait) {
        ++waits;
        observer_.request_retried(options_.name, "throttled");
        wait = std::max(*wait, shortest_wait);
      }
    }
    if (!wait) {
      co_return Answer{std::move(sent->head), std::move(sent->exchange), std::move(url),
                       std::move(place), std::move(sent->authorization)};
    }
    static_cast<void>(
        co_await sent->exchange.read_all(error_body_bytes_max));  // keeps the connection
    if (wait->count() == 0) continue;
    // Others may ask meanwhile. A place that the caller took in an order of its own cannot be taken
    // again out of it.
    place.release();
    co_await sleep_for(*wait);
    if (!call.connected) place = co_await connections_.acquire();
  }
}

asio::awaitable<Result<Transport::Upload>> Transport::start_upload(Call call) {
  const http::Url url = *call.url;
  if (is_own(url)) co_await throttle_.turn();
  auto request = co_await request_for(call, url);
  if (!request) co_return fail(request.error());
  Secret authorization = authorization_of(*request);
  const auto started = std::chrono::steady_clock::now();
  co_return Upload{client_.start(std::move(*request)),
                   call.method,
                   url,
                   started,
                   std::move(call.scopes),
                   std::move(authorization)};
}

asio::awaitable<Result<Answer>> Transport::settle(Upload upload) {
  auto head = co_await upload.exchange.head();
  tell(upload.method, head, upload.started);
  if (!head) co_return fail(head.error());
  learn_from(upload.url, *head);
  bool token_renewed = false;
  if (head->status == 401 && is_own(upload.url)) {
    auto again = co_await renew(std::move(upload.scopes), *head, upload.authorization);
    if (!again) co_return fail(again.error());
    token_renewed = *again;
  }
  co_return Answer{std::move(*head),
                   std::move(upload.exchange),
                   std::move(upload.url),
                   {},
                   std::move(upload.authorization),
                   token_renewed};
}

void Transport::part_with(http::Url upload, const Secret& authorization) {
  if (!is_own(upload)) return;
  http::Request request;
  request.method = "DELETE";
  request.url = std::move(upload);
  request.tls = options_.tls;
  request.timeouts.total = parting_within;
  if (!authorization.empty()) request.headers.emplace_back("Authorization", authorization.reveal());
  if (partings_.size() >= partings_max) partings_.pop_front();
  partings_.push_back(client_.start(std::move(request)));
}

asio::awaitable<Error> Transport::error_of(Answer answer, std::string doing) {
  auto body = co_await answer.exchange.read_all(error_body_bytes_max);
  const RegistryMessage said = body ? read_error_body(*body) : RegistryMessage{};
  const auto retry_after = retry_after_of(answer.head);
  Error error{kind_of_status(answer.head.status, said.code, retry_after.has_value()),
              fmt::format("{}: {} answered {}", doing, options_.name, answer.head.status)};
  if (!said.code.empty()) error.message += " " + said.code;
  if (!said.message.empty()) error.message += ": " + said.message;
  error.retry_after = retry_after;
  error.code = said.code;
  co_return error;
}

}  // namespace transship::registry
