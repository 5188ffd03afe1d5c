#include "tests/support/servers.h"

#include <fmt/format.h>

#include <sstream>
#include <stdexcept>

#include "tests/support/http.h"

namespace transship::testing {

namespace {

std::size_t count_of(const std::string& what, const std::string& text) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

}  // namespace

DockerRegistry::DockerRegistry(Options options) : options_(std::move(options)) {
  if (options_.port == 0) options_.port = free_port();
  std::string configuration = fmt::format(
      "version: 0.1\n"
      "log: {{level: error, accesslog: {{disabled: true}}}}\n"
      "storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: {}}}}}\n"
      "http: {{addr: '127.0.0.1:{}'{}}}\n",
      (directory_ / "data").string(), options_.deletes, options_.port,
      options_.tls.empty() ? "" : ", tls: " + options_.tls);
  if (!options_.notify_url.empty()) {
    configuration += fmt::format(
        "notifications:\n  endpoints:\n"
        "    - {{name: transship, url: '{}', timeout: 1s, threshold: 3, backoff: 100ms}}\n",
        options_.notify_url);
  }
  configuration += options_.extra;
  write_file(directory_ / "config.yml", configuration);
  start();
}

void DockerRegistry::start() {
  process_ = Process({"docker-registry", "serve", (directory_ / "config.yml").string()},
                     directory_ / "log");
  if (!eventually([&] { return listens(port()) || !process_.running(); }) || !process_.running()) {
    throw std::runtime_error("docker-registry does not start: " + process_.output());
  }
}

NatsServer::NatsServer(std::string configuration, std::uint16_t port)
    : port_(port == 0 ? free_port() : port) {
  write_file(directory_ / "nats.conf", configuration);
  start();
}

void NatsServer::start() {
  const auto ready = [&] { return count_of("Server is ready", read_file(directory_ / "log")); };
  const std::size_t before = ready();
  process_ = Process({"nats-server", "-js", "-a", "127.0.0.1", "-p", std::to_string(port_), "-sd",
                      (directory_ / "store").string(), "-c", (directory_ / "nats.conf").string()},
                     directory_ / "log");
  // Its log says when it is there.
  if (!eventually([&] { return ready() > before || !process_.running(); }) || !process_.running()) {
    throw std::runtime_error("nats-server does not start: " + process_.output());
  }
}

DaemonProcess::DaemonProcess(std::string program, std::string configuration,
                             std::vector<std::string> environment, std::uint16_t port,
                             const std::string& http_more)
    : program_(std::move(program)),
      environment_(std::move(environment)),
      port_(port == 0 ? free_port() : port) {
  write_file(directory_ / "transship.yaml",
             fmt::format("{}\nhttp: {{listen: '127.0.0.1:{}'{}}}\nstate: {}\n", configuration,
                         port_, http_more, (directory_ / "state").string()));
  start();
}

void DaemonProcess::start() {
  process_ =
      Process({program_, "run", "--config", config_file()}, directory_ / "log", environment_);
}

bool DaemonProcess::ready() const { return http("GET", url() + "/readyz").status == 200; }

bool DaemonProcess::wait_until_ready() {
  return eventually([&] { return ready() || !process_.running(); }) && ready();
}

std::optional<double> DaemonProcess::metric(const std::string& series) const {
  std::istringstream lines(http("GET", url() + "/metrics").body);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(series + " ")) return std::stod(line.substr(series.size() + 1));
  }
  return std::nullopt;
}

}  // namespace transship::testing
