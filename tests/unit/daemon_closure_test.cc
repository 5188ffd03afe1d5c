#include <gtest/gtest.h>

#include "daemon/closure_times.h"
#include "tests/support/process.h"

namespace transship {
namespace {

using Time = ClosureTimes::Time;

const PlacedBy by{"rule", "https://source", "https://target"};

Time at(int seconds) { return Time(std::chrono::seconds(seconds)); }

TEST(ClosureTimes, AreRememberedByTheStateDirectory) {
  const testing::TemporaryDirectory directory;
  {
    StateDirectory state(directory.path());
    ClosureTimes times(&state);
    EXPECT_EQ(times.last(by, at(100)), std::nullopt);
    times.note(by, at(50));
  }
  StateDirectory state(directory.path());
  const ClosureTimes times(&state);
  EXPECT_EQ(times.last(by, at(100)), at(50));
  EXPECT_EQ(times.last(by, at(49)), std::nullopt) << "a clock that was wrong proves nothing";
}

TEST(ClosureTimes, AreOfOneSourceAndTarget) {
  ClosureTimes times(nullptr);
  times.note(by, at(50));
  PlacedBy moved = by;
  moved.source = "https://elsewhere";
  EXPECT_EQ(times.last(moved, at(100)), std::nullopt);
  times.note(moved, at(60));
  EXPECT_EQ(times.last(moved, at(100)), at(60));
  EXPECT_EQ(times.last(by, at(100)), std::nullopt) << "the rule goes elsewhere now";
}

TEST(ClosureTimes, TakeNoHarmFromABrokenFile) {
  const testing::TemporaryDirectory directory;
  testing::write_file(
      directory / "closure-passes",
      "\nx y z w\n12x r s t\n7 r s\n99999999999999999999 r s t\n40 rule https://source "
      "https://target\n");
  StateDirectory state(directory.path());
  EXPECT_EQ(ClosureTimes(&state).last(by, at(100)), at(40));
}

}  // namespace
}  // namespace transship
