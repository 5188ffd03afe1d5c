#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <asio.hpp>
#include <chrono>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/bus/bus.h"

// What the tests of both buses share: a loop that runs one coroutine to its end, a directory that
// goes away.
namespace transship::bus::testing {

// Far beyond what anything here takes: reaching it means that something waits for ever.
inline constexpr std::chrono::seconds deadline{60};

class Loop {
 public:
  // Runs the loop until the coroutine is through, and throws what it threw.
  template <class T>
  T run(asio::awaitable<T> coroutine) {
    std::optional<T> result;
    start(then_store(std::move(coroutine), result));
    run_until([&result] { return result.has_value(); });
    return std::move(*result);
  }
  void run(asio::awaitable<void> coroutine) {
    bool done = false;
    start(then_flag(std::move(coroutine), done));
    run_until([&done] { return done; });
  }

  void start(asio::awaitable<void> coroutine) {
    asio::co_spawn(io_, std::move(coroutine), [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    });
  }

  // Runs the loop until `condition` holds; it is looked at every millisecond, too.
  template <class Condition>
  void run_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) throw std::runtime_error("waited for ever");
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(1));
    }
  }

  asio::io_context& io() { return io_; }

 private:
  template <class T>
  static asio::awaitable<void> then_store(asio::awaitable<T> coroutine, std::optional<T>& result) {
    result.emplace(co_await std::move(coroutine));
  }
  static asio::awaitable<void> then_flag(asio::awaitable<void> coroutine, bool& done) {
    co_await std::move(coroutine);
    done = true;
  }

  asio::io_context io_;
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = std::filesystem::temp_directory_path() / "bus_test.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = name;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline Message message(std::string body, std::optional<std::string> id = std::nullopt) {
  Message made;
  made.registry = "us-east";
  made.body = std::move(body);
  made.id = std::move(id);
  return made;
}

inline std::vector<Message> one(Message m) {
  std::vector<Message> messages;
  messages.push_back(std::move(m));
  return messages;
}

}  // namespace transship::bus::testing
