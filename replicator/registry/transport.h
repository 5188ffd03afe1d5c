#pragma once

#include <asio/awaitable.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "replicator/base/observer.h"
#include "replicator/base/pace.h"
#include "replicator/base/secret.h"
#include "replicator/base/task.h"
#include "replicator/http/client.h"
#include "replicator/registry/auth/authorizer.h"
#include "replicator/registry/throttle.h"

namespace transship::registry {

struct TransportOptions {
  std::string name;  // of the registry, for metrics and messages
  http::Url url;
  std::shared_ptr<const http::Tls> tls;
  http::Timeouts timeouts;
  std::size_t connections = 32;    // requests under way at once
  double requests_per_second = 0;  // 0: no limit, here and below
  std::uint64_t upload_rate = 0;   // bytes a second
  std::uint64_t download_rate = 0;
  std::chrono::milliseconds longest_wait{5'000};  // a longer Retry-After is left to the caller
};

// A request as the registry's operations make it.
struct Call {
  std::string method = "GET";
  std::string target;            // on the registry, from the slash on
  std::optional<http::Url> url;  // or a whole URL: an upload's location
  Scopes scopes;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::optional<std::uint64_t>
      upload_bytes;          // streamed by the caller; such a call is not sent again
  bool short_answer = true;  // the whole call is over within the limit for small answers
  std::optional<std::chrono::milliseconds> answer_within;
  bool connected = false;  // the caller holds one of the registry's connections for it
  std::size_t receive_buffer_bytes = http::Request{}.receive_buffer_bytes;
};

// An answer whose body has still to be read. It holds one of the registry's connections until it
// goes.
struct Answer {
  http::ResponseHead head;
  http::Exchange exchange;
  http::Url url;               // where it came from, after redirects
  Semaphore::Place place;      // none where the caller holds one
  Secret authorization;        // what it was asked with
  bool token_renewed = false;  // a streamed upload's 401 that is worth another try
};

// Sends calls to one registry: authorises them, follows redirects without handing credentials on,
// keeps to the number of connections, waits as a Retry-After asks, and counts. Of what failed,
// nothing else is sent again.
class Transport {
 public:
  Transport(http::Client& client, TransportOptions options,
            std::unique_ptr<CredentialSource> credentials, Observer& observer);

  // One of the registry's connections. Whoever needs two registries at once takes them in one
  // order.
  asio::awaitable<Semaphore::Place> connect() { return connections_.acquire(); }
  std::optional<Semaphore::Place> try_connect() { return connections_.try_acquire(); }
  [[nodiscard]] bool half_is_free() const { return connections_.half_is_free(); }

  // To be asked for each piece of a blob that comes, or goes.
  [[nodiscard]] Pace& downloads() { return downloads_; }
  [[nodiscard]] Pace& uploads() { return uploads_; }

  // Any status that is not 401, a redirect or a short Retry-After is an answer.
  asio::awaitable<Result<Answer>> send(Call call);

  // A streamed upload: write the body to the exchange, then ask settle() for the answer. The caller
  // holds a connection for it.
  struct Upload {
    http::Exchange exchange;
    std::string method;
    http::Url url;
    std::chrono::steady_clock::time_point started;
    Scopes scopes;
    Secret authorization;
  };
  asio::awaitable<Result<Upload>> start_upload(Call call);
  asio::awaitable<Result<Answer>> settle(Upload upload);

  // Sends one DELETE that nobody waits for; best effort, at most partings_max under way. Another
  // host is not asked.
  void part_with(http::Url upload, const Secret& authorization);
  static constexpr std::size_t partings_max = 8;

  // The error that an answer stands for, its body read. `doing` names the operation for people.
  asio::awaitable<Error> error_of(Answer answer, std::string doing);

  [[nodiscard]] const TransportOptions& options() const { return options_; }
  [[nodiscard]] Observer& observer() const { return observer_; }

 private:
  asio::awaitable<Result<http::Request>> request_for(const Call& call, const http::Url& url);
  struct Sent {
    http::ResponseHead head;
    http::Exchange exchange;
    Secret authorization;  // what it was sent with
  };
  asio::awaitable<Result<Sent>> send_once(const Call& call, const http::Url& url);
  asio::awaitable<Result<bool>> renew(Scopes scopes, const http::ResponseHead& refusal,
                                      const Secret& refused);
  [[nodiscard]] std::shared_ptr<const http::Tls> tls_for(const http::Url& url) const;
  [[nodiscard]] Result<http::Url> redirected(const http::Url& from,
                                             const http::ResponseHead& head) const;
  [[nodiscard]] bool is_own(const http::Url& url) const;
  void tell(std::string_view method, const Result<http::ResponseHead>& head,
            std::chrono::steady_clock::time_point started);
  void learn_from(const http::Url& url, const http::ResponseHead& head);
  void learn_load(const http::Url& url, const http::ResponseHead& head);

  http::Client& client_;
  TransportOptions options_;
  Authorizer authorizer_;
  Observer& observer_;
  Semaphore connections_;
  Throttle throttle_;
  Pace downloads_;
  Pace uploads_;
  std::deque<http::Exchange> partings_;
};

// Pure: which kind of error a status, with the registry's own code, is.
ErrorKind kind_of_status(int status, std::string_view code, bool has_retry_after);

}  // namespace transship::registry
