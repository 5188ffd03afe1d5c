// The tries of an image that always fails go on where they were when the daemon is started again.
// On real parts.
#include "tests/e2e/two_registries.h"

namespace transship::testing {
namespace {

class Attempts : public TwoRegistries {
 protected:
  // After a failure nothing is tried for an hour, unless a new push asks for it.
  [[nodiscard]] std::string retries() const override {
    return "attempts: 4, first_pause: 1h, longest_pause: 1h";
  }
  nlohmann::json why() {
    return nlohmann::json::parse(
        http("GET", daemon_->url() + "/api/v1/why?image=team/app:v1&target=eu-west").body);
  }
  void wait_for_attempts(int count) {
    ASSERT_TRUE(eventually([&] { return why()["attempts"] == count; }))
        << why().dump(2) << daemon_->log();
  }
  void tell_of_a_push(const std::string& digest) {
    const nlohmann::json event{{"id", "by-hand-" + std::to_string(++told_)},
                               {"timestamp", "2026-01-02T03:04:05Z"},
                               {"action", "push"},
                               {"target",
                                {{"mediaType", make_image(1).media_type},
                                 {"digest", digest},
                                 {"repository", "team/app"},
                                 {"tag", "v1"}}}};
    const nlohmann::json body{{"events", nlohmann::json::array({event})}};
    EXPECT_EQ(http("POST", daemon_->url() + "/intake/us-east", body.dump()).status, 202);
  }
  [[nodiscard]] std::filesystem::path file() const {
    return std::filesystem::path(daemon_->config_file()).parent_path() / "state/attempts/eu-west";
  }
  [[nodiscard]] std::string kept() const { return read_file(file()); }

 private:
  int told_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Bus, Attempts, ::testing::Values(BusKind::journal, BusKind::jetstream),
                         name_of);

TEST_P(Attempts, GoOnAfterARestartAndAfterAKill) {
  const TestImage image = push_broken("v1", 1);
  wait_for_attempts(1);
  const std::string first_failed = why()["first_failed"];
  tell_of_a_push(image.digest());
  wait_for_attempts(2);

  EXPECT_EQ(daemon_->terminate(), 0) << daemon_->log();
  daemon_->start();
  ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  wait_for_attempts(2);
  const auto after_restart = why();
  EXPECT_EQ(after_restart["stage"], "retrying");
  EXPECT_EQ(after_restart["first_failed"], first_failed);
  EXPECT_EQ(after_restart["last_error"]["kind"], "not_found") << after_restart.dump(2);
  EXPECT_TRUE(after_restart["next_try"].is_string())
      << "its pause goes on too: " << after_restart.dump(2);

  tell_of_a_push(image.digest());
  wait_for_attempts(3);
  ASSERT_TRUE(eventually([&] { return kept().find(R"("attempts":3)") != std::string::npos; }));
  daemon_->kill();
  daemon_->start();
  ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  wait_for_attempts(3);
  EXPECT_EQ(why()["first_failed"], first_failed);
  EXPECT_EQ(metric(R"(transship_dead_letters{target="eu-west"})"), 0);

  tell_of_a_push(image.digest());
  wait_for_dead_letters(1);
  const auto letters = lines(command({"dead", "list"}).output);
  EXPECT_EQ(letters[0]["attempts"], 4) << "of all three runs";
  EXPECT_EQ(letters[0]["first_failed"], first_failed);
  EXPECT_EQ(why()["first_failed"], first_failed);
  EXPECT_TRUE(eventually([&] { return kept().find(R"("attempts":3)") == std::string::npos; }))
      << kept();
}

TEST_P(Attempts, OfAnImageThatArrivesAreForgotten) {
  const TestImage image = push_broken("v1", 2);
  wait_for_attempts(1);
  push_blobs(source_->url(), "team/app", image);
  tell_of_a_push(image.digest());
  ASSERT_TRUE(arrives("team/app", "v1", image.digest())) << daemon_->log();
  ASSERT_TRUE(eventually([&] { return why()["attempts"] == 0 && kept().empty(); })) << kept();
  EXPECT_TRUE(why()["first_failed"].is_null());
}

TEST_P(Attempts, AFileThatIsNoneOfOursIsToldOfAndHarmsNothing) {
  EXPECT_EQ(daemon_->terminate(), 0) << daemon_->log();
  std::filesystem::create_directories(file().parent_path());
  write_file(file(), R"({"version":1,"images":[{"ima)");
  daemon_->start();
  ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
  const std::string log = daemon_->log();
  const std::size_t told = log.find("begin anew");
  EXPECT_NE(told, std::string::npos) << log;
  EXPECT_EQ(log.find("begin anew", told + 1), std::string::npos) << log;
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(3));
  EXPECT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
}

}  // namespace
}  // namespace transship::testing
