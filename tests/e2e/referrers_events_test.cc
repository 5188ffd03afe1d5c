// Signatures and attestations brought by the events of their push. On real parts, but for the last.
#include "tests/e2e/two_registries.h"
#include "tests/support/memory_registry.h"

namespace transship::testing {
namespace {

constexpr const char* kind = "application/vnd.example.sbom";

class ReferrersEvents : public TwoRegistries {
 protected:
  void attach(const TestImage& subject, const std::vector<TestImage>& referrers) {
    for (const TestImage& referrer : referrers)
      push(source_->url(), "app", referrer.digest(), referrer);
    push_manifest(source_->url(), "app", referrers_tag(subject.digest()), make_index(referrers));
  }
  bool settles() {
    return eventually([&] { return of_pair("transship_pending_images") == 0; });
  }
};

INSTANTIATE_TEST_SUITE_P(Bus, ReferrersEvents,
                         ::testing::Values(BusKind::journal, BusKind::jetstream), name_of);

TEST_P(ReferrersEvents, LateOnesComeByTheirOwnEvents) {
  const TestImage image = make_image(1);
  push(source_->url(), "app", "v1", image);
  ASSERT_TRUE(arrives("app", "v1", image.digest())) << daemon_->log();
  const std::string signature = referrers_tag(image.digest(), "sig");
  push(source_->url(), "app", signature, make_signature(1));
  EXPECT_TRUE(arrives("app", signature, make_signature(1).digest())) << daemon_->log();
  const TestImage sbom = make_referrer(image, kind, 1);
  attach(image, {sbom});
  EXPECT_TRUE(eventually([&] {
    return incompleteness(target_->url(), "app", referrers_tag(image.digest())).empty();
  })) << daemon_->log();
  EXPECT_EQ(digest_at(target_->url(), "app", sbom.digest()), sbom.digest());
}

TEST_P(ReferrersEvents, WhatRefersToNothingThatTheTargetHoldsComesToNothing) {
  const TestImage elsewhere = make_image(9);
  push(source_->url(), "app", referrers_tag(elsewhere.digest(), "sig"), make_signature(1));
  const TestImage stray = make_referrer(elsewhere, kind, 1);
  push(source_->url(), "app", stray.digest(), stray);
  const TestImage index = make_index({make_image(2), make_image(3)});
  push(source_->url(), "app", "v1", index);  // each child is a push by digest alone
  ASSERT_TRUE(arrives("app", "v1", index.digest())) << daemon_->log();
  ASSERT_TRUE(settles()) << daemon_->log();
  EXPECT_EQ(digest_at(target_->url(), "app", stray.digest()), "");
  EXPECT_EQ(http("GET", target_->url() + "/v2/app/tags/list").body.find("sha256-"),
            std::string::npos);
  EXPECT_EQ(of_pair("transship_images_total", R"(outcome="copied",)"), 1)
      << "children and strays are no images";
  EXPECT_EQ(of_pair("transship_images_total", R"(outcome="unchanged",)"), 0);
}

// The signature is pushed, and its event dealt with, while the image is put: the target does not
// hold it yet, and the image's own look for referrers is over.
TEST(ReferrersRace, ASignatureThatIsPushedWhileItsImageIsPutIsNotLost) {
  MemoryRegistry source;
  MemoryRegistry target;
  DaemonProcess daemon(
      TRANSSHIP_PROGRAM,
      fmt::format("registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'}}\n"
                  "reconcile: {{at_start: false, interval: 7d}}\nlog: {{level: debug}}\n"
                  "rules:\n  - {{name: all, source: us-east, targets: [eu-west], "
                  "repositories: '**', tags: v1}}\n",
                  source.url(), target.url()));
  ASSERT_TRUE(daemon.wait_until_ready()) << daemon.log();
  const TestImage image = make_image(1);
  const std::string signature = referrers_tag(image.digest(), "sig");
  const auto tell = [&](const std::string& tag, const TestImage& pushed, const std::string& id) {
    const nlohmann::json event{{"id", id},
                               {"action", "push"},
                               {"target",
                                {{"mediaType", pushed.media_type},
                                 {"digest", pushed.digest()},
                                 {"repository", "app"},
                                 {"tag", tag}}}};
    EXPECT_EQ(http("POST", daemon.url() + "/intake/us-east",
                   nlohmann::json{{"events", {event}}}.dump(), {"Content-Type: application/json"})
                  .status,
              202);
  };
  bool pushed = false;
  target.set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method == "PUT" && request.path.ends_with("/manifests/v1") &&
        !std::exchange(pushed, true)) {
      source.hold("app", signature, make_signature(1));
      tell(signature, make_signature(1), "two");
      EXPECT_TRUE(eventually([&] { return target.count("HEAD", image.digest()) > 0; }));
    }
    return std::nullopt;
  });
  source.hold("app", "v1", image);
  tell("v1", image, "one");
  EXPECT_TRUE(eventually([&] {
    return target.digest_of("app", signature) == make_signature(1).digest();
  })) << daemon.log();
  EXPECT_EQ(target.digest_of("app", "v1"), image.digest());
}

}  // namespace
}  // namespace transship::testing
