// The status page in a real browser, which shows a real daemon.
#include <re2/re2.h>

#include "tests/e2e/two_registries.h"

namespace transship::testing {
namespace {

class Browsed : public TwoRegistries {
 protected:
  void SetUp() override {
    if (!has_program("chromium")) GTEST_SKIP() << "chromium is not installed";
    TwoRegistries::SetUp();
  }

  // The page as it is once its script has asked and shown for a few (virtual) seconds. What the
  // policy forbids and what fails in the script is in `errors`.
  std::string page(const std::string& address) {
    TemporaryDirectory profile;
    const Finished browsed = run(
        {"chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--no-first-run", "--user-data-dir=" + profile.path().string(), "--enable-logging=stderr",
         "--virtual-time-budget=8000", "--dump-dom", daemon_->url() + address},
        {"HOME=" + profile.path().string()});
    EXPECT_EQ(browsed.exit_code, 0) << browsed.errors;
    EXPECT_EQ(browsed.errors.find("CONSOLE"), std::string::npos) << browsed.errors;
    return browsed.output;
  }
};

INSTANTIATE_TEST_SUITE_P(Bus, Browsed, ::testing::Values(BusKind::journal), name_of);

TEST_P(Browsed, ShowsRulesDeadLettersAndWhyAnImageIsNotThere) {
  const std::string good = push(source_->url(), "team/app", "good", make_image(2));
  ASSERT_TRUE(arrives("team/app", "good", good)) << daemon_->log();
  push_broken("v1", 1);
  wait_for_dead_letters(1);
  const std::string shown = page("/#image=team/app:v1&target=eu-west");
  EXPECT_NE(shown.find("all → eu-west"), std::string::npos) << shown;
  EXPECT_NE(shown.find("1 image"), std::string::npos);
  EXPECT_NE(shown.find("Something is missing"), std::string::npos) << "the error in plain words";
  EXPECT_NE(shown.find("aria-label=\"Retry team/app:v1 at eu-west\""), std::string::npos) << shown;
  EXPECT_NE(shown.find("dead lettered"), std::string::npos) << "the drill-down";
  EXPECT_NE(shown.find("aria-label=\"Last hour: "), std::string::npos);
  const std::string there = page("/#image=team/app:good&target=eu-west");
  EXPECT_NE(there.find("It is there: the target shows what the source shows."), std::string::npos);
  EXPECT_NE(there.find(good), std::string::npos);
}

TEST_P(Browsed, AsksForTheTokenWhereOneIsNeeded) {
  TemporaryDirectory directory;
  write_file(directory / "token", "correct horse\n");
  daemon_.emplace(TRANSSHIP_PROGRAM, configuration(), std::vector<std::string>{}, 0,
                  ", token_file: " + (directory / "token").string());
  ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  EXPECT_EQ(http("GET", daemon_->url() + "/").status, 200);
  const std::string shown = page("/");
  EXPECT_NE(shown.find("A token is needed"), std::string::npos) << shown;
  EXPECT_TRUE(RE2::PartialMatch(shown, R"(<dialog id="token"[^>]* open)")) << shown;
  EXPECT_EQ(http("POST", daemon_->url() + "/").status, 405);
  EXPECT_EQ(http("GET", daemon_->url() + "/api/v1/history").status, 401);
  EXPECT_EQ(
      http("GET", daemon_->url() + "/api/v1/history", {}, {"Authorization: Bearer correct horse"})
          .status,
      200);
}

}  // namespace
}  // namespace transship::testing
