#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace transship::testing {

// A TCP server on a free port of 127.0.0.1 that says, byte by byte, what a test's script tells it
// to: what no HTTP library would send. Each connection is served by a thread of its own, which runs
// the script.
class RawHost {
 public:
  class Connection {
   public:
    explicit Connection(int socket) : socket_(socket) {}
    // A request's head, to the empty line; empty when the other side has closed.
    std::string read_head();
    // Reads and forgets up to `bytes` more. Returns how many came before the other side closed.
    std::size_t skip(std::size_t bytes);
    // False when the other side has closed.
    bool send(std::string_view bytes);
    // How many of `bytes` the other side takes until it takes none for `patience_ms`.
    std::size_t send_until_stuck(std::string_view bytes, int patience_ms);
    // Returns once the other side has closed (whatever it sent before is read and forgotten).
    void wait_for_close();

   private:
    int socket_;
    std::string ahead_;  // read behind a head
  };
  using Script = std::function<void(Connection&)>;

  explicit RawHost(Script script);
  ~RawHost();  // breaks every connection and waits for the scripts
  RawHost(const RawHost&) = delete;
  RawHost& operator=(const RawHost&) = delete;

  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::size_t connections() const { return accepted_; }
  [[nodiscard]] std::size_t open_connections() const { return open_; }

 private:
  void serve();

  Script script_;
  int listener_;
  std::uint16_t port_ = 0;
  std::atomic<std::size_t> accepted_{0};
  std::atomic<std::size_t> open_{0};
  std::mutex mutex_;
  std::list<int> sockets_;
  std::list<std::thread> threads_;
  std::thread accepting_;
};

}  // namespace transship::testing
