#include "tests/support/http_host.h"

#include <microhttpd.h>
#include <netinet/in.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace transship::testing {

namespace {

MHD_Result add_to_map(void* map, MHD_ValueKind kind, const char* key, const char* value) {
  std::string name(key);
  if (kind == MHD_HEADER_KIND) {
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  }
  const std::string text = value != nullptr ? value : "";
  const auto [entry, is_new] =
      static_cast<std::map<std::string, std::string>*>(map)->emplace(std::move(name), text);
  if (!is_new && kind == MHD_GET_ARGUMENT_KIND) entry->second += " " + text;
  return MHD_YES;
}

// A body that is sent in pieces, slowly or not to its end.
struct Body {
  HostReply reply;
  const std::atomic<bool>* stopping;

  static ssize_t read(void* self, std::uint64_t position, char* into, std::size_t room) {
    auto& body = *static_cast<Body*>(self);
    const HostReply& reply = body.reply;
    if (position >= reply.cut_after) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (position >= reply.body.size()) return MHD_CONTENT_READER_END_OF_STREAM;
    if (position > 0) {
      const auto until = std::chrono::steady_clock::now() + reply.per_piece;
      while (!*body.stopping && std::chrono::steady_clock::now() < until) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
    if (*body.stopping) return MHD_CONTENT_READER_END_WITH_ERROR;
    const std::size_t bytes =
        std::min({room, reply.piece_bytes, reply.body.size() - static_cast<std::size_t>(position),
                  reply.cut_after - static_cast<std::size_t>(position)});
    std::memcpy(into, reply.body.data() + position, bytes);
    if (reply.sent) *reply.sent += bytes;
    return static_cast<ssize_t>(bytes);
  }
  static void free(void* self) { delete static_cast<Body*>(self); }
};

}  // namespace

struct HttpHost::State {
  Handler handler;
  MHD_Daemon* daemon = nullptr;
  std::uint16_t port = 0;
  std::atomic<bool> stopping{false};
  std::mutex mutex;  // of the two below
  Watch watch;
  BrokenOff broken_off;

  static MHD_Result on_request(void* self, MHD_Connection* connection, const char* url,
                               const char* method, const char*, const char* data, std::size_t* size,
                               void** slot) {
    auto& state = *static_cast<State*>(self);
    auto* request = static_cast<HostRequest*>(*slot);
    if (request == nullptr) {
      request = new HostRequest{method, url, {}, {}, {}, false};
      MHD_get_connection_values(connection, MHD_HEADER_KIND, &add_to_map, &request->headers);
      MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, &add_to_map, &request->query);
      *slot = request;
      return MHD_YES;
    }
    if (*size > 0) {
      request->body.append(data, *size);
      *size = 0;
      Watch watching;
      {
        const std::lock_guard lock(state.mutex);
        watching = state.watch;
      }
      return watching && !watching(*request) ? MHD_NO : MHD_YES;
    }
    request->complete = true;
    return state.answer(connection, state.handler(*request));
  }

  static void on_completed(void* self, MHD_Connection*, void** slot, MHD_RequestTerminationCode) {
    auto& state = *static_cast<State*>(self);
    const std::unique_ptr<HostRequest> request(static_cast<HostRequest*>(*slot));
    *slot = nullptr;
    if (!request || request->complete) return;
    BrokenOff told;
    {
      const std::lock_guard lock(state.mutex);
      told = state.broken_off;
    }
    if (told) told(*request);
  }

  MHD_Result answer(MHD_Connection* connection, HostReply reply) {
    const auto until = std::chrono::steady_clock::now() + reply.delay;
    while (!stopping && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (reply.hang_up || stopping) return MHD_NO;
    const auto headers = reply.headers;
    const int status = reply.status;
    const std::uint64_t length = reply.without_length ? MHD_SIZE_UNKNOWN : reply.body.size();
    auto* body = new Body{std::move(reply), &stopping};
    MHD_Response* response =
        MHD_create_response_from_callback(length, 65'536, &Body::read, body, &Body::free);
    for (const auto& [name, value] : headers) {
      if (name == "Content-Length") continue;
      MHD_add_response_header(response, name.c_str(), value.c_str());
    }
    const MHD_Result queued =
        MHD_queue_response(connection, static_cast<unsigned>(status), response);
    MHD_destroy_response(response);
    return queued;
  }
};

HttpHost::HttpHost(Handler handler) : state_(std::make_unique<State>()) {
  state_->handler = std::move(handler);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  state_->daemon = MHD_start_daemon(
      MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, 0, nullptr,
      nullptr, &State::on_request, state_.get(), MHD_OPTION_SOCK_ADDR, &address,
      MHD_OPTION_NOTIFY_COMPLETED, &State::on_completed, state_.get(),
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, std::size_t{262'144}, MHD_OPTION_END);
  if (state_->daemon == nullptr) throw std::runtime_error("the test's HTTP server does not start");
  state_->port = MHD_get_daemon_info(state_->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}

HttpHost::~HttpHost() { stop(); }

void HttpHost::set_watch(Watch watch) {
  const std::lock_guard lock(state_->mutex);
  state_->watch = std::move(watch);
}

void HttpHost::set_broken_off(BrokenOff broken_off) {
  const std::lock_guard lock(state_->mutex);
  state_->broken_off = std::move(broken_off);
}

void HttpHost::stop() {
  state_->stopping = true;
  if (state_->daemon != nullptr) MHD_stop_daemon(std::exchange(state_->daemon, nullptr));
}

std::uint16_t HttpHost::port() const { return state_->port; }

}  // namespace transship::testing
