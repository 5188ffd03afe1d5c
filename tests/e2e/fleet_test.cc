// Several daemons on one JetStream stream: they share the work of a target, and the loss of one is
// made good by the others.
#include "tests/e2e/fleet.h"

#include <csignal>

namespace transship::testing {
namespace {

class SharedWork : public Fleet {
 protected:
  void start(std::size_t daemons, const std::string& more = {}) {
    nats_.emplace();
    start_registries(daemons);
    start_daemons({nats_->url()}, more);
  }
  // A push that every daemon was told of is one event.
  bool all_on_the_bus(std::size_t pushes) {
    return eventually([&] {
      const auto info = nats_request(nats_->url(), "$JS.API.STREAM.INFO.REGISTRY_EVENTS");
      return info.contains("state") && info["state"]["messages"] >= pushes;
    });
  }

  std::optional<NatsServer> nats_;
};

TEST_F(SharedWork, EachOfThreeDaemonsCopiesSomethingAndNothingIsCopiedTwice) {
  start(3, "transfers: {images: 2, blobs: 4}\n");
  const std::string shared = noise(1, 20'000);
  const Pushed pushed = push_many("team", 4, 15, [&](std::uint64_t seed) {
    return make_image_of({shared, noise(seed + 100, 30'000)}, seed);
  });
  ASSERT_TRUE(eventually([&] { return missing(pushed).empty(); }, std::chrono::seconds(60)))
      << missing(pushed) << logs();
  EXPECT_EQ(incomplete(pushed), "");
  ASSERT_TRUE(all_acknowledged(nats_->url())) << logs();
  const auto count = static_cast<double>(pushed.size());
  for (std::size_t i = 0; i < daemons_.size(); ++i)
    EXPECT_GT(metric(i, images("copied")), 0) << "daemon " << i << " did nothing\n" << logs();
  EXPECT_EQ(sum(images("copied")), count);
  // The layer and the config of each image, and the shared layer once for each daemon at most; a
  // little more where docker-registry refuses two uploads of it at once, as it does at random.
  EXPECT_GE(sum(blobs("copied")), 2 * count + 1);
  EXPECT_LE(sum(blobs("copied")), 2 * count + 6);
}

TEST_F(SharedWork, WhatIsThereAlreadyIsNotCopied) {
  start(3);
  const auto image_of = [](std::uint64_t seed) { return make_image(seed); };
  for (std::size_t i = 0; i < 20; ++i)
    push(target_->url(), fmt::format("team/{}", i / 10), fmt::format("v{}", i % 10), image_of(i));
  const Pushed pushed = push_many("team", 2, 10, image_of);
  const auto count = static_cast<double>(pushed.size());
  ASSERT_TRUE(eventually([&] { return sum(images("unchanged")) == count; })) << logs();
  ASSERT_TRUE(all_acknowledged(nats_->url())) << logs();
  EXPECT_EQ(sum(images("copied")), 0);
  EXPECT_EQ(sum(blobs("copied")) + sum(blobs("mounted")), 0);
}

TEST_F(SharedWork, WhatOneHasInHandIsPendingAtEach) {
  start(2);
  target_->stop();
  push(source_->url(), "team/app", "v1", make_image(1));
  const std::string oldest = R"(transship_oldest_pending_seconds{rule="all",target="eu-west"})";
  EXPECT_TRUE(eventually([&] { return metric(0, oldest) > 0 && metric(1, oldest) > 0; })) << logs();
  EXPECT_EQ(sum(R"(transship_pending_images{rule="all",target="eu-west"})"), 1);
  target_->start();
  EXPECT_TRUE(eventually([&] { return metric(0, oldest) == 0 && metric(1, oldest) == 0; }))
      << logs();
}

// What the dead daemon had in hand comes to the others once its deliveries were not answered for,
// at most the 30 s that Inbox::acknowledge_within allows.
TEST_F(SharedWork, TheLossOfOneIsMadeGoodWithinTheAcknowledgementWait) {
  of_target_ = ", limits: {upload_rate: 1MiB/s}";
  start(3, "transfers: {images: 2, blobs: 4}\n");
  const Pushed pushed =
      push_many("team", 4, 3, [](std::uint64_t seed) { return make_image(seed, {1'000'000}); });
  const std::string in_flight = R"(transship_transfers_in_flight{target="eu-west"})";
  ASSERT_TRUE(eventually([&] {
    return metric(0, in_flight) > 0 && metric(1, in_flight) > 0 && metric(2, in_flight) > 0;
  })) << logs();
  daemons_[1]->kill();
  ASSERT_FALSE(missing(pushed).empty()) << "there was nothing to lose";
  EXPECT_TRUE(eventually([&] { return missing(pushed).empty(); }, std::chrono::seconds(30)))
      << missing(pushed) << logs();
  EXPECT_EQ(incomplete(pushed), "");
  EXPECT_TRUE(all_acknowledged(nats_->url())) << logs();
  // The registry tells the dead one for as long as it takes; that harms nobody.
  daemons_[1]->start();
  EXPECT_TRUE(daemons_[1]->wait_until_ready()) << daemons_[1]->log();
  EXPECT_EQ(missing(pushed), "");
}

TEST_F(SharedWork, FiftyQuickPushesOfOneTagEndWithTheNewest) {
  start(2);
  for (std::uint64_t round = 0; round < 2; ++round) {
    const std::string repository = fmt::format("team/app{}", round);
    std::vector<TestImage> versions;
    for (std::uint64_t i = 0; i < 50; ++i) {
      versions.push_back(make_image_of({noise(7, 10'000), noise(i, 500)}, 100 * round + i));
      push_blobs(source_->url(), repository, versions.back());
    }
    for (const TestImage& version : versions)
      push_manifest(source_->url(), repository, "latest", version);
    const std::string newest = versions.back().digest();
    ASSERT_TRUE(all_on_the_bus(50 * (round + 1))) << logs();
    ASSERT_TRUE(all_acknowledged(nats_->url())) << logs();  // nothing more is under way
    EXPECT_EQ(digest_at(target_->url(), repository, "latest"), newest) << logs();
    EXPECT_EQ(incompleteness(target_->url(), repository, "latest"), "");
  }
}

// --- SIGHUP
// -------------------------------------------------------------------------------------------------------------

class ReloadOnJetStream : public SharedWork {
 protected:
  void SetUp() override {
    SharedWork::SetUp();
    other_.emplace();
  }
  [[nodiscard]] std::string rules(const std::string& text) const {
    const std::string written = read_file(daemons_[0]->config_file());
    return registries() + fmt::format("  ap-south: {{url: '{}'}}\n", other_->url()) +
           bus({nats_->url()}) + by_events_alone() + "rules:\n" + text +
           written.substr(written.find("\nhttp: {"));
  }
  static std::string rule(const std::string& name, const std::string& to,
                          const std::string& repositories) {
    return fmt::format("  - {{name: {}, source: us-east, targets: [{}], repositories: '{}'}}\n",
                       name, to, repositories);
  }
  void reload(const std::string& text) {
    const auto taken = [&] {
      const std::string log = daemons_[0]->log();
      std::size_t count = 0;
      for (auto at = log.find("SIGHUP: the configuration was taken over"); at != std::string::npos;
           at = log.find("SIGHUP: the configuration was taken over", at + 1))
        ++count;
      return count;
    };
    const std::size_t before = taken();
    write_file(daemons_[0]->config_file(), rules(text));
    daemons_[0]->process().signal(SIGHUP);
    ASSERT_TRUE(eventually([&] { return taken() > before; })) << logs();
  }
  static bool arrives(const DockerRegistry& at, const std::string& repository,
                      const std::string& digest) {
    return eventually([&] { return digest_at(at.url(), repository, "v1") == digest; });
  }

  std::optional<DockerRegistry> other_;
};

TEST_F(ReloadOnJetStream, ATargetThatIsNewGetsWhatTheStreamStillHolds) {
  start(1);
  const std::string before = push(source_->url(), "b/app", "v1", make_image(1));
  ASSERT_TRUE(arrives(*target_, "b/app", before)) << logs();
  reload(rule("all", "eu-west", "a/**") + rule("b", "ap-south", "b/**"));
  EXPECT_TRUE(arrives(*other_, "b/app", before)) << logs();
  const std::string after = push(source_->url(), "b/late", "v1", make_image(2));
  EXPECT_TRUE(arrives(*other_, "b/late", after)) << logs();

  // Taken out, it keeps its place on the bus, and goes on from there when it comes back.
  reload(rule("all", "eu-west", "a/**"));
  const std::string meanwhile = push(source_->url(), "b/meanwhile", "v1", make_image(3));
  const std::string a = push(source_->url(), "a/app", "v1", make_image(4));
  ASSERT_TRUE(arrives(*target_, "a/app", a)) << logs();
  EXPECT_EQ(digest_at(other_->url(), "b/meanwhile", "v1"), "");
  reload(rule("all", "eu-west", "a/**") + rule("b", "ap-south", "b/**"));
  EXPECT_TRUE(arrives(*other_, "b/meanwhile", meanwhile)) << logs();
  EXPECT_EQ(digest_at(target_->url(), "b/meanwhile", "v1"), "");
  EXPECT_EQ(daemons_[0]->terminate(), 0) << logs();
}

TEST_F(ReloadOnJetStream, WhatWaitsForARuleThatIsGoneIsAcknowledged) {
  start(1);
  reload(rule("a", "eu-west", "a/**") + rule("b", "eu-west", "b/**"));
  target_->stop();
  push(source_->url(), "a/app", "v1", make_image(1));
  const std::string b = push(source_->url(), "b/app", "v1", make_image(2));
  ASSERT_TRUE(eventually([&] {
    return metric(0, R"(transship_pending_images{rule="a",target="eu-west"})") == 1 &&
           metric(0, R"(transship_pending_images{rule="b",target="eu-west"})") == 1;
  })) << logs();
  EXPECT_EQ(unacknowledged(nats_->url(), "eu-west"), 2);
  reload(rule("b", "eu-west", "b/**"));
  EXPECT_TRUE(eventually([&] { return unacknowledged(nats_->url(), "eu-west") == 1; })) << logs();
  target_->start();
  EXPECT_TRUE(arrives(*target_, "b/app", b)) << logs();
  EXPECT_EQ(digest_at(target_->url(), "a/app", "v1"), "");
  EXPECT_TRUE(all_acknowledged(nats_->url())) << logs();
}

}  // namespace
}  // namespace transship::testing
