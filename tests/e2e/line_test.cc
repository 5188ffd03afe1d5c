// The whole line on real parts: docker-registry with its own notifications, the bus, the daemon,
// the other registry.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "tests/e2e/healthz.h"
#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/servers.h"

namespace transship::testing {
namespace {

enum class BusKind { journal, jetstream };

// Two registries, a bus and a daemon between them.
class Line : public ::testing::TestWithParam<BusKind> {
 protected:
  void SetUp() override {
    for (const char* program : {"docker-registry", "nats-server"}) {
      if (!has_program(program)) GTEST_SKIP() << program << " is not installed";
    }
    if (GetParam() == BusKind::jetstream) nats_.emplace();
    daemon_port_ = free_port();
    source_.emplace(DockerRegistry::Options{
        fmt::format("http://127.0.0.1:{}/intake/us-east", daemon_port_), true, 0, {}});
    target_.emplace();
  }

  [[nodiscard]] std::string bus() const {
    return nats_ ? fmt::format("bus: {{type: jetstream, servers: ['{}']}}\n", nats_->url())
                 : "bus: {type: journal}\n";
  }
  [[nodiscard]] std::string registries() const {
    return fmt::format("registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'}}\n",
                       source_->url(), target_->url());
  }
  void start_daemon(const std::string& rules, std::vector<std::string> environment = {}) {
    daemon_.emplace(
        TRANSSHIP_PROGRAM,
        registries() + bus() + retries() + no_reconciliation() + "log: {level: debug}\n" + rules,
        std::move(environment), daemon_port_);
    ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  }
  static std::string retries() { return "retry: {first_pause: 50ms, longest_pause: 500ms}\n"; }
  // So that what arrives came by events alone.
  static std::string no_reconciliation() { return "reconcile: {at_start: false, interval: 7d}\n"; }
  static std::string everything() {
    return "rules:\n  - {name: all, source: us-east, targets: [eu-west], repositories: '**'}\n";
  }
  bool arrives(const std::string& repository, const std::string& tag, const std::string& digest) {
    return eventually([&] { return digest_at(target_->url(), repository, tag) == digest; },
                      std::chrono::seconds(60));
  }
  bool all_acknowledged() {
    return eventually([&] { return daemon_->metric("transship_bus_pending_events") == 0; },
                      std::chrono::seconds(60));
  }

  std::optional<NatsServer> nats_;
  std::uint16_t daemon_port_ = 0;
  std::optional<DockerRegistry> source_;
  std::optional<DockerRegistry> target_;
  std::optional<DaemonProcess> daemon_;
};

INSTANTIATE_TEST_SUITE_P(Bus, Line, ::testing::Values(BusKind::journal, BusKind::jetstream),
                         [](const auto& info) {
                           return info.param == BusKind::journal ? "journal" : "jetstream";
                         });

TEST_P(Line, APushAppearsAtTheTargetAndItsLagIsObserved) {
  start_daemon(everything());
  // Every pair is there from the start, at zero.
  EXPECT_EQ(
      daemon_->metric(R"(transship_images_total{outcome="copied",rule="all",target="eu-west"})"),
      0);
  EXPECT_EQ(
      daemon_->metric(R"(transship_replication_lag_seconds_count{rule="all",target="eu-west"})"),
      0);
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
  EXPECT_TRUE(eventually([&] {
    return daemon_->metric(
               R"(transship_replication_lag_seconds_count{rule="all",target="eu-west"})") == 1;
  })) << daemon_->log();
  EXPECT_EQ(
      daemon_->metric(R"(transship_images_total{outcome="copied",rule="all",target="eu-west"})"),
      1);
  EXPECT_EQ(daemon_->metric(
                R"(transship_blobs_total{outcome="copied",source="us-east",target="eu-west"})"),
            3);
  EXPECT_EQ(daemon_->metric(R"(transship_events_total{outcome="accepted",registry="us-east"})"), 1);
  EXPECT_EQ(daemon_->metric(R"(transship_oldest_pending_seconds{rule="all",target="eu-west"})"), 0);
  EXPECT_TRUE(all_acknowledged());
  EXPECT_EQ(daemon_->terminate(), 0) << daemon_->log();
}

TEST_P(Line, AnIndexArrivesWithAllItsChildren) {
  start_daemon(everything());
  const TestImage index = make_index({make_image(10), make_image(11), make_image(12)});
  const std::string digest = push(source_->url(), "team/multi", "v1", index);
  ASSERT_TRUE(arrives("team/multi", "v1", digest)) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/multi", "v1"), "");
}

TEST_P(Line, AMovedTagArrivesThoughTheRegistryTellsOfItBeforeItServesIt) {
  start_daemon(everything());
  std::string digest;
  for (std::uint64_t version = 0; version < 20; ++version) {
    digest = push(source_->url(), "team/app", "latest", make_image(100 + version, {300}));
  }
  ASSERT_TRUE(arrives("team/app", "latest", digest)) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "latest"), "");
}

