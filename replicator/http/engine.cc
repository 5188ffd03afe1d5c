#include "replicator/http/engine.h"

#include "replicator/http/transfer.h"

namespace transship::http {

namespace {

constexpr std::chrono::milliseconds sweep_every{200};
constexpr std::size_t idle_handles_max = 64;
constexpr std::size_t idle_buffers_max = 16;
constexpr long cached_connections_max = 256;

}  // namespace

// Waits for one socket. Asio wraps the descriptor only to wait on it and never closes it.
struct Engine::Watcher {
  Watcher(const asio::any_io_executor& executor, curl_socket_t socket)
      : descriptor(executor, socket) {}
  ~Watcher() { descriptor.release(); }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  asio::posix::stream_descriptor descriptor;
  int wanted = CURL_POLL_NONE;  // what libcurl waits for now
  bool reading = false;         // waits under way
  bool writing = false;
  bool dropped = false;
};

Engine::Engine(asio::any_io_executor executor, std::string user_agent)
    : executor_(std::move(executor)),
      user_agent_(std::move(user_agent)),
      multi_(curl_multi_init()),
      curl_timer_(executor_),
      sweep_timer_(executor_) {
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &Engine::on_socket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &Engine::on_timer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, cached_connections_max);
  // One stream a connection: bulk transfers over long links want many TCP windows, not one.
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
}

Engine::~Engine() { shut(); }

void Engine::shut() {
  if (multi_ == nullptr) return;
  while (!transfers_.empty()) (*transfers_.begin())->break_off("the client was closed");
  for (CURL* easy : idle_) curl_easy_cleanup(easy);
  idle_.clear();
  curl_multi_cleanup(multi_);
  multi_ = nullptr;
  watchers_.clear();
  curl_timer_.cancel();
  sweep_timer_.cancel();
}

CURL* Engine::take_easy() {
  CURL* easy = nullptr;
  if (idle_.empty()) {
    easy = curl_easy_init();
  } else {
    easy = idle_.back();
    idle_.pop_back();
  }
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, &Engine::on_close);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, this);
  return easy;
}

void Engine::recycle(CURL* easy) {
  if (multi_ == nullptr || idle_.size() >= idle_handles_max) {
    curl_easy_cleanup(easy);
    return;
  }
  curl_easy_reset(easy);
  idle_.push_back(easy);
}

std::string Engine::take_buffer() {
  if (buffers_.empty()) return {};
  std::string buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

std::shared_ptr<const std::string> Engine::lend(std::string bytes) {
  return {new std::string(std::move(bytes)), [self = weak_from_this()](std::string* returned) {
            const auto engine = self.lock();
            if (engine && engine->buffers_.size() < idle_buffers_max) {
              returned->clear();
              engine->buffers_.push_back(std::move(*returned));
            }
            delete returned;
          }};
}

bool Engine::add(Transfer& transfer) {
  if (multi_ == nullptr) return false;
  transfers_.insert(&transfer);
  curl_multi_add_handle(multi_, transfer.easy());
  schedule_sweep();
  return true;
}

void Engine::remove(Transfer& transfer) {
  if (transfers_.erase(&transfer) > 0) curl_multi_remove_handle(multi_, transfer.easy());
}

int Engine::on_socket(CURL*, curl_socket_t socket, int what, void* self, void*) {
  static_cast<Engine*>(self)->watch(socket, what);
  return 0;
}

int Engine::on_timer(CURLM*, long timeout_ms, void* self) {
  static_cast<Engine*>(self)->set_timer(timeout_ms);
  return 0;
}

int Engine::on_close(void* self, curl_socket_t socket) {
  // The socket may be closed before the notice that nobody waits for it any more.
  static_cast<Engine*>(self)->watch(socket, CURL_POLL_REMOVE);
  return ::close(socket);
}

void Engine::watch(curl_socket_t socket, int what) {
  auto found = watchers_.find(socket);
  if (what == CURL_POLL_REMOVE) {
    if (found == watchers_.end()) return;
    const auto watcher = found->second;
    watchers_.erase(found);
    watcher->dropped = true;
    watcher->wanted = CURL_POLL_NONE;
    watcher->descriptor.release();  // cancels the waits
    return;
  }
  if (found == watchers_.end()) {
    found = watchers_.emplace(socket, std::make_shared<Watcher>(executor_, socket)).first;
  }
  found->second->wanted = what;
  arm(found->second, CURL_POLL_IN);
  arm(found->second, CURL_POLL_OUT);
}

void Engine::arm(const std::shared_ptr<Watcher>& watcher, int direction) {
  const bool in = direction == CURL_POLL_IN;
  bool& waiting = in ? watcher->reading : watcher->writing;
  if (watcher->dropped || waiting || (watcher->wanted & direction) == 0) return;
  waiting = true;
  const auto wait =
      in ? asio::posix::stream_descriptor::wait_read : asio::posix::stream_descriptor::wait_write;
  watcher->descriptor.async_wait(wait, [self = weak_from_this(), watcher, direction,
                                        in](asio::error_code error) {
    (in ? watcher->reading : watcher->writing) = false;
    const auto engine = self.lock();
    // Descriptor numbers are reused: a dropped watcher must not speak for the next socket of its
    // number.
    if (!engine || watcher->dropped || error == asio::error::operation_aborted) return;
    if ((watcher->wanted & direction) != 0) {
      engine->drive(watcher->descriptor.native_handle(), in ? CURL_CSELECT_IN : CURL_CSELECT_OUT);
    }
    engine->arm(watcher, direction);
  });
}

void Engine::drive(curl_socket_t socket, int events) {
  if (multi_ == nullptr) return;
  int running = 0;
  curl_multi_socket_action(multi_, socket, events, &running);
  reap();
}

void Engine::set_timer(long timeout_ms) {
  ++timer_generation_;
  if (timeout_ms < 0) {
    curl_timer_.cancel();
    return;
  }
  auto due = [self = weak_from_this(), generation = timer_generation_](asio::error_code error) {
    const auto engine = self.lock();
    if (error || !engine || generation != engine->timer_generation_) return;
    engine->drive(CURL_SOCKET_TIMEOUT, 0);
  };
  if (timeout_ms == 0) {  // each end of a pause asks for this: it needs no clock
    asio::post(executor_, [due = std::move(due)] { due({}); });
    return;
  }
  curl_timer_.expires_after(std::chrono::milliseconds(timeout_ms));
  curl_timer_.async_wait(std::move(due));
}

void Engine::reap() {
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    void* owner = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner);
    const CURLcode code = message->data.result;
    auto* transfer = static_cast<Transfer*>(owner);
    remove(*transfer);
    transfer->finished(code);
  }
}

void Engine::schedule_sweep() {
  if (sweeping_) return;
  sweeping_ = true;
  sweep_timer_.expires_after(sweep_every);
  sweep_timer_.async_wait([self = weak_from_this()](asio::error_code error) {
    const auto engine = self.lock();
    if (!engine) return;
    engine->sweeping_ = false;
    if (error) return;
    const std::vector<Transfer*> transfers(engine->transfers_.begin(), engine->transfers_.end());
    for (Transfer* transfer : transfers) transfer->check_deadlines();
    if (!engine->transfers_.empty()) engine->schedule_sweep();
  });
}

}  // namespace transship::http
