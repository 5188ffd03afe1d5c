// What the log says: one line an image, with what operators look for; and no flood from what is
// down.
#include "tests/e2e/two_registries.h"

namespace transship::testing {
namespace {

class Log : public TwoRegistries {
 protected:
  std::vector<nlohmann::json> logged(const std::string& level, const std::string& text) {
    std::vector<nlohmann::json> found;
    for (auto& line : lines(daemon_->log())) {
      if (line["level"] == level &&
          line["message"].get<std::string>().find(text) != std::string::npos)
        found.push_back(line);
    }
    return found;
  }
};

INSTANTIATE_TEST_SUITE_P(Bus, Log, ::testing::Values(BusKind::journal), name_of);

TEST_P(Log, OneLineAnImageSaysWhatWasDone) {
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(eventually([&] { return !logged("info", "copied team/app:v1").empty(); }))
      << daemon_->log();
  const auto all = logged("info", "team/app");
  ASSERT_EQ(all.size(), 1u) << daemon_->log();
  const nlohmann::json& line = all[0];
  EXPECT_EQ(line["rule"], "all");
  EXPECT_EQ(line["source"], "us-east");
  EXPECT_EQ(line["target"], "eu-west");
  EXPECT_EQ(line["image"], "team/app:v1");
  EXPECT_EQ(line["digest"], digest);
  for (const char* number :
       {"bytes_sent", "blobs_copied", "blobs_mounted", "blobs_present", "seconds", "lag_seconds"})
    EXPECT_TRUE(line.contains(number)) << number;
}

TEST_P(Log, AReconciliationThatFailsTimeAfterTimeIsToldOfOnce) {
  source_->stop();
  const auto reconcile_in_vain = [&](const char* level, std::size_t times) {
    EXPECT_EQ(http("POST", daemon_->url() + "/api/v1/reconcile").status, 202);
    ASSERT_TRUE(eventually([&] {
      return logged(level, "reconciliation could not finish").size() == times;
    })) << daemon_->log();
  };
  reconcile_in_vain("warning", 1);
  reconcile_in_vain("debug", 1);
  reconcile_in_vain("debug", 2);
  EXPECT_EQ(logged("warning", "reconciliation could not finish").size(), 1u);
}

}  // namespace
}  // namespace transship::testing