TEST_P(Line, ARenameAndFiltersAreObeyed) {
  start_daemon(
      "rules:\n  - name: releases\n    source: us-east\n    targets: [eu-west]\n"
      "    repositories: ['team/**', '!team/scratch/**']\n    tags: ['v*', '!*-rc*']\n    rename: "
      "'mirror/{repository}'\n");
  push(source_->url(), "team/scratch/app", "v1", make_image(20));
  push(source_->url(), "team/app", "v1-rc1", make_image(21));
  push(source_->url(), "other/app", "v1", make_image(22));
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(23));
  ASSERT_TRUE(arrives("mirror/team/app", "v1", digest)) << daemon_->log();
  EXPECT_TRUE(all_acknowledged());
  EXPECT_EQ(digest_at(target_->url(), "mirror/team/app", "v1-rc1"), "");
  EXPECT_EQ(digest_at(target_->url(), "mirror/team/scratch/app", "v1"), "");
  EXPECT_EQ(digest_at(target_->url(), "mirror/other/app", "v1"), "");
  EXPECT_EQ(digest_at(target_->url(), "team/app", "v1"), "");
}

TEST_P(Line, ABlobKnownInAnotherRepositoryIsMounted) {
  start_daemon(everything());
  const std::string shared = noise(7, 50'000);
  const std::string first = push(source_->url(), "team/one", "v1", make_image_of({shared}, 1));
  ASSERT_TRUE(arrives("team/one", "v1", first)) << daemon_->log();
  const std::string second =
      push(source_->url(), "team/two", "v1", make_image_of({shared, noise(8, 100)}, 2));
  ASSERT_TRUE(arrives("team/two", "v1", second)) << daemon_->log();
  EXPECT_TRUE(eventually([&] {
    return daemon_->metric(
               R"(transship_blobs_total{outcome="mounted",source="us-east",target="eu-west"})") ==
           1;
  })) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/two", "v1"), "");
}

TEST_P(Line, TwoTargetsAreServedAndADeadOneHoldsTheOtherBackNot) {
  DockerRegistry other;
  const std::string dead = other.url();
  other.stop();
  daemon_.emplace(TRANSSHIP_PROGRAM,
                  registries() + fmt::format("  ap-south: {{url: '{}'}}\n", dead) + bus() +
                      retries() + no_reconciliation() +
                      "rules:\n  - {name: all, source: us-east, targets: [eu-west, ap-south], "
                      "repositories: '**'}\n",
                  std::vector<std::string>{}, daemon_port_);
  // Not ready until every registry answered once, but intake takes events as soon as the bus is
  // there.
  ASSERT_TRUE(eventually([&] {
    const auto answer = http("GET", daemon_->url() + "/readyz");
    return answer.status == 503 && nlohmann::json::parse(answer.body)["bus"]["connected"] == true &&
           daemon_->log().find("takes events") != std::string::npos;
  })) << daemon_->log();
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(30));
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  EXPECT_TRUE(eventually([&] {
    return daemon_->metric(R"(transship_oldest_pending_seconds{rule="all",target="ap-south"})")
               .value_or(0) > 0;
  }));
  EXPECT_TRUE(eventually([&] {
    return daemon_->metric(R"(transship_oldest_pending_seconds{rule="all",target="eu-west"})") == 0;
  }));
  EXPECT_EQ(daemon_->metric(R"(transship_pending_images{rule="all",target="ap-south"})"), 1);
  other.start();
  EXPECT_TRUE(eventually([&] { return digest_at(dead, "team/app", "v1") == digest; }))
      << daemon_->log();
  EXPECT_TRUE(eventually([&] { return daemon_->ready(); }));
  EXPECT_TRUE(all_acknowledged());
}

