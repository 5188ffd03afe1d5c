// A registry that is down is probed, and what needs it waits as a whole. On real parts.
#include "tests/e2e/two_registries.h"
#include "tests/support/memory_registry.h"

namespace transship::testing {
namespace {

class Outage : public TwoRegistries {
 protected:
  double failed() { return of_pair("transship_images_total", R"(outcome="failed",)"); }
  std::size_t times_logged(const std::string& text) {
    const std::string log = daemon_->log();
    std::size_t count = 0;
    for (std::size_t at = log.find(text); at != std::string::npos; at = log.find(text, at + 1))
      ++count;
    return count;
  }
};

INSTANTIATE_TEST_SUITE_P(Bus, Outage, ::testing::Values(BusKind::journal, BusKind::jetstream),
                         name_of);

TEST_P(Outage, ManyImagesWaitForATargetAndItIsProbed) {
  constexpr int images = 30;
  constexpr int at_once = 8;  // transfers.images
  target_->stop();
  std::vector<std::string> digests;
  for (int i = 0; i < images; ++i)
    digests.push_back(
        push(source_->url(), "team/app", "v" + std::to_string(i), make_image(100 + i, {300})));
  ASSERT_TRUE(eventually([&] { return of_pair("transship_pending_images") == images; }))
      << daemon_->log();
  // Many more probes than an image has tries.
  const std::string no_answer =
      R"(transship_registry_requests_total{code="0",method="GET",registry="eu-west"})";
  const double before = metric(no_answer);
  ASSERT_TRUE(eventually([&] { return metric(no_answer) >= before + 10; })) << daemon_->log();
  EXPECT_LE(failed(), 2 * at_once) << "those that ran when it went away, and no other";
  EXPECT_EQ(metric(R"(transship_dead_letters{target="eu-west"})"), 0);
  EXPECT_EQ(times_logged("eu-west does not answer; what needs it waits"), 1u);
  const double failed_before = failed();
  target_->start();
  for (int i = 0; i < images; ++i) {
    EXPECT_TRUE(arrives("team/app", "v" + std::to_string(i), digests[static_cast<std::size_t>(i)]))
        << daemon_->log();
  }
  EXPECT_EQ(failed(), failed_before);
  EXPECT_TRUE(eventually([&] {
    return of_pair("transship_oldest_pending_seconds") == 0 &&
           metric("transship_bus_pending_events") == 0;
  })) << daemon_->log();
}

TEST_P(Outage, ASourceThatWentAwayIsWaitedFor) {
  const std::string first = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("team/app", "v1", first)) << daemon_->log();
  const std::string second = push(source_->url(), "team/other", "v1", make_image(2));
  // What it has not told by now goes with it.
  ASSERT_TRUE(eventually([&] {
    return metric(R"(transship_events_total{outcome="accepted",registry="us-east"})") == 2;
  }));
  source_->stop();
  // Its event comes while it is away, by hand.
  const nlohmann::json event{{"id", "by-hand"},
                             {"timestamp", "2026-01-02T03:04:05Z"},
                             {"action", "push"},
                             {"target",
                              {{"mediaType", make_image(2).media_type},
                               {"digest", make_image(3).digest()},
                               {"repository", "team/later"},
                               {"tag", "v1"}}}};
  const nlohmann::json body{{"events", nlohmann::json::array({event})}};
  EXPECT_EQ(http("POST", daemon_->url() + "/intake/us-east", body.dump()).status, 202);
  ASSERT_TRUE(eventually([&] {
    return times_logged("us-east does not answer; what needs it waits") == 1;
  })) << daemon_->log();
  EXPECT_GT(of_pair("transship_oldest_pending_seconds"), 0);
  EXPECT_EQ(times_logged("eu-west does not answer"), 0u);
  source_->start();
  const std::string later = push(source_->url(), "team/later", "v1", make_image(3));
  EXPECT_TRUE(arrives("team/later", "v1", later)) << daemon_->log();
  EXPECT_TRUE(arrives("team/other", "v1", second)) << daemon_->log();
}

class OutageOfAnotherSource : public TwoRegistries {
 protected:
  void SetUp() override {
    if (has_program("docker-registry")) other_.emplace();
    TwoRegistries::SetUp();
  }
  [[nodiscard]] std::string more_registries() const override {
    return fmt::format("  ap-south: {{url: '{}'}}\n", other_->url());
  }
  [[nodiscard]] std::string more_rules() const override {
    return "  - {name: other, source: ap-south, targets: [eu-west], repositories: '**'}\n";
  }
  // As many events as a body may hold and more than a worker takes at once, all of 2026-01-02.
  void tell_of_pushes(std::size_t count) {
    nlohmann::json events = nlohmann::json::array();
    for (std::size_t i = 0; i < count; ++i) {
      const std::string tag = "v" + std::to_string(i);
      events.push_back({{"id", tag},
                        {"timestamp", "2026-01-02T03:04:05Z"},
                        {"action", "push"},
                        {"target",
                         {{"mediaType", make_image(1).media_type},
                          {"digest", make_image(1).digest()},
                          {"repository", "team/other"},
                          {"tag", tag}}}});
    }
    const nlohmann::json body{{"events", std::move(events)}};
    EXPECT_EQ(http("POST", daemon_->url() + "/intake/ap-south", body.dump()).status, 202);
  }
  std::optional<DockerRegistry> other_;
};

INSTANTIATE_TEST_SUITE_P(Bus, OutageOfAnotherSource,
                         ::testing::Values(BusKind::journal, BusKind::jetstream), name_of);

TEST_P(OutageOfAnotherSource, LeavesRoomForThoseThatAnswer) {
  other_->stop();
  constexpr std::size_t pushes = 2500;  // a worker has 1,000 in hand
  tell_of_pushes(pushes);
  ASSERT_TRUE(eventually([&] {
    return daemon_->log().find("ap-south does not answer; what needs it waits") !=
           std::string::npos;
  })) << daemon_->log();
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(5));
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  EXPECT_EQ(metric(R"(transship_dead_letters{target="eu-west"})"), 0);
  // Once the source was looked at again after the tag was put.
  EXPECT_TRUE(eventually([&] { return of_pair("transship_oldest_pending_seconds") == 0; }));
  EXPECT_GT(metric(R"(transship_oldest_pending_seconds{rule="other",target="eu-west"})"), 3600);
  EXPECT_LE(metric(R"(transship_pending_images{rule="other",target="eu-west"})"), 1000);
  EXPECT_TRUE(eventually([&] { return metric("transship_bus_pending_events") == pushes; }))
      << "nothing was lost";
  EXPECT_GT(metric(R"(transship_oldest_pending_seconds{rule="other",target="eu-west"})"), 3600);
  // What had to make room comes again.
  other_->start();
  EXPECT_TRUE(eventually([&] { return metric("transship_bus_pending_events") == 0; },
                         std::chrono::seconds(120)))
      << metric("transship_bus_pending_events");
  EXPECT_TRUE(eventually([&] {
    return metric(R"(transship_oldest_pending_seconds{rule="other",target="eu-west"})") == 0;
  }));
}

