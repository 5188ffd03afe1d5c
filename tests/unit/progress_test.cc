#include <gtest/gtest.h>

#include "daemon/commands/progress.h"

namespace transship::commands {

namespace {

constexpr std::uint64_t mib = 1UL << 20U;

TEST(ProgressText, OneImageIsMeasuredByItsBytes) {
  const Measured half{0, 1, 512 * mib, 1024 * mib, 64.0 * mib, 8};
  EXPECT_EQ(
      progress_text(half),
      "[##########----------] 0 of 1 images, 512.0 MiB of 1.0 GiB sent, 64.0 MiB/s, 8 s left");
}

TEST(ProgressText, ManyImagesAreMeasuredByTheirNumber) {
  const Measured quarter{10, 40, 0, 0, 0, 30};
  EXPECT_EQ(progress_text(quarter), "[#####---------------] 10 of 40 images, 1 min 30 s left");
}

TEST(ProgressText, SaysNothingThatIsNotKnown) {
  EXPECT_EQ(progress_text({}), "0 of 0 images");
  EXPECT_FALSE(seconds_left({}));
  EXPECT_FALSE(seconds_left({0, 1, 0, 100, 0, 5}));
}

TEST(ProgressText, WhatTakesLongerSaysWhatIsLeft) {
  EXPECT_EQ(seconds_left({5, 10, 100 * mib, 300 * mib, 2.0 * mib, 10}), 100);
  EXPECT_EQ(seconds_left({1, 10, 299 * mib, 300 * mib, 1.0 * mib, 10}), 90);
}

}  // namespace

}  // namespace transship::commands