TEST_P(Line, TheTargetMayBeDownForAWhile) {
  start_daemon(everything());
  target_->stop();
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(40));
  ASSERT_TRUE(eventually([&] {
    return daemon_
               ->metric(R"(transship_images_total{outcome="failed",rule="all",target="eu-west"})")
               .value_or(0) >= 1;  // once: from then on the registry is probed, not the image tried
  })) << daemon_->log();
  const auto status = nlohmann::json::parse(http("GET", daemon_->url() + "/api/v1/status").body);
  EXPECT_EQ(status["pairs"][0]["last_error"]["kind"], "transient") << status.dump(2);
  EXPECT_EQ(status["pairs"][0]["pending_images"], 1);
  EXPECT_GT(status["pairs"][0]["oldest_pending_seconds"], 0);
  target_->start();
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  EXPECT_TRUE(eventually([&] {
    const auto after =
        nlohmann::json::parse(http("GET", daemon_->url() + "/api/v1/status").body)["pairs"][0];
    return after["last_error"].is_null() && after["pending_images"] == 0 &&
           after["oldest_pending_seconds"] == 0;
  })) << daemon_->log();
  EXPECT_TRUE(all_acknowledged());
}

TEST_P(Line, SigtermFinishesWhatIsUnderWay) {
  start_daemon(everything());
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(50, {20'000'000}));
  eventually([&] {
    return daemon_->metric(R"(transship_transfers_in_flight{target="eu-west"})").value_or(0) > 0 ||
           !digest_at(target_->url(), "team/app", "v1").empty();
  });
  EXPECT_EQ(daemon_->terminate(), 0) << daemon_->log();
  // Finished, or handed back and done by the next.
  daemon_->start();
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
}

TEST_P(Line, ReconciliationRepairsWhatEventsMissedAndKnowsUntilWhenAllIsThere) {
  const std::string missed =
      push(source_->url(), "team/app", "v1", make_image(80));  // nobody listens yet
  push(target_->url(), "team/app", "moved", make_image(81));
  const std::string moved = push(source_->url(), "team/app", "moved", make_image(82));
  const std::string same = push(source_->url(), "team/app", "same", make_image(83));
  push(target_->url(), "team/app", "same", make_image(83));
  daemon_.emplace(TRANSSHIP_PROGRAM,
                  registries() + bus() + retries() +
                      "reconcile: {interval: 7d}\nlog: {level: debug}\n" + everything(),
                  std::vector<std::string>{}, daemon_port_);
  ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  ASSERT_TRUE(arrives("team/app", "v1", missed)) << daemon_->log();
  ASSERT_TRUE(arrives("team/app", "moved", moved)) << daemon_->log();
  const std::string pair = R"(rule="all",target="eu-west"})";
  EXPECT_TRUE(eventually([&] {
    return daemon_->metric("transship_replicated_until_timestamp_seconds{" + pair).value_or(0) >
           1e9;
  })) << daemon_->log();
  EXPECT_EQ(daemon_->metric(R"(transship_drift_images{kind="missing",)" + pair), 1);
  EXPECT_EQ(daemon_->metric(R"(transship_drift_images{kind="different",)" + pair), 1);
  EXPECT_GT(
      daemon_->metric("transship_reconcile_last_success_timestamp_seconds{" + pair).value_or(0),
      1e9);
  // On request it looks again, and finds nothing.
  EXPECT_EQ(http("POST", daemon_->url() + "/api/v1/reconcile", R"({"rule":"all"})").status, 202);
  EXPECT_EQ(http("POST", daemon_->url() + "/api/v1/reconcile", R"({"rule":"none"})").status, 404);
  EXPECT_TRUE(eventually([&] {
    return daemon_->metric(R"(transship_drift_images{kind="missing",)" + pair) == 0 &&
           daemon_->metric(R"(transship_drift_images{kind="different",)" + pair) == 0;
  })) << daemon_->log();
}