// What stands in front of a registry may answer when it is down.
class OutageWithAnswers : public ::testing::TestWithParam<int> {
 protected:
  void start(const std::string& retry) {
    daemon.emplace(TRANSSHIP_PROGRAM,
                   fmt::format("registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'}}\n"
                               "retry: {{attempts: 2, first_pause: 10ms, longest_pause: {}}}\n"
                               "reconcile: {{at_start: false, interval: 7d}}\n"
                               "rules:\n  - {{name: all, source: us-east, targets: [eu-west], "
                               "repositories: '**', referrers: false}}\n",
                               source.url(), target.url(), retry));
    ASSERT_TRUE(daemon->wait_until_ready()) << daemon->log();
  }
  void push(const std::string& tag, std::uint64_t seed) {
    const std::string digest = source.hold("team/app", tag, make_image(seed));
    const nlohmann::json body{{"events",
                               {{{"id", tag},
                                 {"action", "push"},
                                 {"target",
                                  {{"repository", "team/app"},
                                   {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                                   {"tag", tag},
                                   {"digest", digest}}}}}}};
    ASSERT_EQ(http("POST", daemon->url() + "/intake/us-east", body.dump()).status, 202);
  }
  double dead_letters() {
    return daemon->metric(R"(transship_dead_letters{target="eu-west"})").value_or(-1);
  }
  double failed() {
    return daemon->metric(R"(transship_images_total{outcome="failed",rule="all",target="eu-west"})")
        .value_or(-1);
  }

  // The registries' own, which may look at them as long as they are there.
  std::atomic<bool> out = true;
  std::atomic<int> failures = 3;
  MemoryRegistry source;
  MemoryRegistry target;
  std::optional<DaemonProcess> daemon;
};

INSTANTIATE_TEST_SUITE_P(Code, OutageWithAnswers, ::testing::Values(500, 502, 503, 429),
                         ::testing::PrintToStringParamName());

TEST_P(OutageWithAnswers, UsesUpNoImagesTries) {
  constexpr int images = 4;
  start("100ms");
  target.set_fault([&](const HostRequest&) -> std::optional<HostReply> {
    return out ? std::optional(HostReply{GetParam(), {}, "down"}) : std::nullopt;
  });
  for (int i = 0; i < images; ++i) push("v" + std::to_string(i), static_cast<std::uint64_t>(i));
  // More probes than an image has tries, and what was tried when they showed no end.
  const auto probes = [&] { return target.count("GET", "/v2/"); };
  ASSERT_TRUE(eventually([&] { return probes() >= 3 && failed() >= 4; })) << daemon->log();
  EXPECT_EQ(dead_letters(), 0) << daemon->log();
  out = false;
  ASSERT_TRUE(eventually([&] {
    for (int i = 0; i < images; ++i)
      if (target.digest_of("team/app", "v" + std::to_string(i)).empty()) return false;
    return true;
  })) << daemon->log();
  EXPECT_EQ(dead_letters(), 0);
}

// Where the probe alone is answered with errors, what is wanted is there after all.
TEST_P(OutageWithAnswers, OfTheProbeAloneEndsByItself) {
  start("100ms");
  target.set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path == "/v2/" || (request.method == "POST" && failures-- > 0))
      return HostReply{GetParam(), {}, "down"};
    return std::nullopt;
  });
  push("v1", 1);
  EXPECT_TRUE(eventually([&] { return !target.digest_of("team/app", "v1").empty(); }))
      << daemon->log();
}

TEST_P(OutageWithAnswers, OfTheSourceUsesUpNoImagesTries) {
  start("100ms");
  source.set_fault([&](const HostRequest&) -> std::optional<HostReply> {
    return out ? std::optional(HostReply{GetParam(), {}, "down"}) : std::nullopt;
  });
  push("v1", 1);
  ASSERT_TRUE(eventually([&] { return source.count("GET", "/v2/") >= 3 && failed() >= 3; }))
      << daemon->log();
  EXPECT_EQ(dead_letters(), 0) << daemon->log();
  out = false;
  EXPECT_TRUE(eventually([&] { return !target.digest_of("team/app", "v1").empty(); }))
      << daemon->log();
}

}  // namespace
}  // namespace transship::testing
