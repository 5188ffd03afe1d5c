#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace transship::testing {

// An HTTP server for tests on a free port of 127.0.0.1, a thread a connection, so that a handler
// may block.
struct HostRequest {
  std::string method;
  std::string path;                            // decoded
  std::map<std::string, std::string> query;    // decoded; repeated ones with a blank between
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  bool complete = false;  // the whole body has come
  [[nodiscard]] std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
};

struct HostReply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::chrono::milliseconds delay{0};      // before the answer begins
  std::chrono::milliseconds per_piece{0};  // between pieces of the body
  std::size_t piece_bytes = 65'536;
  std::size_t cut_after = SIZE_MAX;  // the connection ends after so many bytes of the body
  bool without_length = false;       // chunked, so that the length is not told
  bool hang_up = false;              // no answer at all
  std::shared_ptr<std::atomic<std::uint64_t>> sent =
      {};  // goes up by the bytes of the body that go
};

class HttpHost {
 public:
  using Handler = std::function<HostReply(const HostRequest&)>;
  explicit HttpHost(Handler handler);
  ~HttpHost();
  HttpHost(const HttpHost&) = delete;
  HttpHost& operator=(const HttpHost&) = delete;

  // Called as a body arrives, with what there is of it. False: the connection is cut.
  using Watch = std::function<bool(const HostRequest&)>;
  void set_watch(Watch watch);
  // Called with what had arrived of a request whose body did not come to its end.
  using BrokenOff = std::function<void(const HostRequest&)>;
  void set_broken_off(BrokenOff broken_off);

  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port()); }
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace transship::testing
