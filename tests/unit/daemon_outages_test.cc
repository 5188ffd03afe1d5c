#include <gtest/gtest.h>

#include <asio.hpp>

#include "daemon/outages.h"
#include "monitoring/ledger.h"

namespace transship {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(ProbePause, GrowsToFifteenSecondsAtFirstAndToTheLongestLater) {
  const config::RetryPolicy policy{8, seconds(1), minutes(5)};
  Random random(1);
  for (int i = 0; i < 100; ++i) {
    EXPECT_LE(probe_pause(policy, 1, milliseconds(0), random), milliseconds(1250));
    EXPECT_GE(probe_pause(policy, 3, seconds(3), random), seconds(3));
    EXPECT_EQ(probe_pause(policy, 20, minutes(4), random), seconds(15));
    EXPECT_GT(probe_pause(policy, 20, minutes(6), random), minutes(3));
    EXPECT_LE(probe_pause(policy, 20, minutes(6), random), minutes(5));
  }
  const config::RetryPolicy short_one{8, milliseconds(10), milliseconds(100)};
  EXPECT_LE(probe_pause(short_one, 20, seconds(1), random), milliseconds(100));
}

class OutagesTest : public ::testing::Test {
 protected:
  Outages::Parts parts() {
    return {[this](std::string) -> asio::awaitable<Result<void>> {
              ++probes;
              if (probes < answers_at) {
                Error error;
                error.unanswered = !answers_with_errors;
                co_return fail(error);
              }
              co_return Result<void>{};
            },
            [this](asio::awaitable<void> part) {
              asio::co_spawn(loop, std::move(part), [](const std::exception_ptr&) {});
            },
            [this](const std::string& registry, bool out) {
              changes.push_back(registry + (out ? " out" : " back"));
            }};
  }
  asio::io_context loop;
  int probes = 0;
  int answers_at = 1;
  bool answers_with_errors = false;
  std::vector<std::string> changes;
  Outages outages{loop.get_executor(), {8, milliseconds(1), milliseconds(4)}, parts()};
};

TEST_F(OutagesTest, ASuspectThatAnswersIsNoOutage) {
  outages.suspect("eu");
  outages.suspect("eu");
  loop.run();
  EXPECT_EQ(probes, 1);
  EXPECT_TRUE(changes.empty());
}

TEST_F(OutagesTest, IsProbedByOneUntilItAnswers) {
  answers_at = 4;
  outages.suspect("eu");
  outages.suspect("eu");
  loop.run();
  EXPECT_EQ(probes, 4);
  EXPECT_EQ(changes, (std::vector<std::string>{"eu out", "eu back"}));
  EXPECT_FALSE(outages.is_out("eu"));
}

TEST_F(OutagesTest, OneThatServesNobodyIsOutAndTriedOnceMoreNowAndThen) {
  answers_with_errors = true;
  answers_at = 1'000'000;
  outages.suspect("eu", Outages::Doubt::answers);
  loop.run();
  loop.restart();
  EXPECT_TRUE(changes.empty()) << "it answers";
  outages.suspect("eu");
  loop.run();  // until the longest pause is over
  EXPECT_GT(probes, 2);
  EXPECT_EQ(changes, (std::vector<std::string>{"eu out", "eu back"}));
}

TEST_F(OutagesTest, WhoAsksHearsOfTheFirstProbe) {
  std::vector<bool> heard;
  const auto ask = [&] {
    asio::co_spawn(loop, outages.confirm("eu"),
                   [&](const std::exception_ptr&, bool out) { heard.push_back(out); });
  };
  ask();
  ask();
  loop.run();
  loop.restart();
  EXPECT_EQ(heard, (std::vector<bool>{false, false}));
  probes = 0;
  answers_at = 5;
  ask();
  ask();
  while (heard.size() < 4) loop.run_one();
  EXPECT_EQ(heard, (std::vector<bool>{false, false, true, true}));
  EXPECT_LT(probes, answers_at) << "the first of them told";
  loop.run();
  EXPECT_EQ(changes, (std::vector<std::string>{"eu out", "eu back"}));
}

TEST_F(OutagesTest, TheEndOfTheDaemonEndsTheProbes) {
  answers_at = 1'000'000;
  outages.suspect("eu");
  while (probes < 3) loop.run_one();
  EXPECT_TRUE(outages.is_out("eu"));
  outages.stop();
  loop.run();
  EXPECT_EQ(changes, (std::vector<std::string>{"eu out"}));
}

TEST(Ledger, CountsWhatWaitsOnTheBusAsPending) {
  monitoring::Ledger ledger;
  const auto pair = ledger.add_pair({"r", "s", "t"});
  const auto at = [](int second) { return monitoring::Time(seconds(1'000'000 + second)); };
  ledger.set_waiting_on_bus(pair, at(10));
  EXPECT_EQ(ledger.report(at(40)).at(0).oldest_pending_seconds, 30);
  ledger.pushed(pair, "a:1", at(5));
  EXPECT_EQ(ledger.report(at(40)).at(0).oldest_pending_seconds, 35);
  ledger.done(pair, "a:1", at(5));
  ledger.set_waiting_on_bus(pair, std::nullopt);
  EXPECT_EQ(ledger.report(at(40)).at(0).oldest_pending_seconds, 0);
}

}  // namespace
}  // namespace transship
