// A target whose storage was torn by a kill: docker-registry writes a tag's link in place, and
// answers 500 for a tag whose link is empty.
#include "tests/e2e/two_registries.h"

namespace transship::testing {
namespace {

class Torn : public TwoRegistries {
 protected:
  void tear(const std::string& tag) {
    const auto link =
        target_->storage() / "repositories/team/app/_manifests/tags" / tag / "current/link";
    ASSERT_FALSE(read_file(link).empty());
    write_file(link, "");
    ASSERT_EQ(http("HEAD", target_->url() + "/v2/team/app/manifests/" + tag).status, 500);
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
  EXPECT_EQ(http("POST", daemon_->url() + "/api/v1/reconcile", "{}").status, 202);
  EXPECT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  EXPECT_TRUE(eventually([&] {
    return of_pair("transship_drift_images", R"(kind="different",)") == 1 &&
           of_pair("transship_replicated_until_timestamp_seconds") > 0;
  })) << daemon_->log();
  EXPECT_EQ(metric(R"(transship_dead_letters{target="eu-west"})"), 0);
}

}  // namespace
}  // namespace transship::testing
