#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/bus_fixture.h"

namespace transship::bus::testing {

// A nats-server with JetStream on a free port of 127.0.0.1, its store in a directory of its own. It
// keeps both over stop() and start().
class NatsServer {
 public:
  // Extra lines go into the server's configuration file.
  explicit NatsServer(std::string extra = {}) : extra_(std::move(extra)) {}
  NatsServer(const NatsServer&) = delete;
  NatsServer& operator=(const NatsServer&) = delete;
  ~NatsServer() { stop(); }

  // Takes effect with the next start().
  void configure(std::string extra) { extra_ = std::move(extra); }

  static bool installed() { return !binary().empty(); }

  void start() {
    write_configuration();
    const std::string program = binary();
    const std::string file = configuration();
    child_ = ::fork();
    if (child_ == 0) {
      const int nowhere = ::open("/dev/null", O_RDWR);
      ::dup2(nowhere, STDOUT_FILENO);
      ::dup2(nowhere, STDERR_FILENO);
      ::execl(program.c_str(), program.c_str(), "-c", file.c_str(), nullptr);
      ::_exit(127);
    }
    wait_for_ports();
  }

  void stop(int signal = SIGKILL) {
    if (child_ <= 0) return;
    ::kill(child_, signal);
    ::waitpid(child_, nullptr, 0);
    std::error_code ignored;
    std::filesystem::remove(ports_file(), ignored);
    child_ = -1;
  }
  void freeze() const { ::kill(child_, SIGSTOP); }
  void thaw() const { ::kill(child_, SIGCONT); }

  [[nodiscard]] std::string url() const { return "nats://127.0.0.1:" + std::to_string(port_); }

 private:
  static std::string binary() {
    for (const char* place :
         {"/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"}) {
      if (::access(place, X_OK) == 0) return place;
    }
    return {};
  }
  [[nodiscard]] std::string configuration() const { return directory_.path() / "nats.conf"; }
  [[nodiscard]] std::string ports_file() const {
    return directory_.path() / ("nats-server_" + std::to_string(child_) + ".ports");
  }

  void write_configuration() const {
    std::ofstream(configuration())
        << "host: 127.0.0.1\nport: " << (port_ == 0 ? -1 : port_)
        << "\nports_file_dir: " << directory_.path()
        << "\njetstream { store_dir: " << directory_.path() / "store" << " }\n"
        << extra_;
  }

  void wait_for_ports() {
    const auto end = std::chrono::steady_clock::now() + deadline;
    while (std::chrono::steady_clock::now() < end) {
      std::ifstream file(ports_file());
      const auto ports = nlohmann::json::parse(file, nullptr, false);
      if (ports.is_object() && !ports["nats"].empty()) {
        const std::string first = ports["nats"].front();
        port_ = std::stoi(first.substr(first.rfind(':') + 1));
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    throw std::runtime_error("nats-server did not start");
  }

  TemporaryDirectory directory_;
  std::string extra_;
  pid_t child_ = -1;
  int port_ = 0;
};

}  // namespace transship::bus::testing
