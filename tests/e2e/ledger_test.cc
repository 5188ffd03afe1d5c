// The ledger is honest: what it says of lag, backlog and until when all is there is held against
// what the registries hold, while pushes, outages, restarts, dead letters and reconciliation go on.
#include <fmt/chrono.h>

#include <algorithm>
#include <atomic>
#include <iomanip>
#include <map>
#include <mutex>
#include <sstream>

#include "tests/e2e/two_registries.h"

namespace transship::testing {
namespace {

using Time = std::chrono::sys_time<std::chrono::milliseconds>;

Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

// 2026-11-24T12:00:00.123Z
std::optional<Time> time_of(const nlohmann::json& json) {
  if (!json.is_string()) return std::nullopt;
  const auto text = json.get<std::string>();
  std::tm parts{};
  std::istringstream stream(text);
  stream >> std::get_time(&parts, "%Y-%m-%dT%H:%M:%S");
  return Time(std::chrono::seconds(::timegm(&parts)) +
              std::chrono::milliseconds(std::stoi(text.substr(20, 3))));
}

class Honest : public TwoRegistries {
 protected:
  void TearDown() override {
    finish_watching();
    EXPECT_EQ(lies_, std::vector<std::string>{}) << (daemon_ ? daemon_->log() : "");
    EXPECT_GT(looks_, 0);
  }
  [[nodiscard]] std::string reconcile() const override { return "{interval: 7d}"; }

  // Looks all the while: nothing that was pushed before `replicated_until` may lack at the target.
  void watch() {
    watcher_ = std::thread([this] {
      while (!done_) {
        look();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));  // leaves the machine to others
      }
    });
  }
  void finish_watching() {
    done_ = true;
    if (watcher_.joinable()) watcher_.join();
  }
  void look() {
    const auto pushed = pushes();
    const auto answer = http("GET", daemon_->url() + "/api/v1/status");
    if (answer.status != 200) return;
    const auto pair = nlohmann::json::parse(answer.body)["pairs"][0];
    const auto until = time_of(pair["replicated_until"]);
    ++looks_;
    if (!until) return;
    for (const auto& [tag, of_tag] : pushed) {
      const std::string shown = digest_at(target_->url(), "team/app", tag);
      if (shown.empty() && http("GET", target_->url() + "/v2/").status != 200)
        return;  // it is down
      const auto there = std::find_if(of_tag.rbegin(), of_tag.rend(),
                                      [&](const Push& push) { return push.digest == shown; });
      for (auto lacks = of_tag.rbegin(); lacks != there; ++lacks) {
        if (lacks->ended >= *until) continue;
        const std::lock_guard lock(mutex_);
        if (lies_.size() < 5)
          lies_.push_back(fmt::format("said to be in step until {}, but {} of {} was not there",
                                      until->time_since_epoch().count(), tag,
                                      lacks->ended.time_since_epoch().count()));
      }
    }
  }

  std::string pushes_to(const std::string& tag, const TestImage& image) {
    std::string digest = push(source_->url(), "team/app", tag, image);
    const std::lock_guard lock(mutex_);
    pushes_[tag].push_back({digest, now()});
    return digest;
  }
  struct Push {
    std::string digest;
    Time ended;
  };
  std::map<std::string, std::vector<Push>> pushes() {
    const std::lock_guard lock(mutex_);
    return pushes_;
  }
  // An operator gave it up.
  void forget(const std::string& tag) {
    const std::lock_guard lock(mutex_);
    pushes_.erase(tag);
  }

