// JetStream on a cluster of three servers, of which one may be lost at any time.
#include <atomic>
#include <mutex>

#include "tests/e2e/fleet.h"

namespace transship::testing {
namespace {

class Cluster : public Fleet {
 protected:
  static constexpr std::size_t servers_count = 3;
  static constexpr std::size_t ahead_max = 8;

  void SetUp() override {
    Fleet::SetUp();
    if (IsSkipped()) return;
    std::vector<std::uint16_t> routes;
    for (std::size_t i = 0; i < servers_count; ++i) routes.push_back(free_port());
    const std::string all =
        fmt::format("nats://127.0.0.1:{}", fmt::join(routes, ", nats://127.0.0.1:"));
    for (std::size_t i = 0; i < servers_count; ++i) {
      servers_.push_back(std::make_unique<NatsServer>(fmt::format(
          "server_name: n{}\ncluster {{name: c, listen: '127.0.0.1:{}', routes: [{}]}}\n", i,
          routes[i], all)));
    }
  }
  [[nodiscard]] std::vector<std::string> urls() const {
    std::vector<std::string> all;
    for (const auto& server : servers_) all.push_back(server->url());
    return all;
  }
  // By whichever server answers.
  [[nodiscard]] nlohmann::json stream(const std::string& name) const {
    for (const auto& server : servers_) {
      auto info = nats_request(server->url(), "$JS.API.STREAM.INFO." + name);
      if (info.contains("config")) return info;
    }
    return {};
  }
  [[nodiscard]] std::size_t leader() const {
    std::string name;
    eventually([&] {
      const auto info = stream("REGISTRY_EVENTS");
      name = info.contains("cluster") ? info["cluster"].value("leader", "") : "";
      return !name.empty();
    });
    return name.empty() ? 0 : std::stoul(name.substr(1));
  }
  // All three hold what the leader holds.
  [[nodiscard]] bool is_whole() const {
    const auto info = stream("REGISTRY_EVENTS");
    if (!info.contains("cluster") || !info["cluster"].contains("replicas")) return false;
    std::size_t current = 1;
    for (const auto& replica : info["cluster"]["replicas"])
      current += replica.value("current", false) && !replica.value("offline", false) ? 1 : 0;
    return current == servers_count;
  }
  bool acknowledged() {
    return eventually(
        [&] {
          for (const auto& server : servers_) {
            if (unacknowledged(server->url(), "eu-west") == 0) return true;
          }
          return false;
        },
        std::chrono::seconds(60));
  }

  std::vector<std::unique_ptr<NatsServer>> servers_;
};

TEST_F(Cluster, TheStreamsThatTheDaemonMakesAreKeptByThreeServers) {
  start_registries(1);
  start_daemons(urls());
  for (const char* name : {"REGISTRY_EVENTS", "REGISTRY_EVENTS_DEAD"})
    EXPECT_EQ(stream(name)["config"]["num_replicas"], 3) << logs();
  EXPECT_EQ(logs().find("of the cluster's servers"), std::string::npos) << logs();
}

TEST_F(Cluster, AStreamOnOneOfItsServersIsWarnedOf) {
  ASSERT_TRUE(eventually([&] {
    const auto made = nats_request(
        servers_[0]->url(), "$JS.API.STREAM.CREATE.REGISTRY_EVENTS",
        R"({"name":"REGISTRY_EVENTS","subjects":["registry.events.>"],"retention":"limits",
            "storage":"file","discard":"old","num_replicas":1,"max_consumers":-1,"max_msgs":-1,
            "max_bytes":-1,"max_age":0,"duplicate_window":120000000000})");
    return made.contains("config");
  }));
  start_registries(1);
  start_daemons(urls());
  EXPECT_NE(logs().find("is kept by 1 of the cluster's servers"), std::string::npos) << logs();
  EXPECT_EQ(stream("REGISTRY_EVENTS")["config"]["num_replicas"], 1) << "it is the operator's";
}

TEST_F(Cluster, AServerKilledDuringPushesLosesNothing) {
  start_registries(2);
  start_daemons(urls());
  std::atomic<bool> enough{false};
  std::mutex mutex;
  Pushed pushed;
  std::vector<std::thread> writers;
  for (std::uint64_t writer = 0; writer < 2; ++writer) {
    writers.emplace_back([&, writer] {
      const std::string repository = fmt::format("team/{}", writer);
      std::vector<std::string> digests;
      for (std::uint64_t i = 0; !enough; ++i) {
        // No more than a few ahead of the daemons.
        const auto keeps_pace = [&] {
          return enough || i < ahead_max ||
                 digest_at(target_->url(), repository, fmt::format("v{}", i - ahead_max)) ==
                     digests[i - ahead_max];
        };
        eventually(keeps_pace, std::chrono::seconds(60));
        const std::string tag = fmt::format("v{}", i);
        const std::string digest =
            push(source_->url(), repository, tag, make_image(10'000 * writer + i, {5'000}));
        digests.push_back(digest);
        const std::lock_guard lock(mutex);
        pushed.push_back({{repository, tag}, digest});
      }
    });
  }
  const auto so_far = [&] {
    const std::lock_guard lock(mutex);
    return pushed;
  };
  // Pushes that were made from now on arrive.
  const auto goes_on = [&] {
    const std::size_t before = so_far().size();
    return eventually(
        [&] {
          Pushed now = so_far();
          now.erase(now.begin(), now.begin() + static_cast<std::ptrdiff_t>(before));
          return now.size() > 3 && missing({now[0], now[1], now[2]}).empty();
        },
        std::chrono::seconds(60));
  };
  EXPECT_TRUE(goes_on()) << logs();
  for (int round = 0; round < 2; ++round) {
    const std::size_t victim = leader();
    servers_[victim]->kill();
    EXPECT_TRUE(goes_on()) << "two servers of three are not enough in round " << round << logs();
    servers_[victim]->start();
    EXPECT_TRUE(eventually([&] { return is_whole(); }, std::chrono::seconds(60)));
  }
  enough = true;
  for (std::thread& writer : writers) writer.join();
  ASSERT_TRUE(eventually([&] { return missing(pushed).empty(); }, std::chrono::seconds(60)))
      << missing(pushed) << logs();
  EXPECT_EQ(incomplete(pushed), "");
  EXPECT_TRUE(acknowledged()) << logs();
}

}  // namespace
}  // namespace transship::testing
