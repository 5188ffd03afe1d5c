#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "replicator/base/error.h"

namespace transship {

struct HttpRequest {
  std::string method;
  std::string path;                            // decoded, without the query
  std::map<std::string, std::string> query;    // decoded
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
};

struct HttpServerLimits {
  std::size_t body_bytes = 16UL << 20U;  // more is answered 413
  // Of a body that is over the limit, so much is read and thrown away before it is answered; one
  // that is declared to be larger is answered at once and the connection closed.
  std::size_t thrown_away_bytes = 64UL << 20U;
  std::size_t bodies_bytes = 128UL << 20U;  // of all requests together; more is answered 503
  std::size_t header_bytes = 64UL << 10U;
  unsigned connections = 1024;
  std::chrono::seconds idle{60};
  std::chrono::seconds whole_body{300};  // a client that takes longer to send one is cut off
};

// An HTTP/1.1 server (libmicrohttpd) on the Asio loop. Each request whose body is complete is
// handed to the handler as a coroutine; while that waits, the server goes on with others. Bodies,
// headers, connections and idle time are bounded.
class HttpServer {
 public:
  using Handler = std::function<asio::awaitable<HttpResponse>(HttpRequest)>;

  HttpServer(asio::any_io_executor executor, Handler handler, HttpServerLimits limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // `host` is an address or a name; an IPv6 address may be in brackets. Port 0 lets the system
  // choose.
  Result<void> listen(const std::string& host, std::uint16_t port);
  [[nodiscard]] std::uint16_t port() const;
  void stop();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace transship