  int tries_of_the_dead() {
    const auto letters = lines(command({"dead", "list"}).output);
    return letters.size() > 1 ? letters.front()["attempts"].get<int>() : 0;
  }
  double until() { return of_pair("transship_replicated_until_timestamp_seconds"); }
  double pending() { return of_pair("transship_pending_images"); }
  double oldest() { return of_pair("transship_oldest_pending_seconds"); }
  double lags() { return of_pair("transship_replication_lag_seconds_count"); }
  double all_lags() { return of_pair("transship_replication_lag_seconds_sum"); }
  static double seconds(Time time) {
    return static_cast<double>(time.time_since_epoch().count()) / 1000;
  }
  bool is_known() {
    return eventually([&] { return until() > 0; });
  }
  // In step, and known to be so for everything that was pushed by now.
  ::testing::AssertionResult comes_in_step() {
    const double pushed = seconds(now());
    if (eventually([&] { return pending() == 0 && oldest() == 0 && until() >= pushed; }))
      return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure()
           << fmt::format("{} pending, the oldest for {} s, known until {} of {}\n", pending(),
                          oldest(), until(), pushed)
           << daemon_->log();
  }
  void restart(bool killed) {
    killed ? daemon_->kill() : static_cast<void>(daemon_->terminate());
    daemon_->start();
    ASSERT_TRUE(eventually([&] { return metric("transship_bus_connected") == 1; }))
        << daemon_->log();
  }

  std::mutex mutex_;
  std::map<std::string, std::vector<Push>> pushes_;  // by tag, in order
  std::vector<std::string> lies_;
  std::atomic<bool> done_{false};
  std::atomic<int> looks_{0};
  std::thread watcher_;
};

INSTANTIATE_TEST_SUITE_P(Bus, Honest, ::testing::Values(BusKind::journal, BusKind::jetstream),
                         name_of);

TEST_P(Honest, OfEveryPushAndOfOneTagThatMovesQuickly) {
  watch();
  ASSERT_TRUE(is_known()) << daemon_->log();
  for (int i = 0; i < 10; ++i) pushes_to(fmt::format("v{}", i), make_image(100 + i, {300}));
  ASSERT_TRUE(comes_in_step());
  EXPECT_EQ(lags(), 10) << "one for each push";
  EXPECT_LT(all_lags(), 10 * 5);
  for (int i = 0; i < 20; ++i) pushes_to("moving", make_image(200 + i, {300}));
  ASSERT_TRUE(comes_in_step());
  EXPECT_LE(lags(), 30);
  EXPECT_GE(lags(), 11) << "the newest, at the least";
}

TEST_P(Honest, OfWhatWaitsForATargetAcrossRestarts) {
  watch();
  ASSERT_TRUE(is_known()) << daemon_->log();
  pushes_to("before", make_image(1));
  ASSERT_TRUE(comes_in_step());
  target_->stop();
  const Time stopped = now();
  for (int i = 0; i < 3; ++i) pushes_to(fmt::format("v{}", i), make_image(10 + i));
  const Time pushed = now();
  for (const bool killed : {false, true}) {
    ASSERT_TRUE(eventually([&] { return pending() == 3; })) << daemon_->log();
    EXPECT_GE(oldest(), seconds(now()) - seconds(pushed) - 0.1);
    EXPECT_LE(oldest(), seconds(now()) - seconds(stopped) + 0.1);
    EXPECT_LE(until(), seconds(pushed));
    restart(killed);
  }
  ASSERT_TRUE(eventually([&] { return pending() == 3; })) << daemon_->log();
  target_->start();
  ASSERT_TRUE(comes_in_step());
  EXPECT_EQ(lags(), 3);
  EXPECT_GE(all_lags(), 0.1) << "they waited";
  EXPECT_LE(all_lags(), 3 * (seconds(now()) - seconds(stopped)));
}

TEST_P(Honest, OfDeadLetters) {
  watch();
  ASSERT_TRUE(is_known()) << daemon_->log();
  const Time before = now();
  const TestImage broken = push_broken("v1", 1);
  {
    const std::lock_guard lock(mutex_);
    pushes_["v1"].push_back({broken.digest(), now()});
  }
  wait_for_dead_letters(1);
  for (const bool killed : {true, false}) {
    EXPECT_EQ(pending(), 1);
    EXPECT_GT(oldest(), 0);
    EXPECT_LE(oldest(), seconds(now()) - seconds(before) + 0.1);
    pushes_to(killed ? "v2" : "v3", make_image(killed ? 2 : 3));
    ASSERT_TRUE(eventually([&] {
      return digest_at(target_->url(), "team/app", killed ? "v2" : "v3") != "" && pending() == 1;
    })) << daemon_->log();
    restart(killed);
    // The first pass tries it once more, and finds what it has found before.
    ASSERT_TRUE(eventually([&] { return tries_of_the_dead() == (killed ? 4 : 5); }))
        << daemon_->log();
    ASSERT_TRUE(eventually([&] { return pending() == 1; })) << daemon_->log();
  }
  forget("v1");
  EXPECT_EQ(command({"dead", "drop", "--all"}).exit_code, 0);
  ASSERT_TRUE(comes_in_step());
}

