#include <gtest/gtest.h>

#include "config/reader.h"
#include "daemon/retry.h"
#include "daemon/routes.h"
#include "monitoring/ledger.h"

namespace transship {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(RetryPause, GrowsIsJitteredAndBounded) {
  const config::RetryPolicy policy{8, seconds(1), seconds(60)};
  Random random(1);
  for (int i = 0; i < 200; ++i) {
    const auto first = retry_pause(policy, 1, std::nullopt, random);
    EXPECT_GE(first, milliseconds(750));
    EXPECT_LE(first, milliseconds(1250));
    const auto third = retry_pause(policy, 3, std::nullopt, random);
    EXPECT_GE(third, milliseconds(3000));
    EXPECT_LE(third, milliseconds(5000));
    EXPECT_LE(retry_pause(policy, 1000, std::nullopt, random), seconds(60));
  }
  EXPECT_GE(retry_pause(policy, 1, seconds(20), random), seconds(20));
  EXPECT_EQ(retry_pause(policy, 1, seconds(600), random), seconds(60))
      << "obeyed up to longest_pause";
}

TEST(LateLooks, ComeWhenPromisedAndEnd) {
  EXPECT_EQ(next_look_with_digest(milliseconds(0)), milliseconds(100));
  EXPECT_EQ(next_look_with_digest(milliseconds(100)), milliseconds(300));
  EXPECT_EQ(next_look_with_digest(milliseconds(999)), milliseconds(1000));
  EXPECT_EQ(next_look_with_digest(milliseconds(1000)), milliseconds(3000));
  EXPECT_FALSE(next_look_with_digest(milliseconds(3000)));
  EXPECT_EQ(next_look_without_digest(milliseconds(5)), milliseconds(1000));
  EXPECT_FALSE(next_look_without_digest(milliseconds(1000)));
}

config::Config fleet(const std::string& region) {
  const std::string text = (region.empty() ? "" : "region: " + region + "\n") + R"(
registries:
  us: {url: "https://us.example.com", region: us-east}
  eu: {url: "https://eu.example.com", region: eu-west}
  ap: {url: "https://ap.example.com", region: ap-south}
  anywhere: {url: "https://any.example.com"}
rules:
  - {name: one, source: us, targets: [eu, ap, anywhere], repositories: ["team/**", "!team/x/**"], tags: "v*", rename: "mirror/{repository}"}
  - {name: two, source: us, targets: [eu], repositories: "**", priority: 5}
)";
  return *config::read_text(text, "test");
}

TEST(Routes, KeepToTheRegionOfTheDaemon) {
  const auto everywhere = fleet("");
  EXPECT_EQ(Routes(everywhere).targets(), (std::vector<std::string>{"eu", "ap", "anywhere"}));
  EXPECT_EQ(Routes(everywhere).pairs().size(), 4u);
  const auto eu_west = fleet("eu-west");
  EXPECT_EQ(Routes(eu_west).targets(), (std::vector<std::string>{"eu", "anywhere"}));
  const auto nowhere = fleet("sa-east");
  EXPECT_EQ(Routes(nowhere).targets(), (std::vector<std::string>{"anywhere"}));
}

TEST(Routes, MatchRenameAndTarget) {
  const auto config = fleet("");
  const Routes routes(config);
  const auto both = routes.to("eu", "us", "team/app", "v1");
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].target_repository, "mirror/team/app");
  EXPECT_EQ(both[1].target_repository, "team/app");
  EXPECT_EQ(routes.to("eu", "us", "team/app", "latest").size(), 1u);
  EXPECT_EQ(routes.to("ap", "us", "team/x/y", "v1").size(), 0u);
  EXPECT_EQ(routes.to("ap", "eu", "team/app", "v1").size(), 0u) << "another source";
  EXPECT_EQ(routes.to("us", "us", "team/app", "v1").size(), 0u);
}

TEST(Routes, SignaturesAndPushesByDigestGoWhereReferrersAreCarried) {
  auto config = fleet("");
  config.rules[1].referrers = false;
  const Routes routes(config);
  const std::string hex(64, 'a');
  for (const std::string& reference :
       {"sha256-" + hex + ".sig", "sha256-" + hex, "sha256:" + hex}) {
    const auto found = routes.to("eu", "us", "team/app", reference);
    ASSERT_EQ(found.size(), 1u) << reference;
    EXPECT_EQ(found[0].rule->name, "one") << "whatever tags it wants";
    EXPECT_EQ(routes.to("eu", "us", "team/x/y", reference).size(), 0u);
  }
}