TEST_P(Line, ReconciliationComparesMoreTagsThanItLooksAtAtOnce) {
  const TestImage image = make_image(84, {100});
  const std::string digest = push(source_->url(), "team/app", "v0", image);
  for (int i = 1; i < 50; ++i)
    push_manifest(source_->url(), "team/app", fmt::format("v{}", i), image);
  daemon_.emplace(TRANSSHIP_PROGRAM,
                  registries() + bus() + retries() + "reconcile: {interval: 7d}\n" + everything(),
                  std::vector<std::string>{}, daemon_port_);
  ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  ASSERT_TRUE(arrives("team/app", "v49", digest)) << daemon_->log();
}

// --- kill -9
// ------------------------------------------------------------------------------------------------------------

TEST_P(Line, KilledBetweenTheAnswerAndTheCopyItLosesNothing) {
  std::mt19937 random(static_cast<unsigned>(GetParam()) + 1);
  start_daemon(everything());
  for (std::uint64_t round = 0; round < 10; ++round) {
    const double accepted =
        daemon_->metric(R"(transship_events_total{outcome="accepted",registry="us-east"})")
            .value_or(0);
    const std::string tag = "v" + std::to_string(round);
    const std::string digest =
        push(source_->url(), "team/app", tag, make_image(200 + round, {2'000'000}));
    ASSERT_TRUE(eventually([&] {
      return daemon_->metric(R"(transship_events_total{outcome="accepted",registry="us-east"})")
                 .value_or(0) > accepted;
    })) << daemon_->log();
    std::this_thread::sleep_for(
        std::chrono::milliseconds(random() % 20));  // a random instant, not a wait
    daemon_->kill();
    if (!digest_at(target_->url(), "team/app", tag).empty()) {
      EXPECT_EQ(incompleteness(target_->url(), "team/app", tag), "");
    }
    daemon_->start();
    ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
    ASSERT_TRUE(arrives("team/app", tag, digest)) << daemon_->log();
    EXPECT_EQ(incompleteness(target_->url(), "team/app", tag), "");
  }
  EXPECT_TRUE(all_acknowledged());
}

TEST_P(Line, KilledInTheMiddleOfABlobItLosesNothing) {
  std::mt19937 random(static_cast<unsigned>(GetParam()) + 7);
  start_daemon(everything());
  for (std::uint64_t round = 0; round < 10; ++round) {
    const std::string tag = "v" + std::to_string(round);
    const std::string digest =
        push(source_->url(), "team/big", tag, make_image(300 + round, {40'000'000}));
    ASSERT_TRUE(eventually([&] {
      return daemon_->metric(R"(transship_transfers_in_flight{target="eu-west"})").value_or(0) >
                 0 ||
             !digest_at(target_->url(), "team/big", tag).empty();
    })) << daemon_->log();
    std::this_thread::sleep_for(
        std::chrono::milliseconds(random() % 60));  // a random instant, not a wait
    daemon_->kill();
    if (!digest_at(target_->url(), "team/big", tag).empty()) {
      EXPECT_EQ(incompleteness(target_->url(), "team/big", tag), "");
    }
    daemon_->start();
    ASSERT_TRUE(arrives("team/big", tag, digest)) << daemon_->log();
    EXPECT_EQ(incompleteness(target_->url(), "team/big", tag), "");
    ASSERT_TRUE(daemon_->wait_until_ready());
  }
  EXPECT_TRUE(all_acknowledged());
}

