#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/servers.h"

namespace transship::testing {

enum class BusKind { journal, jetstream };

// us-east and eu-west, a bus and a daemon that carries everything from the first to the second, by
// events alone, with short pauses between three tries.
class TwoRegistries : public ::testing::TestWithParam<BusKind> {
 protected:
  void SetUp() override {
    for (const char* program : {"docker-registry", "nats-server"}) {
      if (!has_program(program)) GTEST_SKIP() << program << " is not installed";
    }
    if (GetParam() == BusKind::jetstream) nats_.emplace();
    const std::uint16_t port = free_port();
    source_.emplace(DockerRegistry::Options{
        fmt::format("http://127.0.0.1:{}/intake/us-east", port), true, 0, {}});
    target_.emplace();
    daemon_.emplace(TRANSSHIP_PROGRAM, configuration(), std::vector<std::string>{}, port);
    ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  }

  [[nodiscard]] virtual std::string repositories() const { return "'**'"; }
  [[nodiscard]] virtual std::string retries() const {
    return "attempts: 3, first_pause: 20ms, longest_pause: 100ms";
  }
  // Behind a comma.
  [[nodiscard]] virtual std::string more_of_the_rule() const { return {}; }
  // Lines for more registries, and more sources of eu-west.
  [[nodiscard]] virtual std::string more_registries() const { return {}; }
  [[nodiscard]] virtual std::string more_rules() const { return {}; }
  [[nodiscard]] virtual std::string reconcile() const { return "{at_start: false, interval: 7d}"; }
  [[nodiscard]] std::string configuration() const {
    return fmt::format(
        "registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'}}\n{}{}"
        "retry: {{{}}}\nreconcile: {}\nlog: {{level: debug}}\n"
        "rules:\n  - {{name: all, source: us-east, targets: [eu-west], repositories: {}{}}}\n{}",
        source_->url(), target_->url(), more_registries(),
        nats_ ? fmt::format("bus: {{type: jetstream, servers: ['{}']}}\n", nats_->url()) : "",
        retries(), reconcile(), repositories(), more_of_the_rule(), more_rules());
  }

  // A command of the program, with this daemon's configuration and JSON for its results.
  Finished command(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), TRANSSHIP_PROGRAM);
    arguments.insert(arguments.end(), {"--config", daemon_->config_file(), "--output", "json"});
    return run(std::move(arguments));
  }
  static std::vector<nlohmann::json> lines(const std::string& text) {
    std::vector<nlohmann::json> all;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) all.push_back(nlohmann::json::parse(line));
    return all;
  }
  double metric(const std::string& series) { return daemon_->metric(series).value_or(-1); }
  // The value of a series of the one rule and target.
  double of_pair(const std::string& name, const std::string& more = {}) {
    return metric(fmt::format(R"({}{{{}rule="all",target="eu-west"}})", name, more));
  }
  bool arrives(const std::string& repository, const std::string& tag, const std::string& digest) {
    return eventually([&] { return digest_at(target_->url(), repository, tag) == digest; });
  }

  // An image of which the source's storage has lost a blob. The registry tells of its push once the
  // daemon is back.
  TestImage push_broken(const std::string& tag, std::uint64_t seed) {
    const TestImage image = make_image(seed);
    daemon_->terminate();
    push(source_->url(), "team/app", tag, image);
    const std::string lost = image.blobs.begin()->first;
    EXPECT_EQ(http("DELETE", source_->url() + "/v2/team/app/blobs/" + lost).status, 202);
    daemon_->start();
    EXPECT_TRUE(daemon_->wait_until_ready());
    return image;
  }
  void wait_for_dead_letters(int count) {
    ASSERT_TRUE(eventually([&] {
      return metric(R"(transship_dead_letters{target="eu-west"})") == count;
    })) << daemon_->log();
  }

  std::optional<NatsServer> nats_;
  std::optional<DockerRegistry> source_;
  std::optional<DockerRegistry> target_;
  std::optional<DaemonProcess> daemon_;
};

inline std::string name_of(const ::testing::TestParamInfo<BusKind>& info) {
  return info.param == BusKind::journal ? "journal" : "jetstream";
}

}  // namespace transship::testing
