#pragma once

#include <map>
#include <optional>
#include <string>

#include "tests/support/process.h"

namespace transship::testing {

// Debian's docker-registry on a free port, its storage in a directory of its own.
class DockerRegistry {
 public:
  struct Options {
    std::string notify_url;  // where its events go; none when empty
    bool deletes = true;
    std::uint16_t port = 0;  // 0: a free one
    std::string extra;       // more YAML, at the top level
    std::string tls = {};    // the http.tls section, in braces: then it speaks HTTPS
  };
  explicit DockerRegistry(Options options);
  DockerRegistry() : DockerRegistry(Options{}) {}

  [[nodiscard]] std::string url() const {
    return (options_.tls.empty() ? "http://" : "https://") + host();
  }
  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(options_.port); }
  [[nodiscard]] std::uint16_t port() const { return options_.port; }
  // Where it keeps repositories/ and blobs/, in the layout of its filesystem driver.
  [[nodiscard]] std::filesystem::path storage() const {
    return directory_.path() / "data" / "docker" / "registry" / "v2";
  }
  void stop() { process_.kill(); }
  void start();  // again, with what it held

 private:
  Options options_;
  TemporaryDirectory directory_;
  Process process_;
};

// Debian's nats-server with JetStream.
class NatsServer {
 public:
  // `configuration`: more of its configuration file: a cluster, leaf nodes.
  explicit NatsServer(std::string configuration = {}, std::uint16_t port = 0);
  [[nodiscard]] std::string url() const { return "nats://127.0.0.1:" + std::to_string(port_); }
  void kill() { process_.kill(); }
  void start();  // again, with what it held
  [[nodiscard]] std::string log() const { return process_.output(); }

 private:
  std::uint16_t port_;
  TemporaryDirectory directory_;
  Process process_;
};

// The program under test as a daemon.
class DaemonProcess {
 public:
  // `configuration` lacks the http section and the state, which are added here; `http_more` goes
  // into that section, behind a comma.
  DaemonProcess(std::string program, std::string configuration,
                std::vector<std::string> environment = {}, std::uint16_t port = 0,
                const std::string& http_more = {});

  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string config_file() const { return (directory_ / "transship.yaml").string(); }
  void start();
  void kill() { process_.kill(); }
  int terminate() { return process_.terminate(); }
  Process& process() { return process_; }
  [[nodiscard]] bool ready() const;
  bool wait_until_ready();
  [[nodiscard]] std::string log() const { return read_file(directory_ / "log"); }
  // The value of a series, named as it is exported: name{label="value",…}; nullopt where there is
  // none.
  [[nodiscard]] std::optional<double> metric(const std::string& series) const;

 private:
  std::string program_;
  std::vector<std::string> environment_;
  std::uint16_t port_;
  TemporaryDirectory directory_;
  Process process_;
};

}  // namespace transship::testing
