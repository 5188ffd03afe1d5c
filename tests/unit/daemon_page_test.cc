// The status page as it is served, and the hour that it shows.
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <re2/re2.h>

#include "daemon/page/history.h"
#include "daemon/page/page.h"

namespace transship {
namespace {

std::string between(const std::string& text, const std::string& open, const std::string& close) {
  const std::size_t from = text.find(open) + open.size();
  return text.substr(from, text.find(close, from) - from);
}

std::string sha256_base64(const std::string& text) {
  unsigned char digest[32];
  EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_sha256(), nullptr);
  unsigned char base64[64];
  EVP_EncodeBlock(base64, digest, 32);
  return reinterpret_cast<char*>(base64);
}

TEST(Page, ThePolicyNamesItsOwnScriptAndStyleAndNothingElse) {
  const HttpResponse page = Page().response();
  const auto policy = page.headers.at(0).second;
  ASSERT_EQ(page.headers.at(0).first, "Content-Security-Policy");
  const std::string script = between(page.body, "<script type=\"module\">", "</script>");
  const std::string style = between(page.body, "<style>", "</style>");
  ASSERT_GT(script.size(), 1000u);
  ASSERT_GT(style.size(), 1000u);
  EXPECT_NE(policy.find("script-src 'sha256-" + sha256_base64(script) + "';"), std::string::npos);
  EXPECT_NE(policy.find("style-src 'sha256-" + sha256_base64(style) + "';"), std::string::npos);
  EXPECT_TRUE(policy.starts_with("default-src 'none';"));
  EXPECT_EQ(policy.find("unsafe"), std::string::npos);
}

TEST(Page, ItIsSelfContainedAndPutsInNothingAsMarkup) {
  const std::string page = Page().response().body;
  for (const char* other : {"src=", "<link", "@import", "url(", "https://", "innerHTML",
                            "localStorage", "eval(", " style=", " onclick="}) {
    EXPECT_EQ(page.find(other), std::string::npos) << other;
  }
}

TEST(History, KeepsAnHourOfEachPairAndForgetsWhatIsNotReported) {
  using monitoring::Ledger;
  const monitoring::Pair one{"one", "us", "eu"};
  const monitoring::Pair two{"two", "us", "eu"};
  History history;
  EXPECT_TRUE(history.report()["at"].is_null());
  const auto copied = [](const monitoring::Pair&) { return History::Copied{3, 1000}; };
  std::vector<Ledger::Report> reports(2);
  reports[0].pair = one;
  reports[1].pair = two;
  monitoring::Time now{};
  for (int i = 0; i < 1000; ++i) {
    reports[0].oldest_pending_seconds = i;
    history.sample(reports, copied, now += History::every);
  }
  auto report = history.report();
  ASSERT_EQ(report["pairs"].size(), 2u);
  EXPECT_EQ(report["pairs"][0]["rule"], "one");
  ASSERT_EQ(report["pairs"][0]["behind_seconds"].size(), History::samples_max);
  EXPECT_EQ(report["pairs"][0]["behind_seconds"].back(), 999);
  EXPECT_EQ(report["pairs"][0]["behind_seconds"].front(), 760);
  EXPECT_EQ(report["pairs"][1]["bytes_copied"].back(), 1000);
  EXPECT_EQ(History::samples_max * History::every, std::chrono::hours(1));
  reports.pop_back();
  history.sample(reports, copied, now);
  report = history.report();
  ASSERT_EQ(report["pairs"].size(), 1u);
}

}  // namespace
}  // namespace transship