// The registry forgets what it has not told when it ends; and nobody knows how old what lacks is.
TEST_P(Honest, OfWhatNobodyToldUsOf) {
  watch();
  ASSERT_TRUE(is_known()) << daemon_->log();
  daemon_->terminate();
  const std::string missed = pushes_to("missed", make_image(5));
  source_->stop();
  source_->start();
  daemon_->start();
  ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  ASSERT_TRUE(arrives("team/app", "missed", missed)) << daemon_->log();
  ASSERT_TRUE(comes_in_step());
  EXPECT_EQ(lags(), 0) << "nobody knows when it was pushed";
}

TEST_P(Honest, OfWhatNobodyToldUsOfAndCannotBeBrought) {
  watch();
  const TestImage broken = push_broken("v1", 1);
  daemon_->terminate();
  source_->stop();
  source_->start();
  {
    const std::lock_guard lock(mutex_);
    pushes_["v1"].push_back({broken.digest(), now()});
  }
  daemon_->start();
  ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  wait_for_dead_letters(1);
  restart(/*killed=*/true);
  wait_for_dead_letters(1);
  const std::string good = pushes_to("good", make_image(2));
  ASSERT_TRUE(arrives("team/app", "good", good)) << daemon_->log();
  EXPECT_TRUE(eventually([&] { return pending() == 1; })) << daemon_->log();
  EXPECT_EQ(until(), 0) << "nobody knows since when it lacks";
  push_blobs(source_->url(), "team/app", broken);
  EXPECT_EQ(command({"dead", "retry", "--all"}).exit_code, 0);
  EXPECT_TRUE(comes_in_step());
}

TEST_P(Honest, OfASourceThatDoesNotAnswer) {
  watch();
  ASSERT_TRUE(is_known()) << daemon_->log();
  pushes_to("v1", make_image(1));
  ASSERT_TRUE(comes_in_step());
  source_->stop();
  const Time stopped = now();
  EXPECT_EQ(http("POST", daemon_->url() + "/api/v1/reconcile", "{}").status, 202);
  ASSERT_TRUE(eventually([&] {
    return daemon_->log().find("us-east does not answer; what needs it waits") != std::string::npos;
  })) << daemon_->log();
  // Until it would long have gone on.
  ASSERT_TRUE(eventually([&] { return now() > stopped + std::chrono::seconds(4); }));
  EXPECT_GT(until(), 0);
  EXPECT_LE(until(), seconds(stopped)) << "nobody knows what was pushed since";
  source_->start();
  ASSERT_TRUE(comes_in_step());
}

class HonestOnJetStream : public Honest {};
INSTANTIATE_TEST_SUITE_P(Bus, HonestOnJetStream, ::testing::Values(BusKind::jetstream), name_of);

TEST_P(HonestOnJetStream, OfWhatWasPushedWhileTheBusWasAway) {
  watch();
  ASSERT_TRUE(is_known()) << daemon_->log();
  pushes_to("v1", make_image(1));
  ASSERT_TRUE(comes_in_step());
  nats_->kill();
  ASSERT_TRUE(eventually([&] { return metric("transship_bus_connected") == 0; }));
  const std::string missed = pushes_to("v2", make_image(2));
  source_->stop();  // and with it goes what it has not told
  source_->start();
  const double pushed = seconds(now());
  EXPECT_LT(until(), pushed);
  nats_->start();
  ASSERT_TRUE(arrives("team/app", "v2", missed)) << daemon_->log();
  ASSERT_TRUE(comes_in_step());
}

}  // namespace
}  // namespace transship::testing
