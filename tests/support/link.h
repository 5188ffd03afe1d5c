#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

namespace transship::testing {

// A TCP port that stands for a long, narrow link to another port of 127.0.0.1: each direction has a
// delay, each connection a rate. It counts what passes, and can stop passing anything on.
class Link {
 public:
  struct Options {
    std::chrono::microseconds delay{0};  // of each direction: half a round trip
    std::uint64_t bytes_per_second = 0;  // of each connection and direction; 0: no limit
    std::uint16_t listen = 0;            // 0: any free port
  };
  Link(std::uint16_t to_port, Options options);
  explicit Link(std::uint16_t to_port) : Link(to_port, Options{}) {}
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] std::uint64_t bytes_to() const;    // towards the port
  [[nodiscard]] std::uint64_t bytes_from() const;  // back
  [[nodiscard]] std::size_t connections() const;   // so far
  // Nothing more comes back from the port until release().
  void hold();
  void release();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace transship::testing
