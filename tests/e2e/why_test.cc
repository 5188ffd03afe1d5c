// Why an image is, or is not, at a target. On real parts.
#include "tests/e2e/two_registries.h"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

namespace transship::testing {
namespace {

class Why : public TwoRegistries {
 protected:
  [[nodiscard]] std::string repositories() const override { return "'team/**'"; }
  Finished why(const std::string& image, const std::string& target = "eu-west") {
    return command({"why", image, "--target", target});
  }
  nlohmann::json explained(const std::string& image, int exit_code) {
    const Finished finished = why(image);
    EXPECT_EQ(finished.exit_code, exit_code) << finished.errors;
    const auto json = nlohmann::json::parse(finished.output, nullptr, false);
    for (const char* key : {"image", "target", "rule", "target_image", "stage", "attempts",
                            "next_try", "last_error", "source_digest", "target_digest"})
      EXPECT_TRUE(json.contains(key)) << key << " of " << finished.output;
    return json;
  }
  std::string stage(const std::string& image) {
    return nlohmann::json::parse(why(image).output)["stage"];
  }
};

INSTANTIATE_TEST_SUITE_P(Bus, Why, ::testing::Values(BusKind::journal, BusKind::jetstream),
                         name_of);

TEST_P(Why, SaysWhereAnImageIs) {
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  const auto there = explained("team/app:v1", 0);
  EXPECT_EQ(there["stage"], "in_step");
  EXPECT_EQ(there["rule"], "all");
  EXPECT_EQ(there["target_image"], "team/app:v1");
  EXPECT_EQ(there["source_digest"], digest);
  EXPECT_EQ(there["target_digest"], digest);
  EXPECT_EQ(explained("team/app@" + digest, 0)["stage"], "in_step");

  const auto absent = explained("team/app:none", 1);
  EXPECT_EQ(absent["stage"], "not_at_source");
  EXPECT_TRUE(absent["source_digest"].is_null());
  const auto filtered = explained("other/app:v1", 1);
  EXPECT_EQ(filtered["stage"], "filtered");
  EXPECT_TRUE(filtered["rule"].is_null());
}

TEST_P(Why, SaysWhyOneWasGivenUp) {
  const TestImage broken = push_broken("v1", 2);
  wait_for_dead_letters(1);
  const auto json = explained("team/app:v1", 1);
  EXPECT_EQ(json["stage"], "dead_lettered");
  EXPECT_EQ(json["attempts"], 3);
  EXPECT_EQ(json["source_digest"], broken.digest());
  EXPECT_TRUE(json["target_digest"].is_null());
  EXPECT_EQ(json["last_error"]["kind"], "not_found");
}

TEST_P(Why, SaysWhatARegistryThatDoesNotAnswerMeans) {
  target_->stop();
  const auto asked = explained("team/app:never", 1);
  EXPECT_EQ(asked["stage"], "unknown") << "nothing is known of it, and it cannot be asked for";
  EXPECT_FALSE(asked["last_error"]["message"].get<std::string>().empty());
  push(source_->url(), "team/app", "v1", make_image(3));
  EXPECT_TRUE(eventually([&] { return stage("team/app:v1") == "retrying"; })) << daemon_->log();
  EXPECT_EQ(explained("team/app:v1", 1)["attempts"], 0) << "an outage uses up none";
  target_->start();
  EXPECT_TRUE(eventually([&] { return stage("team/app:v1") == "in_step"; })) << daemon_->log();
}

TEST_P(Why, WaitsForNoRegistryThatTakesConnectionsAndSaysNothing) {
  target_->stop();
  asio::io_context loop;
  const asio::ip::tcp::acceptor silent(loop, {asio::ip::address_v4::loopback(), target_->port()});
  EXPECT_EQ(explained("team/app:never", 1)["stage"], "unknown");
}

TEST_P(Why, TheCommandAndTheApiSayWhatIsWrong) {
  EXPECT_EQ(why("team/app:v1", "none").exit_code, 2);
  EXPECT_EQ(why("team/app").exit_code, 2);
  EXPECT_EQ(why("Team/App:v1").exit_code, 2);
  EXPECT_EQ(command({"why", "team/app:v1"}).exit_code, 2);
  const std::string api = daemon_->url() + "/api/v1/why";
  EXPECT_EQ(http("GET", api).status, 400);
  EXPECT_EQ(http("GET", api + "?image=team/app:v1").status, 400);
  EXPECT_EQ(http("GET", api + "?image=team/app:v1&target=none").status, 404);
  EXPECT_EQ(http("POST", api, "{}").status, 405);
  daemon_->kill();
  EXPECT_EQ(why("team/app:v1").exit_code, 3);
}

}  // namespace
}  // namespace transship::testing
