#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "replicator/base/error.h"
#include "replicator/http/url.h"

// One HTTP client on one event loop: libcurl's multi interface driven by Asio. It follows no
// redirect, knows no credentials and tries nothing twice; what it adds to libcurl is awaiting,
// back-pressure and limits on every wait.
namespace transship::http {

// A piece of a body. Shared, so that one download can feed several uploads without a copy.
using Chunk = std::shared_ptr<const std::string>;

struct Tls {
  std::string ca_file;    // instead of the system's certificate authorities
  std::string cert_file;  // for mutual TLS, with key_file
  std::string key_file;
};

struct Timeouts {
  std::chrono::milliseconds connect{10'000};  // name look-up, TCP and TLS
  std::chrono::milliseconds answer{
      60'000};  // from the last byte sent to the end of the answer's headers
  std::chrono::milliseconds stall{
      30'000};  // a body that moves less than stall_bytes in this time is broken off
  std::optional<std::chrono::milliseconds>
      total;  // of the whole request, for those that should be short
  static constexpr std::uint64_t stall_bytes = 1024;
};

struct Request {
  std::string method = "GET";
  Url url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;  // sent with its length, where upload_bytes is not set
  std::optional<std::uint64_t>
      upload_bytes;  // the body comes by Exchange::write and has exactly this length
  // Bytes of the answer's body that may lie here before the sender is held back: a range that is
  // read ahead of its turn wants all of it.
  std::size_t receive_buffer_bytes = 128UL << 10U;
  Timeouts timeouts;
  std::shared_ptr<const Tls> tls;
};

struct ResponseHead {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  // When the server's certificate stops being valid; none without TLS.
  std::optional<std::chrono::sys_seconds> certificate_end = {};
  // The first header of this name (lower case); nullopt where there is none.
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const;
};

class Transfer;

// A request under way. Dropping it breaks it off.
class Exchange {
 public:
  explicit Exchange(std::shared_ptr<Transfer> transfer);
  Exchange(Exchange&&) noexcept;
  Exchange& operator=(Exchange&&) noexcept;
  ~Exchange();

  // Adds to a streamed body; waits while the buffer is full. False when the server has answered
  // already (it will not read on): ask for head() then.
  asio::awaitable<Result<bool>> write(Chunk chunk);
  // Waits for the answer's headers, once the whole body was written.
  asio::awaitable<Result<ResponseHead>> head();
  // The next piece of the answer's body; null at its end. Reading slowly slows the sender down.
  asio::awaitable<Result<Chunk>> read();
  // The rest of the body; `invalid` when it is longer than `bytes_max`.
  asio::awaitable<Result<std::string>> read_all(std::size_t bytes_max);

 private:
  std::shared_ptr<Transfer> transfer_;
};

class Engine;

class Client {
 public:
  // The executor's context must be run by one thread, the one that uses the client.
  explicit Client(asio::any_io_executor executor, std::string user_agent);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  Exchange start(Request request);
  [[nodiscard]] asio::any_io_executor executor() const;

 private:
  std::shared_ptr<Engine> engine_;
};

}  // namespace transship::http
