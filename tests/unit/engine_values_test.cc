#include <gtest/gtest.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include "replicator/base/budget.h"
#include "replicator/base/pace.h"
#include "replicator/blob_locations.h"
#include "replicator/registry/throttle.h"

namespace transship {

namespace {

using namespace std::chrono_literals;

oci::Repository repository(const std::string& name) { return *oci::Repository::parse(name); }

std::chrono::steady_clock::duration time_of(asio::awaitable<void> work) {
  asio::io_context loop;
  const auto began = std::chrono::steady_clock::now();
  asio::co_spawn(loop, std::move(work), asio::detached);
  loop.run();
  return std::chrono::steady_clock::now() - began;
}

TEST(Pace, WithoutALimitNobodyWaits) {
  Pace pace;
  EXPECT_LT(time_of([](Pace& its_pace) -> asio::awaitable<void> {
              for (int i = 0; i < 1000; ++i) co_await its_pace.take(1e9);
            }(pace)),
            1s);
}

TEST(Pace, KeepsToItsRate) {
  Pace pace(1000);
  // 500 at 1000 a second, of which a tenth of a second is free and the last is not waited for.
  EXPECT_GE(time_of([](Pace& its_pace) -> asio::awaitable<void> {
              for (int i = 0; i < 50; ++i) co_await its_pace.take(10);
            }(pace)),
            380ms);
}

TEST(Throttle, GoesAtHalfThePaceAfterARefusalAndFasterAgainLater) {
  registry::Throttle throttle(0, 5s);
  time_of([](registry::Throttle& its_throttle) -> asio::awaitable<void> {
    for (int i = 0; i < 100; ++i) co_await its_throttle.turn();
  }(throttle));
  EXPECT_EQ(throttle.requests_per_second(), 0);
  throttle.refused(std::nullopt);
  EXPECT_EQ(throttle.requests_per_second(), 50);
  throttle.refused(std::nullopt);  // those that were under way are the same refusal
  EXPECT_EQ(throttle.requests_per_second(), 50);
}

TEST(Throttle, GoesFasterAgainWhileNothingIsRefused) {
  registry::Throttle throttle(0, 5s);
  time_of([](registry::Throttle& its_throttle) -> asio::awaitable<void> {
    for (int i = 0; i < 100; ++i) co_await its_throttle.turn();
  }(throttle));
  throttle.refused(std::nullopt);
  throttle.accepted();
  EXPECT_EQ(throttle.requests_per_second(), 50);  // not at once
  time_of([](registry::Throttle& its_throttle) -> asio::awaitable<void> {
    while (its_throttle.requests_per_second() > 0 && its_throttle.requests_per_second() < 70) {
      co_await its_throttle.turn();
      its_throttle.accepted();
    }
  }(throttle));
  EXPECT_EQ(throttle.requests_per_second(), 75);
}

TEST(Throttle, EveryoneWaitsAsLongAsTheRegistryAsksButNotLongerThanAllowed) {
  registry::Throttle throttle(0, 300ms);
  throttle.refused(1h);
  const auto waited = time_of(throttle.turn());
  EXPECT_GE(waited, 290ms);
  EXPECT_LT(waited, 30s);
}

TEST(Budget, GivesWhatThereIsAndTakesItBack) {
  Budget budget(100);
  {
    auto share = budget.share();
    EXPECT_TRUE(share.grow(60));
    EXPECT_FALSE(share.grow(41));
    auto other = budget.share();
    EXPECT_TRUE(other.grow(40));
    share.shrink(10);
    EXPECT_EQ(budget.free(), 10U);
    share = budget.share();
    EXPECT_EQ(budget.free(), 60U);
  }
  EXPECT_EQ(budget.free(), 100U);
}

TEST(BlobLocations, WhatAnEarlierRunLearntIsBelievedLess) {
  BlobLocations before;
  const auto first = oci::Digest::of("1");
  const auto second = oci::Digest::of("2");
  before.learn(first, repository("a"));
  before.learn(first, repository("b"));
  before.learn(second, repository("a"));
  before.learn(oci::Digest::of("3", oci::Algorithm::sha512), repository("a"));

  BlobLocations after;
  after.add_text(before.as_text());
  EXPECT_EQ(after.size(), 2U);
  EXPECT_FALSE(after.holds(first, repository("a")));
  EXPECT_TRUE(after.may_hold(first, repository("a")));
  EXPECT_EQ(after.elsewhere(first, repository("c")), repository("b"));
  after.learn(first, repository("a"));
  EXPECT_TRUE(after.holds(first, repository("a")));
  EXPECT_FALSE(after.holds(first, repository("b")));
  after.forget(first, repository("b"));
  EXPECT_TRUE(after.holds(first, repository("a")));
  EXPECT_FALSE(after.may_hold(first, repository("b")));
  EXPECT_EQ(after.as_text().find("sha512"), std::string::npos);
}

TEST(BlobLocations, PassesOverLinesThatAreNone) {
  BlobLocations locations;
  locations.add_text("rubbish\n\nsha256:12 a\n" + oci::Digest::of("1").str() + " UPPER ok\n" +
                     oci::Digest::of("2").str());
  EXPECT_TRUE(locations.may_hold(oci::Digest::of("1"), repository("ok")));
  EXPECT_EQ(locations.size(), 1U);
}

TEST(BlobLocations, RemembersTheLatestRepositoriesOfABlob) {
  BlobLocations locations;
  const auto blob = oci::Digest::of("1");
  for (int i = 0; i < 12; ++i) locations.learn(blob, repository("r" + std::to_string(i)));
  EXPECT_FALSE(locations.holds(blob, repository("r3")));
  EXPECT_TRUE(locations.holds(blob, repository("r4")));
  EXPECT_EQ(locations.elsewhere(blob, repository("r11")), repository("r10"));
}

TEST(Hasher, GoesOnFromItsState) {
  for (const auto algorithm : {oci::Algorithm::sha256, oci::Algorithm::sha512}) {
    const std::string bytes(1000, 'x');
    oci::Hasher hasher(algorithm);
    hasher.update(std::string_view(bytes).substr(0, 333));
    auto resumed = oci::Hasher::resume(algorithm, hasher.state());
    ASSERT_TRUE(resumed);
    resumed->update(std::string_view(bytes).substr(333));
    EXPECT_EQ(resumed->finish(), oci::Digest::of(bytes, algorithm));
    EXPECT_FALSE(oci::Hasher::resume(algorithm, ""));
    EXPECT_FALSE(oci::Hasher::resume(algorithm, hasher.state() + "00"));
    std::string broken = hasher.state();
    broken.back() = 'g';
    EXPECT_FALSE(oci::Hasher::resume(algorithm, broken));
  }
  const auto state = oci::Hasher(oci::Algorithm::sha256).state();
  EXPECT_FALSE(oci::Hasher::resume(oci::Algorithm::sha512, state));
}

}  // namespace

}  // namespace transship
