// What is given up: kept, listed, sent again, dropped. On real parts.
#include "tests/e2e/two_registries.h"

namespace transship::testing {
namespace {

class Dead : public TwoRegistries {
 protected:
  Finished dead(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "dead");
    return command(std::move(arguments));
  }
  std::vector<nlohmann::json> letters() {
    const Finished listed = dead({"list"});
    EXPECT_EQ(listed.exit_code, 0) << listed.errors;
    auto all = lines(listed.output);
    EXPECT_FALSE(all.empty());
    EXPECT_EQ(all.back()["type"], "total");
    all.pop_back();
    return all;
  }
};

INSTANTIATE_TEST_SUITE_P(Bus, Dead, ::testing::Values(BusKind::journal, BusKind::jetstream),
                         name_of);

TEST_P(Dead, AnImageThatCannotBeCopiedIsKeptListedAndSentAgain) {
  const TestImage image = push_broken("v1", 1);
  wait_for_dead_letters(1);
  ASSERT_TRUE(eventually([&] { return metric("transship_bus_pending_events") == 0; }))
      << "the event is acknowledged";
  // It holds nothing else back.
  const std::string good = push(source_->url(), "team/app", "good", make_image(2));
  ASSERT_TRUE(eventually([&] { return digest_at(target_->url(), "team/app", "good") == good; }))
      << daemon_->log();

  const auto before = letters();
  ASSERT_EQ(before.size(), 1u);
  EXPECT_EQ(before[0]["type"], "dead");
  EXPECT_EQ(before[0]["target"], "eu-west");
  EXPECT_EQ(before[0]["rule"], "all");
  EXPECT_EQ(before[0]["image"], "team/app:v1");
  EXPECT_EQ(before[0]["attempts"], 3);
  EXPECT_FALSE(before[0]["error"]["message"].get<std::string>().empty());
  EXPECT_EQ(before[0]["error"]["kind"], "not_found") << before[0].dump();
  EXPECT_EQ(
      metric(R"(transship_images_total{outcome="dead_lettered",rule="all",target="eu-west"})"), 1);

  // A kill and a restart keep it, and what it stands for is still pending.
  daemon_->kill();
  daemon_->start();
  ASSERT_TRUE(daemon_->wait_until_ready());
  EXPECT_EQ(letters(), before);
  EXPECT_EQ(metric(R"(transship_pending_images{rule="all",target="eu-west"})"), 1);
  EXPECT_GT(metric(R"(transship_oldest_pending_seconds{rule="all",target="eu-west"})"), 0);
  const auto status = nlohmann::json::parse(http("GET", daemon_->url() + "/api/v1/status").body);
  EXPECT_EQ(status["pairs"][0]["dead_letters"], 1);

  // Sent again in vain it stays; once the source is repaired it arrives, and the letter goes.
  const std::string id = before[0]["id"];
  EXPECT_EQ(dead({"retry", id}).exit_code, 0);
  ASSERT_TRUE(eventually([&] { return letters().at(0)["attempts"] == 6; })) << daemon_->log();
  push_blobs(source_->url(), "team/app", image);
  const Finished retried = dead({"retry", "--all"});
  EXPECT_EQ(retried.exit_code, 0);
  EXPECT_EQ(lines(retried.output).back()["done"], 1);
  ASSERT_TRUE(eventually([&] {
    return digest_at(target_->url(), "team/app", "v1") == image.digest();
  })) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
  wait_for_dead_letters(0);
  EXPECT_TRUE(letters().empty());
  EXPECT_EQ(metric(R"(transship_oldest_pending_seconds{rule="all",target="eu-west"})"), 0);
  EXPECT_EQ(metric(R"(transship_pending_images{rule="all",target="eu-west"})"), 0);
}

TEST_P(Dead, ANewPushSendsItAgainAndAnOperatorMayDropIt) {
  push_broken("v1", 3);
  push_broken("v2", 4);
  wait_for_dead_letters(2);
  const std::string repaired = push(source_->url(), "team/app", "v1", make_image(5));
  ASSERT_TRUE(eventually([&] { return digest_at(target_->url(), "team/app", "v1") == repaired; }))
      << daemon_->log();
  wait_for_dead_letters(1);
  const auto left = letters();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0]["image"], "team/app:v2");
  const Finished dropped = dead({"drop", left[0]["id"], "nonsense"});
  EXPECT_EQ(dropped.exit_code, 1) << "one id is unknown";
  EXPECT_EQ(lines(dropped.output).back()["done"], 1);
  EXPECT_TRUE(letters().empty());
  EXPECT_EQ(metric(R"(transship_pending_images{rule="all",target="eu-west"})"), 0);
  EXPECT_EQ(digest_at(target_->url(), "team/app", "v2"), "");
  daemon_->kill();
  daemon_->start();
  ASSERT_TRUE(daemon_->wait_until_ready());
  EXPECT_TRUE(letters().empty()) << "dropped for good";
}

TEST_P(Dead, TheCommandAndTheApiSayWhatIsWrong) {
  EXPECT_EQ(dead({"retry"}).exit_code, 2);
  EXPECT_EQ(dead({"drop"}).exit_code, 2);
  EXPECT_EQ(dead({"drop", "--all", "id"}).exit_code, 2);
  EXPECT_EQ(dead({}).exit_code, 2);
  EXPECT_EQ(dead({"list", "--target", "eu west&"}).exit_code, 2);
  EXPECT_EQ(dead({"retry", "0123456789abcdef"}).exit_code, 1);
  EXPECT_EQ(dead({"retry", "--all"}).exit_code, 0);
  EXPECT_EQ(dead({"list", "--target", "eu-west"}).exit_code, 0);
  const std::string api = daemon_->url() + "/api/v1/dead-letters";
  EXPECT_EQ(nlohmann::json::parse(http("GET", api).body),
            (nlohmann::json{{"dead_letters", nlohmann::json::array()}}));
  for (const char* body :
       {"", "[]", "{}", R"({"action":"burn","all":true})", R"({"action":"drop"})",
        R"({"action":"drop","ids":"x"})", R"({"action":"drop","ids":[]})",
        R"({"action":"drop","ids":[1]})", R"({"action":"drop","ids":["x"],"all":true})",
        R"({"action":"drop","all":"yes"})", R"({"action":"drop","all":true,"target":3})"}) {
    const auto answer = http("POST", api, body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_FALSE(nlohmann::json::parse(answer.body)["message"].get<std::string>().empty());
  }
  EXPECT_EQ(http("POST", api, R"({"action":"drop","all":true,"target":"none"})").status, 404);
  EXPECT_EQ(
      nlohmann::json::parse(http("POST", api, R"({"action":"drop","all":true})").body)["done"], 0);
  daemon_->kill();
  EXPECT_EQ(dead({"list"}).exit_code, 3);
  EXPECT_EQ(dead({"drop", "--all"}).exit_code, 3);
}

}  // namespace
}  // namespace transship::testing
