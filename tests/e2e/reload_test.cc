// SIGHUP: the daemon reads its configuration again.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>

#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/servers.h"

namespace transship::testing {
namespace {

class Reload : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_program("docker-registry")) GTEST_SKIP() << "docker-registry is not installed";
    const std::uint16_t port = free_port();
    source.emplace(DockerRegistry::Options{
        fmt::format("http://127.0.0.1:{}/intake/us-east", port), true, 0, {}});
    target.emplace();
    other.emplace();
    daemon.emplace(TRANSSHIP_PROGRAM, configuration(rule("a", "eu-west", "a/**")),
                   std::vector<std::string>{}, port);
    ASSERT_TRUE(daemon->wait_until_ready()) << daemon->log();
    const std::string written = read_file(daemon->config_file());
    added = written.substr(written.find("\nhttp: {") + 1);
  }
  [[nodiscard]] std::string configuration(const std::string& rules) const {
    return fmt::format(
        "registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'}}\n"
        "  ap-south: {{url: '{}'}}\n"
        "retry: {{attempts: 100, first_pause: 20ms, longest_pause: 100ms}}\n"
        "reconcile: {{at_start: false, interval: 7d}}\nlog: {{level: debug}}\nrules:\n{}",
        source->url(), target->url(), other->url(), rules);
  }
  static std::string rule(const std::string& name, const std::string& to,
                          const std::string& repositories) {
    return fmt::format("  - {{name: {}, source: us-east, targets: [{}], repositories: '{}'}}\n",
                       name, to, repositories);
  }
  // Writes the file anew and waits until the daemon has said what it made of it.
  void reload(const std::string& text) {
    write_file(daemon->config_file(), text);
    const std::size_t before = answers();
    daemon->process().signal(SIGHUP);
    ASSERT_TRUE(eventually([&] { return answers() > before; })) << daemon->log();
  }
  [[nodiscard]] std::size_t answers() const {
    const std::string log = daemon->log();
    std::size_t count = 0;
    for (std::size_t at = log.find("SIGHUP: "); at != std::string::npos;
         at = log.find("SIGHUP: ", at + 1))
      ++count;
    return count;
  }
  [[nodiscard]] bool log_says(const std::string& text) const {
    return daemon->log().find(text) != std::string::npos;
  }
  static bool arrives(const DockerRegistry& at, const std::string& repository,
                      const TestImage& image) {
    return eventually([&] { return digest_at(at.url(), repository, "v1") == image.digest(); });
  }
  [[nodiscard]] std::optional<double> pending(const std::string& name, const std::string& to) {
    return daemon->metric(
        fmt::format(R"(transship_pending_images{{rule="{}",target="{}"}})", name, to));
  }

  std::optional<DockerRegistry> source;
  std::optional<DockerRegistry> target;
  std::optional<DockerRegistry> other;
  std::optional<DaemonProcess> daemon;
  std::string added;  // what the support code adds to a configuration: http and state
};

TEST_F(Reload, RulesAndTargetsAreTakenOver) {
  const TestImage image = make_image(1);
  EXPECT_EQ(pending("b", "ap-south"), std::nullopt);
  reload(configuration(rule("a", "eu-west", "a/**") + rule("b", "ap-south", "b/**")) + added);
  EXPECT_EQ(pending("b", "ap-south"), 0) << "from the start, at zero";
  push(source->url(), "b/app", "v1", image);
  push(source->url(), "a/app", "v1", image);
  EXPECT_TRUE(arrives(*other, "b/app", image)) << daemon->log();
  EXPECT_TRUE(arrives(*target, "a/app", image)) << daemon->log();

  reload(configuration(rule("b", "ap-south", "b/**")) + added);
  EXPECT_EQ(pending("a", "eu-west"), std::nullopt);
  EXPECT_EQ(daemon->metric(R"(transship_dead_letters{target="eu-west"})"), std::nullopt);
  push(source->url(), "a/late", "v1", image);
  push(source->url(), "b/late", "v1", image);
  EXPECT_TRUE(arrives(*other, "b/late", image)) << daemon->log();
  EXPECT_EQ(digest_at(target->url(), "a/late", "v1"), "");

  // The target that was taken out comes back, with a worker of its own.
  reload(configuration(rule("a", "eu-west", "a/**")) + added);
  push(source->url(), "a/again", "v1", image);
  EXPECT_TRUE(arrives(*target, "a/again", image)) << daemon->log();
  EXPECT_EQ(daemon->terminate(), 0);
}

