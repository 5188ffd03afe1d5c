// The status page in a real browser, which shows a real daemon.
#include <re2/re2.h>

#include "tests/e2e/two_registries.h"
#include "tests/support/browser.h"

namespace transship::testing {
namespace {

// Its kind and its words, once the page is there.
constexpr const char* verdict =
    "((shown) => shown ? `${shown.className}: ${shown.textContent}` : '')"
    "(document.querySelector('#verdict'))";

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

TEST_P(Browsed, TurnsRedWhileATargetDoesNotAnswer) {
  const std::string first = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("team/app", "v1", first)) << daemon_->log();
  ASSERT_EQ(http("POST", daemon_->url() + "/api/v1/reconcile", "{}").status, 202);
  Browser browser(daemon_->url() + "/");
  EXPECT_TRUE(eventually([&] { return browser.evaluate(verdict) == "good: In step"; }));
  target_->stop();
  const std::string second = push(source_->url(), "team/app", "v2", make_image(2));
  EXPECT_TRUE(eventually([&] {
    return browser.evaluate(verdict) ==
           "bad: eu-west does not answer. In step, but for 1 fresh image: the last try failed";
  })) << browser.evaluate(verdict);
  EXPECT_TRUE(browser.shows("Failed to connect to 127.0.0.1")) << "why it is thought so";
  target_->start();
  EXPECT_TRUE(arrives("team/app", "v2", second)) << daemon_->log();
  EXPECT_TRUE(eventually([&] { return browser.evaluate(verdict) == "good: In step"; }))
      << browser.evaluate(verdict);
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

TEST_P(Browsed, AClickOnADeadLetterShowsWhy) {
  push_broken("v1", 1);
  wait_for_dead_letters(1);
  Browser browser(daemon_->url() + "/");
  ASSERT_TRUE(eventually([&] { return browser.shows("Dead letters\n"); }));
  EXPECT_FALSE(browser.shows("dead lettered"));
  browser.click("#dead button[data-act=look]");
  EXPECT_TRUE(
      eventually([&] { return browser.shows("It was given up; see the dead letters below."); }));
  EXPECT_EQ(browser.evaluate("location.hash"), "#image=team%2Fapp%3Av1&target=eu-west");
  EXPECT_EQ(browser.evaluate("document.querySelector('#why input').value"), "team/app:v1");
  // Another image by hand: typed, and Enter.
  const std::string good = push(source_->url(), "team/app", "good", make_image(2));
  ASSERT_TRUE(arrives("team/app", "good", good)) << daemon_->log();
  browser.evaluate("document.querySelector('#why input').select()");
  browser.click("#why input");
  browser.evaluate("document.querySelector('#why input').select()");
  browser.type("team/app:good");
  browser.enter();
  EXPECT_TRUE(eventually(
      [&] { return browser.shows("It is there: the target shows what the source shows."); }));
  EXPECT_TRUE(browser.shows(good));
}

TEST_P(Browsed, AClickSendsADeadLetterAgainOnceTheTokenIsGiven) {
  const TestImage image = push_broken("v1", 1);
  wait_for_dead_letters(1);
  // From now on with a token.
  TemporaryDirectory directory;
  write_file(directory / "token", "correct horse\n");
  ASSERT_EQ(daemon_->terminate(), 0);
  std::string configuration = read_file(daemon_->config_file());
  const std::size_t end = configuration.find('}', configuration.find("http: {listen"));
  configuration.insert(end, ", token_file: '" + (directory / "token").string() + "'");
  write_file(daemon_->config_file(), configuration);
  daemon_->start();
  ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  push_blobs(source_->url(), "team/app", image);  // the cause is mended

  Browser browser(daemon_->url() + "/");
  ASSERT_TRUE(eventually([&] { return browser.shows("This daemon wants a token"); }));
  browser.click("#token input");
  browser.type("wrong");
  browser.click("#token button");
  ASSERT_TRUE(eventually([&] { return browser.shows("That token is not accepted."); }));
  browser.click("#token input");
  browser.type("correct horse");
  browser.enter();
  ASSERT_TRUE(eventually(
      [&] { return browser.shows("all → eu-west") && browser.shows("Dead letters\n"); }));
  EXPECT_EQ(browser.evaluate("document.querySelector('#token').open"), false);
  EXPECT_EQ(digest_at(target_->url(), "team/app", "v1"), "");
  browser.click("#dead button[data-act=retry]");
  EXPECT_TRUE(arrives("team/app", "v1", image.digest())) << daemon_->log();
  EXPECT_TRUE(eventually([&] {
    return browser.evaluate("document.querySelector('#dead').hidden") == true;
  })) << "the letter goes with the success";
  wait_for_dead_letters(0);
}

}  // namespace
}  // namespace transship::testing
