#pragma once

#include <curl/curl.h>

#include <chrono>
#include <deque>
#include <memory>
#include <string>

#include "replicator/base/task.h"
#include "replicator/http/client.h"

// Inside the HTTP client: one easy handle and what flows through it. Nothing outside
// replicator/http includes this.
namespace transship::http {

class Engine;

class Transfer {
 public:
  Transfer(std::shared_ptr<Engine> engine, Request request);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  asio::awaitable<Result<bool>> write(Chunk chunk);
  asio::awaitable<Result<ResponseHead>> head();
  asio::awaitable<Result<Chunk>> read();

  [[nodiscard]] CURL* easy() const { return easy_; }
  void finished(CURLcode code);        // libcurl is done with it
  void break_off(std::string reason);  // we are
  void check_deadlines();

  // libcurl's own buffers, what one system call moves. Small enough that the bytes of a few
  // transfers stay in the processor's cache from the socket to the hash to the socket.
  static constexpr std::size_t read_bytes = 64UL << 10U;
  // The bounded buffer from the coroutines to libcurl. One chunk more than that can lie in it; in
  // the one back, one read more than the request says.
  static constexpr std::size_t buffer_bytes = 128UL << 10U;
  static constexpr std::size_t chunk_bytes = 128UL << 10U;  // of a received body
  static constexpr std::size_t header_bytes_max = 256UL << 10U;

 private:
  using Clock = std::chrono::steady_clock;
  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_read(char* into, std::size_t, std::size_t size, void* self);

  void set_options();
  void set_body_options();
  void set_tls_options();
  std::size_t take_header(std::string_view line);
  std::size_t take_body(std::string_view bytes);
  std::size_t give_body(char* into, std::size_t size);
  void apply_pauses();
  void moved(std::size_t bytes);
  void end(std::optional<Error> error);
  [[nodiscard]] Error error_of(CURLcode code) const;
  [[nodiscard]] std::string where() const;

  std::shared_ptr<Engine> engine_;
  Request request_;
  CURL* easy_;
  curl_slist* header_list_ = nullptr;
  char error_text_[CURL_ERROR_SIZE] = {};

  Event changed_;
  bool done_ = false;
  std::optional<Error> error_;

  ResponseHead head_;
  bool head_complete_ = false;
  std::size_t header_bytes_ = 0;

  std::deque<std::string> received_;  // what libcurl gave and nobody has read yet
  std::size_t received_bytes_ = 0;    // of received_
  bool receive_paused_ = false;

  std::deque<Chunk> to_send_;
  std::size_t to_send_bytes_ = 0;  // of to_send_, less front_sent_
  std::size_t front_sent_ = 0;     // bytes of to_send_'s front already given to libcurl
  std::uint64_t sent_ = 0;         // bytes of the body given to libcurl
  bool send_paused_ = false;

  Clock::time_point started_ = Clock::now();
  Clock::time_point body_sent_at_ = Clock::now();
  Clock::time_point window_start_ = Clock::now();  // of the stall rule
  std::uint64_t window_bytes_ = 0;
};

}  // namespace transship::http