TEST_F(Reload, WhatWaitsForARuleThatIsGoneIsAcknowledged) {
  const TestImage image = make_image(1);
  reload(configuration(rule("a", "eu-west", "a/**") + rule("b", "eu-west", "b/**")) + added);
  target->stop();
  push(source->url(), "a/app", "v1", image);
  push(source->url(), "b/app", "v1", image);
  ASSERT_TRUE(eventually([&] {
    return pending("a", "eu-west") == 1 && pending("b", "eu-west") == 1;
  })) << daemon->log();
  reload(configuration(rule("b", "eu-west", "b/**")) + added);
  EXPECT_EQ(pending("a", "eu-west"), std::nullopt);
  EXPECT_TRUE(eventually([&] { return daemon->metric("transship_bus_pending_events") == 1; }))
      << "that of the other rule waits on: " << daemon->log();
  target->start();
  EXPECT_TRUE(arrives(*target, "b/app", image)) << daemon->log();
  EXPECT_EQ(digest_at(target->url(), "a/app", "v1"), "");
  EXPECT_TRUE(eventually([&] { return daemon->metric("transship_bus_pending_events") == 0; }));
}

TEST_F(Reload, AFileThatIsWrongChangesNothing) {
  reload("registries: [\n");
  EXPECT_TRUE(log_says("the configuration stays as it was")) << daemon->log();
  reload(configuration(rule("b", "ap-south", "b/**")) + "http: {listen: '127.0.0.1:1'}\n" +
         added.substr(added.find("state:")));
  EXPECT_TRUE(log_says("a change of http needs a restart")) << daemon->log();
  EXPECT_EQ(pending("b", "ap-south"), std::nullopt);
  const TestImage image = make_image(1);
  push(source->url(), "a/app", "v1", image);
  EXPECT_TRUE(arrives(*target, "a/app", image)) << daemon->log();
}

// What the daemon tells systemd: a socket in place of systemd's.
class NotifySocket {
 public:
  NotifySocket() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(&address.sun_path[0], sizeof(address.sun_path) - 1);
    const timeval patience{30, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what bind() takes
    if (::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
      throw std::runtime_error("cannot bind " + path());
  }
  ~NotifySocket() { ::close(socket_); }
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;

  [[nodiscard]] std::string path() const { return (directory_ / "notify").string(); }
  // The next message; empty when there is none for long.
  [[nodiscard]] std::string next() const {
    std::string text(500, ' ');
    const auto bytes = ::recv(socket_, text.data(), text.size(), 0);
    text.resize(bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
    return text;
  }

 private:
  TemporaryDirectory directory_;
  int socket_;
};

TEST_F(Reload, SystemdIsTold) {
  const NotifySocket systemd;
  daemon.emplace(TRANSSHIP_PROGRAM, configuration(rule("a", "eu-west", "a/**")),
                 std::vector<std::string>{"NOTIFY_SOCKET=" + systemd.path()});
  EXPECT_EQ(systemd.next(), "READY=1");
  daemon->process().signal(SIGHUP);
  EXPECT_TRUE(systemd.next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
  EXPECT_EQ(systemd.next(), "READY=1");
}

TEST_F(Reload, RegistriesThatAreNewAreReachedAndHeard) {
  const std::string gone = configuration(rule("a", "eu-west", "a/**"));
  std::string fewer = gone;
  const auto at = fewer.find("  ap-south");
  fewer.erase(at, fewer.find('\n', at) + 1 - at);
  reload(fewer + added);
  EXPECT_EQ(http("POST", daemon->url() + "/intake/ap-south", "{}").status, 404);
  reload(gone + added);
  EXPECT_EQ(http("POST", daemon->url() + "/intake/ap-south", "{}").status, 202);
  EXPECT_TRUE(daemon->wait_until_ready());
}

}  // namespace
}  // namespace transship::testing