// --- the bus
// ------------------------------------------------------------------------------------------------------------

class JetStreamLine : public Line {};
INSTANTIATE_TEST_SUITE_P(Bus, JetStreamLine, ::testing::Values(BusKind::jetstream));

TEST_P(JetStreamLine, TheServerMayBeKilledAndComeBack) {
  start_daemon(everything());
  const std::string before = push(source_->url(), "team/app", "v1", make_image(60));
  ASSERT_TRUE(arrives("team/app", "v1", before)) << daemon_->log();
  nats_->kill();
  ASSERT_TRUE(eventually([&] { return http("GET", daemon_->url() + "/readyz").status == 503; }));
  EXPECT_EQ(daemon_->metric("transship_bus_connected"), 0);
  // The registry repeats what it could not deliver.
  const std::string after = push(source_->url(), "team/app", "v2", make_image(61));
  const auto refused = http("POST", daemon_->url() + "/intake/us-east", R"({"events":[]})");
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  nats_->start();
  ASSERT_TRUE(arrives("team/app", "v2", after)) << daemon_->log();
  EXPECT_TRUE(daemon_->wait_until_ready());
}

TEST_P(JetStreamLine, TheDaemonWaitsForAServerThatComesLate) {
  nats_->kill();
  daemon_.emplace(TRANSSHIP_PROGRAM, registries() + bus() + no_reconciliation() + everything(),
                  std::vector<std::string>{}, daemon_port_);
  ASSERT_TRUE(eventually([&] { return http("GET", daemon_->url() + "/readyz").status == 503; }))
      << daemon_->log();
  EXPECT_EQ(http("GET", daemon_->url() + "/healthz").status, 200);
  nats_->start();
  ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
}

// --- nothing blocks the loop
// ----------------------------------------------------------------------------------------------

class JournalLine : public Line {};
INSTANTIATE_TEST_SUITE_P(Bus, JournalLine, ::testing::Values(BusKind::journal));

TEST_P(JournalLine, TimedASlowDiskAndASlowRegistryDoNotDelayHealthz) {
  start_daemon(everything(), {std::string("LD_PRELOAD=") + TRANSSHIP_SLOW_DISK, "SLOW_DISK_MS=700",
                              "ASAN_OPTIONS=verify_asan_link_order=0"});
  std::thread pusher([&] {
    for (std::uint64_t i = 0; i < 5; ++i)
      push(source_->url(), "team/app", "v" + std::to_string(i), make_image(70 + i));
  });
  const auto figures =
      measure_healthz(daemon_->url(), source_->url() + "/v2/", std::chrono::seconds(4));
  pusher.join();
  EXPECT_GT(figures.samples, 20);
  EXPECT_LT(figures.slowest.count(), 100) << daemon_->log();
  EXPECT_EQ(daemon_->log().find("cannot be preloaded"), std::string::npos)
      << "the disk was not slow";
}

TEST_P(JournalLine, ASecondDaemonOnTheSameJournalIsRefused) {
  start_daemon(everything());
  const TemporaryDirectory directory;
  std::string config = read_file(daemon_->config_file());
  const std::string port = std::to_string(daemon_port_);
  config.replace(config.find(":" + port + "'"), port.size() + 1, ":0");
  write_file(directory / "second.yaml", config);
  const auto second =
      run({TRANSSHIP_PROGRAM, "run", "--config", (directory / "second.yaml").string()});
  EXPECT_EQ(second.exit_code, 3) << second.errors;
  EXPECT_NE(second.errors.find("another"), std::string::npos) << second.errors;
}

}  // namespace
}  // namespace transship::testing
