// Blobs that cross while the push of their image still goes on.
#include <gmock/gmock.h>

#include "tests/e2e/two_registries.h"

namespace transship::testing {
namespace {

class Prefetch : public TwoRegistries {
 protected:
  [[nodiscard]] bool target_has(const std::string& repository, const std::string& digest) const {
    return http("HEAD", target_->url() + "/v2/" + repository + "/blobs/" + digest).status == 200;
  }
  [[nodiscard]] bool target_has_all_blobs(const TestImage& image) const {
    return std::all_of(image.blobs.begin(), image.blobs.end(),
                       [&](const auto& blob) { return target_has("team/app", blob.first); });
  }
  double blobs(const std::string& outcome) {
    return metric(fmt::format(
        R"(transship_blobs_total{{outcome="{}",source="us-east",target="eu-west"}})", outcome));
  }
  // Everything that the source has told so far was taken in: a push that came after it is in step.
  void pass_a_marker() {
    const TestImage marker = make_image(9999 + ++markers_);
    push(source_->url(), "marker", "v1", marker);
    ASSERT_TRUE(arrives("marker", "v1", marker.digest())) << daemon_->log();
  }
  int markers_ = 0;
};

TEST_P(Prefetch, BlobsAreThereBeforeTheTag) {
  const TestImage image = make_image(1, {300'000, 20'000'000, 400'000});
  push_blobs(source_->url(), "team/app", image);
  ASSERT_TRUE(eventually([&] { return target_has_all_blobs(image); })) << daemon_->log();
  EXPECT_EQ(digest_at(target_->url(), "team/app", "v1"), "");
  EXPECT_EQ(of_pair("transship_pending_images"), 0) << "nothing was pushed that has a name";
  ASSERT_TRUE(eventually([&] { return blobs("copied") == 4; }));

  push_manifest(source_->url(), "team/app", "v1", image);
  ASSERT_TRUE(arrives("team/app", "v1", image.digest())) << daemon_->log();
  EXPECT_EQ(blobs("copied"), 4) << "none was sent again";
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
}

TEST_P(Prefetch, APushThatNeverGetsItsTagCostsNothingButItsBytes) {
  const TestImage image = make_image(2);
  push_blobs(source_->url(), "team/app", image);
  ASSERT_TRUE(eventually([&] { return target_has_all_blobs(image); })) << daemon_->log();
  pass_a_marker();
  EXPECT_TRUE(eventually([&] { return metric("transship_bus_pending_events") == 0; }));
  EXPECT_EQ(of_pair("transship_images_total", R"(outcome="failed",)"), 0);
  EXPECT_EQ(metric(R"(transship_dead_letters{target="eu-west"})"), 0);
}

TEST_P(Prefetch, ABlobThatTheSourceLostIsLeftToTheImage) {
  const TestImage image = make_image(3);
  daemon_->terminate();  // so that what is told comes after the loss
  push_blobs(source_->url(), "team/app", image);
  const std::string lost = image.blobs.begin()->first;
  ASSERT_EQ(http("DELETE", source_->url() + "/v2/team/app/blobs/" + lost).status, 202);
  daemon_->start();
  ASSERT_TRUE(daemon_->wait_until_ready());
  ASSERT_TRUE(eventually([&] {
    return daemon_->log().find("not fetched ahead of its image") != std::string::npos;
  })) << daemon_->log();
  EXPECT_EQ(of_pair("transship_images_total", R"(outcome="failed",)"), 0);

  push(source_->url(), "team/app", "v1", image);
  ASSERT_TRUE(arrives("team/app", "v1", image.digest())) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
}

TEST_P(Prefetch, ARestartBetweenBlobsAndTagCostsNothing) {
  const TestImage image = make_image(4, {5'000'000, 6'000'000});
  push_blobs(source_->url(), "team/app", image);
  daemon_->kill();
  daemon_->start();
  ASSERT_TRUE(daemon_->wait_until_ready());
  push_manifest(source_->url(), "team/app", "v1", image);
  ASSERT_TRUE(arrives("team/app", "v1", image.digest())) << daemon_->log();
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
}

INSTANTIATE_TEST_SUITE_P(Buses, Prefetch, ::testing::Values(BusKind::journal, BusKind::jetstream),
                         name_of);

// --- where it is not wanted

class NoPrefetch : public Prefetch {
 protected:
  void nothing_crosses_before_its_image() {
    const TestImage image = make_image(6);
    push_blobs(source_->url(), "team/app", image);
    pass_a_marker();
    for (const auto& [digest, content] : image.blobs) EXPECT_FALSE(target_has("team/app", digest));
    push_manifest(source_->url(), "team/app", "v1", image);
    ASSERT_TRUE(arrives("team/app", "v1", image.digest())) << daemon_->log();
  }
};

class PrefetchNever : public NoPrefetch {
  [[nodiscard]] std::string more_of_the_rule() const override { return ", prefetch: never"; }
};
TEST_P(PrefetchNever, NothingCrossesBeforeItsImage) { nothing_crosses_before_its_image(); }
INSTANTIATE_TEST_SUITE_P(Buses, PrefetchNever, ::testing::Values(BusKind::journal), name_of);

class PrefetchAutoOfSomeTags : public NoPrefetch {
  [[nodiscard]] std::string more_of_the_rule() const override { return ", tags: 'v*'"; }
};
TEST_P(PrefetchAutoOfSomeTags, NothingCrossesBeforeItsImage) { nothing_crosses_before_its_image(); }
INSTANTIATE_TEST_SUITE_P(Buses, PrefetchAutoOfSomeTags, ::testing::Values(BusKind::journal),
                         name_of);

class PrefetchAlways : public Prefetch {
  [[nodiscard]] std::string repositories() const override { return "[team/**, marker]"; }
  [[nodiscard]] std::string more_of_the_rule() const override {
    return ", tags: 'v*', prefetch: always, rename: 'mirror/{repository}'";
  }
};
TEST_P(PrefetchAlways, BlobsOfTheRulesRepositoriesCrossUnderTheirNewName) {
  const TestImage wanted = make_image(7);
  const TestImage other = make_image(8);
  push_blobs(source_->url(), "other/app", other);
  push_blobs(source_->url(), "team/app", wanted);
  for (const auto& [digest, content] : wanted.blobs)
    EXPECT_TRUE(eventually([&] { return target_has("mirror/team/app", digest); }));
  for (const auto& [digest, content] : other.blobs) {
    EXPECT_FALSE(target_has("mirror/other/app", digest));
    EXPECT_FALSE(target_has("other/app", digest));
  }
}
INSTANTIATE_TEST_SUITE_P(Buses, PrefetchAlways, ::testing::Values(BusKind::journal), name_of);

// --- more than one target or daemon

class PrefetchElsewhere : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"docker-registry", "nats-server"}) {
      if (!has_program(program)) GTEST_SKIP() << program << " is not installed";
    }
    nats_.emplace();
    const std::uint16_t port = free_port();
    source_.emplace(DockerRegistry::Options{
        fmt::format("http://127.0.0.1:{}/intake/us-east", port), true, 0, {}});
    target_.emplace();
    at_source_.emplace(TRANSSHIP_PROGRAM, configuration("us-east"), std::vector<std::string>{},
                       port);
    at_target_.emplace(TRANSSHIP_PROGRAM, configuration("eu-west"));
    ASSERT_TRUE(at_source_->wait_until_ready()) << at_source_->log();
    ASSERT_TRUE(at_target_->wait_until_ready()) << at_target_->log();
  }
  [[nodiscard]] std::string configuration(const std::string& region) const {
    return fmt::format(
        "region: {}\nregistries:\n  us-east: {{url: '{}', region: us-east}}\n"
        "  eu-west: {{url: '{}', region: eu-west}}\n"
        "bus: {{type: jetstream, servers: ['{}']}}\n"
        "reconcile: {{at_start: false, interval: 7d}}\nlog: {{level: debug}}\n"
        "rules:\n"
        "  - {{name: there, source: us-east, targets: [eu-west], repositories: '**'}}\n"
        "  - {{name: back, source: eu-west, targets: [us-east], repositories: '**'}}\n",
        region, source_->url(), target_->url(), nats_->url());
  }

  std::optional<NatsServer> nats_;
  std::optional<DockerRegistry> source_;
  std::optional<DockerRegistry> target_;
  std::optional<DaemonProcess> at_source_;
  std::optional<DaemonProcess> at_target_;
};

TEST_F(PrefetchElsewhere, TheDaemonOfTheOtherRegionHearsOfBlobsOverTheBus) {
  const TestImage image = make_image(20);
  push_blobs(source_->url(), "team/app", image);
  for (const auto& [digest, content] : image.blobs) {
    EXPECT_TRUE(eventually([&] {
      return http("HEAD", target_->url() + "/v2/team/app/blobs/" + digest).status == 200;
    })) << at_target_->log();
  }
  // Each event is counted once a daemon. That of the source also hears of our own pulls.
  const std::string ignored = R"(transship_events_total{outcome="ignored",registry="us-east"})";
  const std::string accepted = R"(transship_events_total{outcome="accepted",registry="us-east"})";
  const auto blobs = static_cast<double>(image.blobs.size());
  EXPECT_TRUE(eventually([&] { return at_target_->metric(ignored) == blobs; }));
  EXPECT_GE(at_source_->metric(ignored), blobs);
  EXPECT_EQ(at_source_->metric(accepted), 0);
  EXPECT_EQ(at_target_->metric(accepted), 0);
}

}  // namespace
}  // namespace transship::testing
