#include "daemon/http_server.h"

#include <fmt/format.h>
#include <microhttpd.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <charconv>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace transship {

namespace {

constexpr int listen_backlog = 512;
constexpr std::chrono::seconds patience_when_full{2};
constexpr std::size_t piece_bytes_worth_a_place = 1024;  // of a body

HttpResponse refusal(int status, std::string_view message) {
  HttpResponse response{
      status, nlohmann::json{{"message", message}}.dump() + "\n", "application/json", {}};
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

// One request while it is received, handled and answered.
struct Exchange {
  HttpRequest request;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  std::size_t charged = 0;  // bytes of its body counted against the limit over all
  std::optional<HttpResponse> response;
  MHD_Connection* connection = nullptr;  // while it is suspended
};

MHD_Result add_to_map(void* map, MHD_ValueKind kind, const char* key, const char* value) {
  std::string name(key);
  if (kind == MHD_HEADER_KIND) {
    std::transform(name.begin(), name.end(), name.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
  }
  static_cast<std::map<std::string, std::string>*>(map)->emplace(std::move(name),
                                                                 value != nullptr ? value : "");
  return MHD_YES;
}

Result<int> open_listener(const std::string& host, std::uint16_t port) {
  std::string name = host;
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int code = ::getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &found);
      code != 0) {
    return fail(ErrorKind::invalid, fmt::format("http.listen: {}: {}", host, ::gai_strerror(code)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  const int socket = ::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int yes = 1;
  if (socket >= 0) ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (socket < 0 || ::bind(socket, found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(socket, listen_backlog) != 0) {
    const std::string why = std::strerror(errno);
    if (socket >= 0) ::close(socket);
    return fail(ErrorKind::invalid, fmt::format("cannot listen on {}:{}: {}", host, port, why));
  }
  return socket;
}

HttpResponse is_stopping() { return refusal(503, "the daemon is stopping"); }

std::uint16_t port_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

}  // namespace

// libmicrohttpd in external epoll mode: the loop waits on its epoll descriptor and runs it when
// something happened.
struct HttpServer::State : std::enable_shared_from_this<HttpServer::State> {
  State(asio::any_io_executor on, Handler handle, HttpServerLimits bounds)
      : executor(std::move(on)),
        handler(std::move(handle)),
        limits(bounds),
        timer(executor),
        relief(executor) {}
  ~State() { stop(); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Result<void> start(const std::string& host, std::uint16_t port);
  void stop();
  void run();
  void arm();

  static void on_connection(void* self, MHD_Connection* connection, void** context,
                            MHD_ConnectionNotificationCode code);
  void came_on(MHD_Connection* connection, bool is_answered = false);
  void relieve();
  static std::size_t unescape(void* self, MHD_Connection*, char* text);
  static MHD_Result on_request(void* self, MHD_Connection* connection, const char* url,
                               const char* method, const char* version, const char* data,
                               std::size_t* size, void** exchange);
  static void on_completed(void* self, MHD_Connection* connection, void** exchange,
                           MHD_RequestTerminationCode);

  MHD_Result begin(MHD_Connection* connection, const char* url, const char* method, void** slot);
  [[nodiscard]] HttpResponse too_large() const;
  MHD_Result take(MHD_Connection* connection, Exchange& exchange, std::string_view data);
  MHD_Result handle(MHD_Connection* connection, const std::shared_ptr<Exchange>& exchange);
  static MHD_Result answer(MHD_Connection* connection, const HttpResponse& response);

  asio::any_io_executor executor;
  Handler handler;
  HttpServerLimits limits;
  MHD_Daemon* daemon = nullptr;
  std::unique_ptr<asio::posix::stream_descriptor> epoll;
  asio::steady_timer timer;
  bool waiting = false;
  bool run_posted = false;
  bool stopping = false;
  std::uint16_t listening_port = 0;
  std::size_t bodies_bytes = 0;
  std::set<std::shared_ptr<Exchange>> suspended;
  using Clock = std::chrono::steady_clock;
  struct Client {
    Clock::time_point since;   // it came, sent its headers, its body, or was answered
    bool is_answered = false;  // it waits for us
    bool is_shut = false;
  };
  std::map<MHD_Connection*, Client> clients;
  asio::steady_timer relief;
  bool relief_is_near = false;
};

Result<void> HttpServer::State::start(const std::string& host, std::uint16_t port) {
  auto socket = open_listener(host, port);
  if (!socket) return fail(socket.error());
  listening_port = port_of(*socket);
  daemon = MHD_start_daemon(
      MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr, &State::on_request, this,
      MHD_OPTION_LISTEN_SOCKET, *socket, MHD_OPTION_NOTIFY_COMPLETED, &State::on_completed, this,
      MHD_OPTION_CONNECTION_LIMIT, limits.connections, MHD_OPTION_CONNECTION_TIMEOUT,
      static_cast<unsigned>(limits.idle.count()), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      limits.header_bytes, MHD_OPTION_UNESCAPE_CALLBACK, &State::unescape, this,
      MHD_OPTION_NOTIFY_CONNECTION, &State::on_connection, this, MHD_OPTION_END);
  if (daemon == nullptr) {
    ::close(*socket);
    return fail(ErrorKind::invalid,
                fmt::format("the HTTP server cannot start on {}:{}", host, port));
  }
  const auto* info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
  epoll = std::make_unique<asio::posix::stream_descriptor>(executor, info->epoll_fd);
  arm();
  return {};
}

void HttpServer::State::stop() {
  if (daemon == nullptr) return;
  stopping = true;
  for (const auto& exchange : suspended) {
    exchange->response = is_stopping();
    MHD_resume_connection(exchange->connection);
  }
  suspended.clear();
  MHD_run(daemon);
  timer.cancel();
  relief.cancel();
  epoll->release();
  epoll.reset();
  MHD_stop_daemon(std::exchange(daemon, nullptr));
}

void HttpServer::State::run() {
  if (daemon == nullptr) return;
  MHD_run(daemon);
  arm();
}

void HttpServer::State::arm() {
  if (daemon == nullptr) return;
  if (!waiting) {
    waiting = true;
    epoll->async_wait(asio::posix::stream_descriptor::wait_read,
                      [weak = weak_from_this()](asio::error_code error) {
                        const auto self = weak.lock();
                        if (!self) return;
                        self->waiting = false;
                        if (!error) self->run();
                      });
  }
  MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
  if (MHD_get_timeout(daemon, &timeout_ms) == MHD_YES) {
    timer.expires_after(std::chrono::milliseconds(timeout_ms));
    timer.async_wait([weak = weak_from_this()](asio::error_code error) {
      const auto self = weak.lock();
      if (self && !error) self->run();
    });
  }
}

void HttpServer::State::on_connection(void* self, MHD_Connection* connection, void**,
                                      MHD_ConnectionNotificationCode code) {
  auto& state = *static_cast<State*>(self);
  if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
    state.clients.erase(connection);
    return;
  }
  state.clients.emplace(connection, Client{Clock::now()});
  state.relieve();
}

void HttpServer::State::came_on(MHD_Connection* connection, bool is_answered) {
  const auto client = clients.find(connection);
  if (client == clients.end()) return;
  client->second.since = Clock::now();
  client->second.is_answered = is_answered;
}

// The places are few, and a client that sends a byte now and then keeps one for as long as it
// likes. When hardly any is left, those go that have come on least, until half of them are free;
// not who waits for our answer, and nobody at once.
void HttpServer::State::relieve() {
  if (stopping || relief_is_near || clients.size() < limits.connections - limits.connections / 64)
    return;
  const auto now = Clock::now();
  std::vector<std::pair<Clock::time_point, MHD_Connection*>> slow;
  std::size_t staying = 0;
  for (const auto& [connection, client] : clients) {
    staying += client.is_shut ? 0 : 1;
    if (!client.is_shut && !client.is_answered && now - client.since >= patience_when_full)
      slow.emplace_back(client.since, connection);
  }
  std::sort(slow.begin(), slow.end());
  for (const auto& [since, connection] : slow) {
    if (staying-- <= limits.connections / 2) break;
    clients[connection].is_shut = true;
    ::shutdown(MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
               SHUT_RDWR);
  }
  // One run closes them, and the next one takes connections again.
  for (int runs = 0; runs < 2 && !slow.empty(); ++runs) {
    asio::post(executor, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->run();
    });
  }
  relief_is_near = true;
  relief.expires_after(patience_when_full);
  relief.async_wait([weak = weak_from_this()](asio::error_code error) {
    const auto self = weak.lock();
    if (!self || error) return;
    self->relief_is_near = false;
    self->relieve();
  });
}

// A NUL would end the text for us in the middle: with one it stays as it was sent, and names
// nothing.
std::size_t HttpServer::State::unescape(void*, MHD_Connection*, char* text) {
  return std::strstr(text, "%00") != nullptr ? std::strlen(text) : MHD_http_unescape(text);
}

MHD_Result HttpServer::State::on_request(void* self, MHD_Connection* connection, const char* url,
                                         const char* method, const char*, const char* data,
                                         std::size_t* size, void** slot) {
  auto& state = *static_cast<State*>(self);
  if (*slot == nullptr) return state.begin(connection, url, method, slot);
  const auto& exchange = *static_cast<std::shared_ptr<Exchange>*>(*slot);
  if (*size > 0) {
    const std::string_view bytes(data, *size);
    *size = 0;
    return state.take(connection, *exchange, bytes);
  }
  if (exchange->response) return answer(connection, *exchange->response);
  return state.handle(connection, exchange);
}

MHD_Result HttpServer::State::begin(MHD_Connection* connection, const char* url, const char* method,
                                    void** slot) {
  came_on(connection);
  auto exchange = std::make_shared<Exchange>();
  exchange->request.method = method;
  exchange->request.path = url;
  MHD_get_connection_values(connection, MHD_HEADER_KIND, &add_to_map, &exchange->request.headers);
  MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, &add_to_map,
                            &exchange->request.query);
  const auto length = exchange->request.headers.find("content-length");
  *slot = new std::shared_ptr<Exchange>(exchange);
  if (length == exchange->request.headers.end()) return MHD_YES;
  std::size_t bytes = 0;
  const std::string& text = length->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (error != std::errc() || bytes <= limits.body_bytes) return MHD_YES;
  exchange->response = too_large();
  // A client that sends without asking first sees no answer before it has sent everything: closing
  // the connection under it would be all that it sees.
  const bool asks_first = exchange->request.headers.contains("expect");
  if (asks_first || bytes > limits.thrown_away_bytes)
    return answer(connection, *exchange->response);
  return MHD_YES;
}

HttpResponse HttpServer::State::too_large() const {
  return refusal(413, fmt::format("a body may have at most {} bytes", limits.body_bytes));
}

// A body over a limit is read to its end and thrown away, so that the client sees the answer.
MHD_Result HttpServer::State::take(MHD_Connection* connection, Exchange& exchange,
                                   std::string_view data) {
  if (data.size() >= piece_bytes_worth_a_place) came_on(connection);
  if (std::chrono::steady_clock::now() - exchange.started > limits.whole_body) return MHD_NO;
  if (exchange.response) return MHD_YES;
  if (exchange.charged + data.size() > limits.body_bytes) {
    exchange.response = too_large();
  } else if (bodies_bytes + data.size() > limits.bodies_bytes) {
    exchange.response = refusal(503, "too many requests at once");
  } else {
    bodies_bytes += data.size();
    exchange.charged += data.size();
    exchange.request.body.append(data);
    return MHD_YES;
  }
  exchange.request.body = {};
  return MHD_YES;
}

MHD_Result HttpServer::State::handle(MHD_Connection* connection,
                                     const std::shared_ptr<Exchange>& exchange) {
  // What the last run reads is answered in it: none may be suspended when libmicrohttpd is stopped.
  if (stopping) return answer(connection, is_stopping());
  exchange->connection = connection;
  came_on(connection, /*is_answered=*/true);
  suspended.insert(exchange);
  MHD_suspend_connection(connection);
  asio::co_spawn(
      executor, handler(std::move(exchange->request)),
      [weak = weak_from_this(), exchange](const std::exception_ptr& thrown, HttpResponse response) {
        const auto self = weak.lock();
        if (!self || self->suspended.erase(exchange) == 0) return;
        exchange->response = thrown ? refusal(500, "internal error") : std::move(response);
        self->came_on(exchange->connection);
        MHD_resume_connection(exchange->connection);
        // Many answers may come at once; one run serves them all.
        if (std::exchange(self->run_posted, true)) return;
        asio::post(self->executor, [self] {
          self->run_posted = false;
          self->run();
        });
      });
  return MHD_YES;
}

MHD_Result HttpServer::State::answer(MHD_Connection* connection, const HttpResponse& response) {
  MHD_Response* made = MHD_create_response_from_buffer(
      response.body.size(), const_cast<char*>(response.body.data()), MHD_RESPMEM_MUST_COPY);
  if (made == nullptr) return MHD_NO;
  MHD_add_response_header(made, "Content-Type", response.content_type.c_str());
  for (const auto& [name, value] : response.headers) {
    MHD_add_response_header(made, name.c_str(), value.c_str());
  }
  const MHD_Result queued =
      MHD_queue_response(connection, static_cast<unsigned>(response.status), made);
  MHD_destroy_response(made);
  return queued;
}

void HttpServer::State::on_completed(void* self, MHD_Connection* connection, void** slot,
                                     MHD_RequestTerminationCode) {
  static_cast<State*>(self)->came_on(connection);
  auto* exchange = static_cast<std::shared_ptr<Exchange>*>(*slot);
  if (exchange == nullptr) return;
  static_cast<State*>(self)->bodies_bytes -= (*exchange)->charged;
  delete exchange;
  *slot = nullptr;
}

HttpServer::HttpServer(asio::any_io_executor executor, Handler handler, HttpServerLimits limits)
    : state_(std::make_shared<State>(std::move(executor), std::move(handler), limits)) {}
HttpServer::~HttpServer() { state_->stop(); }

Result<void> HttpServer::listen(const std::string& host, std::uint16_t port) {
  return state_->start(host, port);
}
std::uint16_t HttpServer::port() const { return state_->listening_port; }
void HttpServer::stop() { state_->stop(); }

}  // namespace transship
