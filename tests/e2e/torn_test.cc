// A target whose storage was torn by a kill: docker-registry writes a tag's link in place, and
// answers 500 for a tag whose link is empty.
#include "tests/e2e/two_registries.h"

namespace transship::testing {
namespace {

class Torn : public TwoRegistries {
 protected:
  void tear(const std::string& tag) { tear(*target_, tag); }
  static void tear(const DockerRegistry& registry, const std::string& tag) {
    const auto link =
        registry.storage() / "repositories/team/app/_manifests/tags" / tag / "current/link";
    ASSERT_FALSE(read_file(link).empty());
    write_file(link, "");
    ASSERT_EQ(http("HEAD", registry.url() + "/v2/team/app/manifests/" + tag).status, 500);
  }
  void reconcile_now() {
    EXPECT_EQ(http("POST", daemon_->url() + "/api/v1/reconcile", "{}").status, 202);
  }
  // Behind the daemon's back, so that only reconciliation finds it.
  std::string push_unseen(const std::string& repository, const std::string& tag,
                          const TestImage& image) {
    daemon_->terminate();
    std::string digest = push(source_->url(), repository, tag, image);
    source_->stop();
    source_->start();
    daemon_->start();
    EXPECT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
    return digest;
  }
};

INSTANTIATE_TEST_SUITE_P(Bus, Torn, ::testing::Values(BusKind::journal), name_of);

TEST_P(Torn, ATagThatTheTargetCannotShowIsPutAgainByTheNextPush) {
  const std::string first = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("team/app", "v1", first)) << daemon_->log();
  tear("v1");
  const std::string second = push(source_->url(), "team/app", "v1", make_image(2));
  EXPECT_TRUE(arrives("team/app", "v1", second)) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
}

TEST_P(Torn, ATagThatTheTargetCannotShowHoldsNoReconciliationBack) {
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  tear("v1");
  reconcile_now();
  EXPECT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  EXPECT_TRUE(eventually([&] {
    return of_pair("transship_drift_images", R"(kind="different",)") == 1 &&
           of_pair("transship_replicated_until_timestamp_seconds") > 0;
  })) << daemon_->log();
  EXPECT_EQ(metric(R"(transship_dead_letters{target="eu-west"})"), 0);
}

// Given up for itself, where it can be seen.
TEST_P(Torn, ATagThatTheSourceCannotShowHoldsNoReconciliationBack) {
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  const std::string later = push_unseen("team/app", "v2", make_image(2));
  tear(*source_, "v1");
  reconcile_now();
  EXPECT_TRUE(arrives("team/app", "v2", later)) << daemon_->log();
  wait_for_dead_letters(1);
  EXPECT_TRUE(eventually([&] {
    return of_pair("transship_reconcile_last_success_timestamp_seconds") > 0;
  })) << daemon_->log();
}

TEST_P(Torn, ARepositoryThatTheSourceCannotListHoldsTheOthersNotBack) {
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  const std::string later = push_unseen("team/zoo", "v1", make_image(2));
  const auto tags = source_->storage() / "repositories/team/app/_manifests/tags";
  std::filesystem::remove_all(tags);
  write_file(tags, "no directory");
  ASSERT_GE(http("GET", source_->url() + "/v2/team/app/tags/list").status, 500);
  reconcile_now();
  EXPECT_TRUE(arrives("team/zoo", "v1", later)) << daemon_->log();
  EXPECT_TRUE(eventually([&] {
    return daemon_->log().find("reconciliation could not finish") != std::string::npos;
  })) << daemon_->log();
  EXPECT_EQ(of_pair("transship_reconcile_last_success_timestamp_seconds"), 0);
}

}  // namespace
}  // namespace transship::testing
