#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/nats.h"
#include "tests/support/servers.h"

namespace transship::testing {

// us-east, eu-west, and several daemons that share the work for eu-west: whoever's intake an event
// comes to, JetStream hands it to one of them. Reconciliation is off, so that what arrives came by
// events alone.
class Fleet : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"docker-registry", "nats-server"}) {
      if (!has_program(program)) GTEST_SKIP() << program << " is not installed";
    }
  }

  // us-east tells each of the daemons of every push.
  void start_registries(std::size_t daemons) {
    std::string endpoints;
    for (std::size_t i = 0; i < daemons; ++i) {
      ports_.push_back(free_port());
      endpoints += fmt::format(
          "    - {{name: transship-{}, url: 'http://127.0.0.1:{}/intake/us-east', timeout: 1s, "
          "threshold: 3, backoff: 100ms}}\n",
          i, ports_.back());
    }
    source_.emplace(
        DockerRegistry::Options{"", true, 0, "notifications:\n  endpoints:\n" + endpoints});
    target_.emplace();
  }
  [[nodiscard]] std::string registries() const {
    return fmt::format("registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'{}}}\n",
                       source_->url(), target_->url(), of_target_);
  }
  static std::string bus(const std::vector<std::string>& servers) {
    return fmt::format("bus: {{type: jetstream, servers: ['{}']}}\n", fmt::join(servers, "', '"));
  }
  static std::string by_events_alone() {
    return "retry: {first_pause: 50ms, longest_pause: 500ms}\n"
           "reconcile: {at_start: false, interval: 7d}\nlog: {level: debug}\n";
  }
  // Blobs come with their image: one daemon may have a head start while another has the image.
  static std::string everything() {
    return "rules:\n  - {name: all, source: us-east, targets: [eu-west], repositories: '**', "
           "prefetch: never}\n";
  }
  void start_daemons(const std::vector<std::string>& servers, const std::string& more = {}) {
    for (const std::uint16_t port : ports_) {
      daemons_.push_back(std::make_unique<DaemonProcess>(
          TRANSSHIP_PROGRAM, registries() + bus(servers) + by_events_alone() + more + everything(),
          std::vector<std::string>{}, port));
    }
    for (const auto& daemon : daemons_) ASSERT_TRUE(daemon->wait_until_ready()) << daemon->log();
  }

  // Pushes to repositories PREFIX/<writer>, from several writers at once. Returns the digests by
  // repository and tag.
  using Pushed = std::vector<std::pair<std::pair<std::string, std::string>, std::string>>;
  template <class MakeImage>
  Pushed push_many(const std::string& prefix, std::size_t writers, std::size_t each,
                   MakeImage image_of) {
    std::vector<Pushed> pushed(writers);
    std::vector<std::thread> threads;
    for (std::size_t writer = 0; writer < writers; ++writer) {
      threads.emplace_back([&, writer] {
        const std::string repository = fmt::format("{}/{}", prefix, writer);
        for (std::size_t i = 0; i < each; ++i) {
          const std::string tag = fmt::format("v{}", i);
          pushed[writer].push_back(
              {{repository, tag},
               push(source_->url(), repository, tag, image_of(writer * each + i))});
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    Pushed all;
    for (Pushed& part : pushed) all.insert(all.end(), part.begin(), part.end());
    return all;
  }
  // The first that is not there, complete; empty where all are.
  [[nodiscard]] std::string missing(const Pushed& pushed) const {
    for (const auto& [name, digest] : pushed) {
      const auto& [repository, tag] = name;
      if (digest_at(target_->url(), repository, tag) != digest) return repository + ":" + tag;
    }
    return {};
  }
  [[nodiscard]] std::string incomplete(const Pushed& pushed) const {
    for (const auto& [name, digest] : pushed) {
      std::string what = incompleteness(target_->url(), name.first, name.second);
      if (!what.empty()) return what;
    }
    return {};
  }

  [[nodiscard]] double metric(std::size_t daemon, const std::string& series) const {
    return daemons_.at(daemon)->metric(series).value_or(0);
  }
  [[nodiscard]] double sum(const std::string& series) const {
    double total = 0;
    for (std::size_t i = 0; i < daemons_.size(); ++i) total += metric(i, series);
    return total;
  }
  static std::string images(const std::string& outcome) {
    return fmt::format(R"(transship_images_total{{outcome="{}",rule="all",target="eu-west"}})",
                       outcome);
  }
  static std::string blobs(const std::string& outcome) {
    return fmt::format(R"(transship_blobs_total{{outcome="{}",source="us-east",target="eu-west"}})",
                       outcome);
  }
  [[nodiscard]] std::string logs() const {
    std::string all;
    for (const auto& daemon : daemons_) all += daemon->log() + "\n----\n";
    return all;
  }
  static bool all_acknowledged(const std::string& nats) {
    return eventually([&] { return unacknowledged(nats, "eu-west") == 0; },
                      std::chrono::seconds(60));
  }

  std::string of_target_;  // more keys of eu-west, behind a comma
  std::vector<std::uint16_t> ports_;
  std::optional<DockerRegistry> source_;
  std::optional<DockerRegistry> target_;
  std::vector<std::unique_ptr<DaemonProcess>> daemons_;
};

}  // namespace transship::testing
