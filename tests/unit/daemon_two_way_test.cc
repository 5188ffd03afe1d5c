#include <gtest/gtest.h>

#include "config/reader.h"
#include "daemon/two_way.h"

namespace transship {
namespace {

monitoring::Time at(int second) {
  return monitoring::Time(std::chrono::seconds(1'000'000 + second));
}
std::optional<TwoSides::Push> push(const std::string& digest, int second) {
  return TwoSides::Push{digest, at(second)};
}
PlacedTag last(const std::string& digest, int second) {
  return {"app", "v1", "app", digest, at(second)};
}

TEST(NewerSide, IsTheOneThatMovedSinceBothWereTheSame) {
  EXPECT_EQ(newer_side({"b", "a", {}, {}, last("a", 1)}), Winner::source);
  EXPECT_EQ(newer_side({"a", "b", {}, {}, last("a", 1)}), Winner::target);
  // Whatever clocks say of what was pushed before.
  EXPECT_EQ(newer_side({"b", "a", push("b", 0), push("a", 1), last("a", 1)}), Winner::source);
}

TEST(NewerSide, WhereBothMovedTheTimesTell) {
  const auto base = last("base", 1);
  EXPECT_EQ(newer_side({"a", "b", push("a", 5), push("b", 6), base}), Winner::target);
  EXPECT_EQ(newer_side({"a", "b", push("a", 7), push("b", 6), base}), Winner::source);
  EXPECT_EQ(newer_side({"a", "b", push("a", 5), {}, base}), Winner::source);
  EXPECT_EQ(newer_side({"a", "b", {}, push("b", 5), base}), Winner::target);
  EXPECT_EQ(newer_side({"a", "b", {}, {}, base}), Winner::unknown);
  EXPECT_EQ(newer_side({"a", "b", {}, {}, {}}), Winner::unknown) << "they were never the same";
  EXPECT_EQ(newer_side({"a", "b", push("old", 9), push("old", 9), base}), Winner::unknown)
      << "what they show was told of by nobody";
}

TEST(NewerSide, ADigestIsAsNewAsItsPushWhereverThatWas) {
  // Two copies have crossed: each side shows what was pushed at the other.
  EXPECT_EQ(newer_side({"b", "a", push("a", 5), push("b", 6), last("base", 1)}), Winner::source);
}

TEST(NewerSide, BothDirectionsAgreeOnPushesOfTheSameMoment) {
  const auto there = newer_side({"a", "b", push("a", 5), push("b", 5), {}});
  const auto back = newer_side({"b", "a", push("b", 5), push("a", 5), {}});
  EXPECT_EQ(there == Winner::source, back == Winner::target);
}

TEST(NewerSide, WhatBothShowedLastMayBePushedAgain) {
  EXPECT_EQ(newer_side({"b", "a", push("b", 6), push("a", 7), last("a", 1)}), Winner::target);
  EXPECT_EQ(newer_side({"a", "b", push("a", 7), push("b", 6), last("a", 1)}), Winner::source);
}

TEST(NewerSide, ASourceThatIsBehindHasNotMoved) {
  PlacedTag uncovered = last("b", 6);
  uncovered.behind = "a";
  EXPECT_EQ(newer_side({"a", "b", push("b", 6), {}, uncovered}), Winner::target);
  EXPECT_EQ(newer_side({"c", "b", push("c", 8), {}, uncovered}), Winner::source);
  EXPECT_EQ(newer_side({"a", "b", push("a", 8), {}, uncovered}), Winner::source);
}

TEST(NewerSide, WhatWentAtTheTargetIsNotPutBackWhereItsDeleteGoesTheOtherWay) {
  TwoSides sides{"a", std::nullopt, {}, {}, last("a", 1)};
  EXPECT_EQ(newer_side(sides), Winner::source);
  sides.deletes_go_back = true;
  EXPECT_EQ(newer_side(sides), Winner::target);
  sides.source_push = push("a", 5);
  EXPECT_EQ(newer_side(sides), Winner::source) << "it was pushed again";
  EXPECT_EQ(newer_side({"b", std::nullopt, {}, {}, last("a", 1), true}), Winner::source);
  EXPECT_EQ(newer_side({"a", std::nullopt, {}, {}, {}, true}), Winner::source);
}

TEST(WayBack, LeadsToTheVerySameImage) {
  const auto config = *config::read_text(R"(
registries:
  a: {url: "https://a.example.com"}
  b: {url: "https://b.example.com"}
rules:
  - {name: there, source: a, targets: [b], repositories: "team/**", rename: "mirror/{repository}"}
  - {name: elsewhere, source: b, targets: [a], repositories: "mirror/**"}
  - {name: back, source: b, targets: [a], repositories: "mirror/team/app", rename: "team/app", tags: "v*"}
)",
                                         "test");
  const config::Rule& there = config.rules[0];
  EXPECT_EQ(way_back(config, there, "b", "team/app", "v1"), &config.rules[2]);
  EXPECT_EQ(way_back(config, there, "b", "team/app", "latest"), nullptr);
  EXPECT_EQ(way_back(config, there, "b", "team/other", "v1"), nullptr);
  EXPECT_EQ(way_back(config, config.rules[2], "a", "mirror/team/app", "v1"), &there);
  EXPECT_EQ(way_back(config, config.rules[1], "a", "mirror/team/app", "v1"), nullptr);
}

}  // namespace
}  // namespace transship
