// A target whose storage was torn by a kill: docker-registry writes the link of a blob or of a
// manifest in a repository in place, and answers 500 where it is empty.
#include "tests/e2e/two_registries.h"

namespace transship::testing {
namespace {

class TornParts : public TwoRegistries {
 protected:
  void tear_blob(const std::string& digest) {
    tear("_layers", digest);
    ASSERT_EQ(http("HEAD", target_->url() + "/v2/team/app/blobs/" + digest).status, 500);
  }
  void tear_manifest(const std::string& digest) {
    tear("_manifests/revisions", digest);
    ASSERT_EQ(http("HEAD", target_->url() + "/v2/team/app/manifests/" + digest).status, 500);
  }
  void tear(const std::string& kind, const std::string& digest) {
    tear_link(kind + "/sha256/" + digest.substr(digest.find(':') + 1));
  }
  void tear_link(const std::string& of) {
    const auto link = target_->storage() / "repositories/team/app" / of / "link";
    ASSERT_FALSE(read_file(link).empty());
    write_file(link, "");
  }
  // Of one layer that others have too, and one of its own.
  static TestImage image_with(const std::string& shared, std::uint64_t seed) {
    return make_image_of({shared, noise(seed, 300)}, seed);
  }
};

INSTANTIATE_TEST_SUITE_P(Bus, TornParts, ::testing::Values(BusKind::journal), name_of);

TEST_P(TornParts, ABlobThatTheTargetCannotShowIsSentAgain) {
  const std::string shared = noise(7, 5'000);
  const std::string first = push(source_->url(), "team/app", "v1", image_with(shared, 1));
  ASSERT_TRUE(arrives("team/app", "v1", first)) << daemon_->log();
  // The daemon was told that it is there.
  tear_blob(oci::Digest::of(shared).str());
  const std::string second = push(source_->url(), "team/app", "v2", image_with(shared, 2));
  EXPECT_TRUE(arrives("team/app", "v2", second)) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v2"), "");
  // And one that was told nothing yet.
  tear_blob(oci::Digest::of(shared).str());
  daemon_->kill();
  daemon_->start();
  const std::string third = push(source_->url(), "team/app", "v3", image_with(shared, 3));
  EXPECT_TRUE(arrives("team/app", "v3", third)) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v3"), "");
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
}

TEST_P(TornParts, AChildThatTheTargetCannotShowIsPutAgainWithTheNextIndex) {
  const TestImage child = make_image(1);
  const std::string first = push(source_->url(), "team/app", "v1", make_index({child}));
  ASSERT_TRUE(arrives("team/app", "v1", first)) << daemon_->log();
  tear_manifest(child.digest());
  const std::string second =
      push(source_->url(), "team/app", "v1", make_index({child, make_image(2)}));
  EXPECT_TRUE(arrives("team/app", "v1", second)) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
}

TEST_P(TornParts, ASignatureThatTheTargetCannotShowIsPutAgain) {
  const std::string image = push(source_->url(), "team/app", "v1", make_image(1));
  const std::string tag = referrers_tag(image, "sig");
  const std::string first = push(source_->url(), "team/app", tag, make_signature(1));
  ASSERT_TRUE(arrives("team/app", "v1", image)) << daemon_->log();
  ASSERT_TRUE(arrives("team/app", tag, first)) << daemon_->log();
  tear_link("_manifests/tags/" + tag + "/current");
  ASSERT_EQ(http("HEAD", target_->url() + "/v2/team/app/manifests/" + tag).status, 500);
  const std::string second = push(source_->url(), "team/app", tag, make_signature(2));
  EXPECT_TRUE(arrives("team/app", tag, second)) << daemon_->log();
}

TEST_P(TornParts, AClosurePassSendsBlobsAgainThatTheTargetCannotShow) {
  const std::string shared = noise(7, 5'000);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    const std::string tag = "v" + std::to_string(i);
    const std::string digest = push(source_->url(), "team/app", tag, image_with(shared, i));
    ASSERT_TRUE(arrives("team/app", tag, digest)) << daemon_->log();
  }
  tear_blob(oci::Digest::of(shared).str());
  EXPECT_EQ(http("POST", daemon_->url() + "/api/v1/reconcile", R"({"closure":true})").status, 202);
  for (const char* tag : {"v1", "v2", "v3"}) {
    EXPECT_TRUE(eventually([&] { return incompleteness(target_->url(), "team/app", tag).empty(); }))
        << daemon_->log();
  }
  EXPECT_TRUE(eventually([&] {
    return of_pair("transship_replicated_until_timestamp_seconds") > 0;
  })) << daemon_->log();
}

}  // namespace
}  // namespace transship::testing
