#pragma once

#include <curl/curl.h>

#include <asio/any_io_executor.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

// Inside the HTTP client: libcurl's multi handle on the Asio loop. Nothing outside replicator/http
// includes this.
namespace transship::http {

class Transfer;

// Owns the multi handle, its sockets' watchers and its timers. libcurl's documented rules hold
// here: descriptors stay libcurl's own, a watcher is dropped before its socket is closed, and no
// handle is added or removed inside a callback.
class Engine : public std::enable_shared_from_this<Engine> {
 public:
  Engine(asio::any_io_executor executor, std::string user_agent);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // An easy handle with no options set; give it back with recycle().
  CURL* take_easy();
  void recycle(CURL* easy);

  // Buffers of chunks go round, so that the system need not give new pages for each. take_buffer()
  // may give an empty one; a lent one comes back when its last holder lets it go.
  std::string take_buffer();
  std::shared_ptr<const std::string> lend(std::string bytes);

  // False once shut.
  bool add(Transfer& transfer);
  void remove(Transfer& transfer);
  void shut();  // breaks off everything; later calls do nothing

  [[nodiscard]] const std::string& user_agent() const { return user_agent_; }
  [[nodiscard]] asio::any_io_executor executor() const { return executor_; }

 private:
  struct Watcher;
  static int on_socket(CURL*, curl_socket_t socket, int what, void* self, void*);
  static int on_timer(CURLM*, long timeout_ms, void* self);
  static int on_close(void* self, curl_socket_t socket);

  void watch(curl_socket_t socket, int what);
  void arm(const std::shared_ptr<Watcher>& watcher, int direction);
  void drive(curl_socket_t socket, int events);
  void set_timer(long timeout_ms);
  void reap();
  void schedule_sweep();

  asio::any_io_executor executor_;
  std::string user_agent_;
  CURLM* multi_;
  std::unordered_map<curl_socket_t, std::shared_ptr<Watcher>> watchers_;
  asio::steady_timer curl_timer_;
  asio::steady_timer sweep_timer_;  // looks at every transfer's deadlines, while there are any
  bool sweeping_ = false;
  std::uint64_t timer_generation_ = 0;
  std::set<Transfer*> transfers_;
  std::vector<CURL*> idle_;
  std::vector<std::string> buffers_;
};

}  // namespace transship::http