TEST(Routes, BlobsGoAheadWhereTheRuleTakesEveryTagOrSaysSo) {
  auto config = fleet("");
  const auto rules = [&](const std::string& target, const std::string& repository) {
    std::vector<std::string> names;
    for (const Route& route : Routes(config).for_blobs(target, "us", repository))
      names.push_back(route.rule->name + " " + route.target_repository);
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(rules("eu", "team/app"), Names{"two team/app"});
  EXPECT_EQ(rules("ap", "team/app"), Names{});
  config.rules[0].prefetch = config::Prefetch::always;
  config.rules[1].prefetch = config::Prefetch::never;
  EXPECT_EQ(rules("eu", "team/app"), Names{"one mirror/team/app"});
  EXPECT_EQ(rules("eu", "team/x/app"), Names{});
}

TEST(Routes, BlobsMayBeWantedInAnyRegion) {
  const auto nowhere = fleet("sa-east");
  EXPECT_TRUE(Routes(nowhere).anybody_prefetches("us", "team/app"));
  EXPECT_FALSE(Routes(nowhere).anybody_prefetches("eu", "team/app"));
}

// --- the ledger
// ---------------------------------------------------------------------------------------------------------

using monitoring::Ledger;
using monitoring::Time;
Time at(int second) { return Time(seconds(1'000'000 + second)); }

class LedgerTest : public ::testing::Test {
 protected:
  [[nodiscard]] Ledger::Report report(int now) const { return ledger.report(at(now)).at(0); }
  Ledger ledger;
  Ledger::PairId pair = ledger.add_pair({"r", "s", "t"});
};

TEST_F(LedgerTest, StartsAtZeroAndUnknown) {
  EXPECT_EQ(report(5).oldest_pending_seconds, 0);
  EXPECT_EQ(report(5).pending_images, 0u);
  EXPECT_FALSE(report(5).replicated_until);
}

TEST_F(LedgerTest, IsAsOldAsItsOldestPush) {
  ledger.pushed(pair, "a:1", at(10));
  ledger.pushed(pair, "b:1", at(20));
  ledger.pushed(pair, "a:1", at(30));
  EXPECT_EQ(report(40).oldest_pending_seconds, 30);
  EXPECT_EQ(report(40).pending_images, 2u);
  ledger.done(pair, "a:1", at(10));
  EXPECT_EQ(report(40).oldest_pending_seconds, 20) << "b is the oldest now";
  EXPECT_EQ(report(40).pending_images, 2u) << "a's second push is still pending";
  ledger.done(pair, "b:1", at(20));
  ledger.done(pair, "a:1", at(30));
  EXPECT_EQ(report(40).oldest_pending_seconds, 0);
}

TEST_F(LedgerTest, TakesADuplicateForOnePush) {
  ledger.pushed(pair, "a:1", at(10));
  ledger.pushed(pair, "a:1", at(10));
  ledger.done(pair, "a:1", at(10));
  EXPECT_EQ(report(40).pending_images, 0u);
  ledger.done(pair, "a:1", at(10));
  EXPECT_EQ(report(40).pending_images, 0u);
}

TEST_F(LedgerTest, KnowsUntilWhenOnlyOnceReconciled) {
  ledger.pushed(pair, "a:1", at(10));
  EXPECT_FALSE(report(20).replicated_until);
  ledger.reconciled(pair, at(15));
  EXPECT_LT(*report(20).replicated_until, at(10)) << "the push at 10 is not there yet";
  ledger.done(pair, "a:1", at(10));
  EXPECT_EQ(*report(20).replicated_until, at(19)) << "an event takes a moment to come";
  ledger.pushed(pair, "a:1", at(20));
  ledger.done(pair, "a:1", at(20));
  EXPECT_EQ(*report(20).replicated_until, at(20)) << "this one came";
}

TEST_F(LedgerTest, StandsStillWhilePushesDoNotReachUsAndUntilTheyWereSearchedFor) {
  ledger.set_hearing(pair, true, at(1), at(1));
  ledger.reconciled(pair, at(1));
  EXPECT_FALSE(ledger.takes_search(pair));
  ledger.set_hearing(pair, false, at(30), at(31));
  ledger.set_hearing(pair, false, at(40), at(41));
  EXPECT_EQ(*report(50).replicated_until, at(30));
  ledger.reconciled(pair, at(50));
  EXPECT_EQ(*report(55).replicated_until, at(50)) << "what it saw is there";
  EXPECT_FALSE(ledger.takes_search(pair)) << "not yet";
  ledger.set_hearing(pair, true, at(60), at(60));
  EXPECT_TRUE(ledger.takes_search(pair));
  EXPECT_FALSE(ledger.takes_search(pair)) << "once is enough";
  ledger.reconciled(pair, at(59));
  EXPECT_EQ(*report(65).replicated_until, at(59)) << "that search began before";
  ledger.reconciled(pair, at(60));
  EXPECT_EQ(*report(70).replicated_until, at(69));
}

// An event that was refused while the daemon started: the first pass began before.
TEST_F(LedgerTest, WantsASearchOnceTheFirstPassHasEnded) {
  ledger.set_hearing(pair, false, at(0), at(31));
  ledger.set_hearing(pair, true, at(60), at(60));
  EXPECT_FALSE(ledger.takes_search(pair)) << "nobody has looked yet";
  ledger.reconciled(pair, at(30));
  EXPECT_EQ(*report(70).replicated_until, at(30));
  EXPECT_TRUE(ledger.takes_search(pair));
  ledger.reconciled(pair, at(71));
  EXPECT_EQ(*report(80).replicated_until, at(79));
}

TEST_F(LedgerTest, StandsStillWhereSomethingIsLeftAlone) {
  ledger.reconciled(pair, at(10));
  ledger.unsure(pair, at(10), at(25));
  EXPECT_EQ(*report(30).replicated_until, at(10));
  ledger.reconciled(pair, at(20));
  EXPECT_EQ(*report(30).replicated_until, at(20)) << "a pass of before, whose repairs took time";
  ledger.reconciled(pair, at(40));
  EXPECT_EQ(*report(50).replicated_until, at(49));
}

TEST_F(LedgerTest, KnowsNothingWhileAPushOfUnknownAgeIsPending) {
  ledger.reconciled(pair, at(10));
  ledger.pushed(pair, "a:1", at(20), /*or_before=*/true);
  EXPECT_EQ(report(30).oldest_pending_seconds, 10);
  EXPECT_FALSE(report(30).replicated_until);
  ledger.done(pair, "a:1", at(20));
  EXPECT_EQ(*report(30).replicated_until, at(29));
}

TEST_F(LedgerTest, WhatIsLetGoIsNotThere) {
  ledger.reconciled(pair, at(10));
  ledger.pushed(pair, "a:1", at(20));
  ledger.let_go(pair, "a:1", at(20));
  EXPECT_EQ(*report(20).replicated_until, at(19));
  EXPECT_EQ(report(20).pending_images, 0u);
}

TEST_F(LedgerTest, CountsBytesOfPendingImagesOnly) {
  ledger.set_pending_bytes(pair, "a:1", 100);
  EXPECT_EQ(report(1).pending_bytes, 0u);
  ledger.pushed(pair, "a:1", at(1));
  ledger.set_pending_bytes(pair, "a:1", 100);
  ledger.set_pending_bytes(pair, "a:1", 70);
  EXPECT_EQ(report(1).pending_bytes, 70u);
  ledger.done(pair, "a:1", at(1));
  EXPECT_EQ(report(1).pending_bytes, 0u);
}

TEST_F(LedgerTest, ForgetsAnErrorAtTheNextSuccess) {
  ledger.failed(pair, {"transient", "no answer", at(3)});
  EXPECT_EQ(report(4).last_error->message, "no answer");
  ledger.succeeded(pair, at(5));
  EXPECT_FALSE(report(6).last_error);
  EXPECT_EQ(*report(6).last_success, at(5));
}

}  // namespace
}  // namespace transship
