// Many pushes of one image that wait together are few looks at the registries; many images keep out
// nobody else's.
#include "tests/e2e/two_registries.h"
#include "tests/support/memory_registry.h"

namespace transship::testing {
namespace {

class Backlog : public TwoRegistries {
 protected:
  // By hand, since the registry would send each by itself.
  void tell_of_pushes(const std::string& digest, std::size_t count) {
    nlohmann::json events = nlohmann::json::array();
    for (std::size_t i = 0; i < count; ++i) {
      events.push_back({{"id", "by-hand-" + std::to_string(i)},
                        {"timestamp", fmt::format("2026-01-02T03:04:05.{:06}Z", i * 100)},
                        {"action", "push"},
                        {"target",
                         {{"mediaType", make_image(1).media_type},
                          {"digest", digest},
                          {"repository", "team/app"},
                          {"tag", "v1"}}}});
    }
    const nlohmann::json body{{"events", std::move(events)}};
    EXPECT_EQ(http("POST", daemon_->url() + "/intake/us-east", body.dump()).status, 202);
  }
  double looks() {
    return metric(
        R"(transship_registry_requests_total{code="200",method="HEAD",registry="us-east"})");
  }
  double settled() {
    return of_pair("transship_images_total", R"(outcome="unchanged",)") +
           of_pair("transship_images_total", R"(outcome="superseded",)");
  }
};

INSTANTIATE_TEST_SUITE_P(Bus, Backlog, ::testing::Values(BusKind::journal, BusKind::jetstream),
                         name_of);

TEST_P(Backlog, ManyPushesOfOneTagAreAFewLooks) {
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  ASSERT_TRUE(eventually([&] {
    return of_pair("transship_images_total", R"(outcome="copied",)") == 1 &&
           of_pair("transship_pending_images") == 0;
  })) << "its own event is acknowledged";
  constexpr std::size_t pushes = 9000;  // 35 fetches
  target_->stop();
  tell_of_pushes(digest, pushes);
  ASSERT_TRUE(eventually([&] { return metric("transship_bus_pending_events") == pushes; }))
      << metric("transship_bus_pending_events");
  EXPECT_EQ(of_pair("transship_pending_images"), 1);
  const double looks_before = std::max(0.0, looks());
  const double settled_before = settled();
  target_->start();
  EXPECT_TRUE(
      eventually([&] { return settled() - settled_before == pushes; }, std::chrono::seconds(120)))
      << settled() - settled_before;
  EXPECT_LE(looks() - looks_before, 15);
  EXPECT_TRUE(eventually([&] {
    return metric("transship_bus_pending_events") == 0 &&
           of_pair("transship_oldest_pending_seconds") == 0;
  })) << "all of them are acknowledged";
}

class Flood : public ::testing::TestWithParam<BusKind> {
 protected:
  void start(const std::string& rules) {
    std::string bus;
    if (GetParam() == BusKind::jetstream)
      bus = fmt::format("bus: {{type: jetstream, servers: ['{}']}}\n", nats.emplace().url());
    daemon.emplace(TRANSSHIP_PROGRAM,
                   fmt::format("registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'}}\n{}"
                               "transfers: {{images: 2}}\n"
                               "reconcile: {{at_start: false, interval: 7d}}\nrules:\n{}",
                               source.url(), target.url(), bus, rules));
    ASSERT_TRUE(daemon->wait_until_ready()) << daemon->log();
    // Some 50 images a second.
    target.set_fault([](const HostRequest& request) -> std::optional<HostReply> {
      if (request.method == "PUT" && request.path.find("/manifests/") != std::string::npos)
        std::this_thread::sleep_for(std::chrono::milliseconds(40));
      return std::nullopt;
    });
  }
  // In one body, in which `count` tags of a repository were pushed.
  void push(const std::string& repository, int count) {
    const TestImage image = make_image(1, {100});
    nlohmann::json events = nlohmann::json::array();
    for (int i = 0; i < count; ++i) {
      const std::string tag = "v" + std::to_string(i);
      source.hold(repository, tag, image);
      events.push_back({{"id", repository + tag},
                        {"action", "push"},
                        {"target",
                         {{"mediaType", image.media_type},
                          {"digest", image.digest()},
                          {"repository", repository},
                          {"tag", tag}}}});
    }
    const nlohmann::json body{{"events", std::move(events)}};
    ASSERT_EQ(http("POST", daemon->url() + "/intake/us-east", body.dump()).status, 202);
  }
  // How many of the flood came before this one did.
  int came_before(const std::string& repository) {
    EXPECT_TRUE(eventually([&] { return !target.digest_of(repository, "v0").empty(); },
                           std::chrono::seconds(60)))
        << daemon->log();
    int came = 0;
    for (int i = 0; i < flood; ++i)
      came += target.digest_of("flood/x", "v" + std::to_string(i)).empty() ? 0 : 1;
    return came;
  }

  static constexpr int flood = 3000;
  MemoryRegistry source;
  MemoryRegistry target;
  std::optional<NatsServer> nats;
  std::optional<DaemonProcess> daemon;
};

INSTANTIATE_TEST_SUITE_P(Bus, Flood, ::testing::Values(BusKind::journal, BusKind::jetstream),
                         name_of);

TEST_P(Flood, HoldsUpNoOtherRepositoryAndNothingMoreUrgent) {
  start(
      "  - {name: urgent, source: us-east, targets: [eu-west], repositories: 'urgent/*', "
      "priority: 9}\n"
      "  - {name: all, source: us-east, targets: [eu-west], repositories: ['**', '!urgent/*']}\n");
  push("flood/x", flood);
  push("quiet/y", 1);
  push("urgent/z", 1);
  EXPECT_LT(came_before("quiet/y"), 600) << "far fewer than the window holds";
  EXPECT_LT(came_before("urgent/z"), 600);
  const auto oldest =
      daemon->metric(R"(transship_oldest_pending_seconds{rule="all",target="eu-west"})");
  EXPECT_GT(oldest.value_or(0), 0) << "what went back to the bus still counts";
}

TEST_P(Flood, ComesWholeInTheEnd) {
  start("  - {name: all, source: us-east, targets: [eu-west], repositories: '**'}\n");
  push("flood/x", flood);
  push("quiet/y", 1);
  static_cast<void>(came_before("quiet/y"));
  target.set_fault({});
  EXPECT_TRUE(
      eventually([&] { return came_before("quiet/y") == flood; }, std::chrono::seconds(120)))
      << came_before("quiet/y");
  EXPECT_TRUE(eventually([&] { return daemon->metric("transship_bus_pending_events") == 0; }));
}

}  // namespace
}  // namespace transship::testing
