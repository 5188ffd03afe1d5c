// `deletes: propagate` in the daemon: by events and by reconciliation, with the breaker.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/e2e/two_registries.h"
#include "tests/support/memory_registry.h"

namespace transship::testing {
namespace {

// --- between real registries, which delete by digest alone

class Deletes : public TwoRegistries {
 protected:
  [[nodiscard]] std::string more_of_the_rule() const override { return ", deletes: propagate"; }
  void delete_at_source(const std::string& repository, const std::string& digest) {
    EXPECT_EQ(http("DELETE", source_->url() + "/v2/" + repository + "/manifests/" + digest).status,
              202);
  }
  bool goes(const std::string& repository, const std::string& tag) {
    return eventually([&] { return digest_at(target_->url(), repository, tag).empty(); });
  }
};

INSTANTIATE_TEST_SUITE_P(Bus, Deletes, ::testing::Values(BusKind::journal, BusKind::jetstream),
                         name_of);

TEST_P(Deletes, ATagThatIsDeletedGoesWithItsTwinAndNothingElse) {
  const TestImage image = make_image(1);
  const std::string other = push(source_->url(), "team/app", "v2", make_image(2));
  const std::string digest = push(source_->url(), "team/app", "v1", image);
  push_manifest(source_->url(), "team/app", "latest", image);
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  ASSERT_TRUE(arrives("team/app", "latest", digest)) << daemon_->log();
  ASSERT_TRUE(arrives("team/app", "v2", other)) << daemon_->log();
  delete_at_source("team/app", digest);  // both tags
  EXPECT_TRUE(goes("team/app", "v1")) << daemon_->log();
  EXPECT_TRUE(goes("team/app", "latest")) << daemon_->log();
  EXPECT_TRUE(eventually([&] { return metric("transship_bus_pending_events") == 0; }));
  EXPECT_EQ(digest_at(target_->url(), "team/app", "v2"), other);
  EXPECT_TRUE(
      eventually([&] { return of_pair("transship_deletes_total", R"(outcome="deleted",)") == 2; }));
  EXPECT_TRUE(eventually([&] { return of_pair("transship_oldest_pending_seconds") == 0; }));
}

TEST_P(Deletes, ATagThatIsPushedAgainAtOnceIsThereInTheEnd) {
  const TestImage image = make_image(1);
  const std::string digest = push(source_->url(), "team/app", "v1", image);
  ASSERT_TRUE(arrives("team/app", "v1", digest)) << daemon_->log();
  std::string last;
  for (std::uint64_t i = 0; i < 10; ++i) {
    delete_at_source("team/app", digest_at(source_->url(), "team/app", "v1"));
    last = push(source_->url(), "team/app", "v1", make_image(10 + i / 2));
  }
  ASSERT_TRUE(arrives("team/app", "v1", last)) << daemon_->log();
  ASSERT_TRUE(eventually([&] { return metric("transship_bus_pending_events") == 0; }));
  EXPECT_EQ(digest_at(target_->url(), "team/app", "v1"), last);
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
}

// --- between registries that do as they are told

class ToldDeletes : public ::testing::Test {
 protected:
  void start(bool takes_tags, const std::string& reconcile = "at_start: false, interval: 7d",
             const std::string& deletes = "propagate") {
    if (!target) {
      MemoryRegistry::Traits traits;
      traits.deletes_tags = takes_tags;
      target.emplace(traits);
    }
    daemon.reset();
    daemon.emplace(TRANSSHIP_PROGRAM,
                   fmt::format("registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'}}\n"
                               "retry: {{attempts: 3, first_pause: 20ms, longest_pause: 100ms}}\n"
                               "reconcile: {{{}}}\nlog: {{level: debug}}\n"
                               "rules:\n  - {{name: all, source: us-east, targets: [eu-west], "
                               "repositories: 'team/*', deletes: {}}}\n",
                               source.url(), target->url(), reconcile, deletes));
    ASSERT_TRUE(daemon->wait_until_ready()) << daemon->log();
  }
  // As distribution tells it.
  void tell(const std::string& action, const nlohmann::json& of) {
    nlohmann::json about{{"repository", "team/app"},
                         {"mediaType", "application/vnd.oci.image.manifest.v1+json"}};
    about.update(of);
    const nlohmann::json body{
        {"events", {{{"id", std::to_string(++events)}, {"action", action}, {"target", about}}}}};
    ASSERT_EQ(http("POST", daemon->url() + "/intake/us-east", body.dump()).status, 202);
  }
  void push_tag(const std::string& tag, const TestImage& image) {
    source.hold("team/app", tag, image);
    tell("push", {{"tag", tag}, {"digest", image.digest()}});
  }
  void push_tags(int count) {
    for (int i = 0; i < count; ++i)
      push_tag(name(i), make_image(static_cast<std::uint64_t>(i), {100}));
    ASSERT_TRUE(eventually([&] { return tags_at_target(count) == count; })) << daemon->log();
    ASSERT_TRUE(done());
  }
  void delete_tag(const std::string& tag) {
    source.drop_tag("team/app", tag);
    tell("delete", {{"tag", tag}});
  }
  static std::string name(int i) { return fmt::format("v{:02}", i); }
  [[nodiscard]] bool at_target(const std::string& tag) const {
    return !target->digest_of("team/app", tag).empty();
  }
  [[nodiscard]] int tags_at_target(int count) const {
    int there = 0;
    for (int i = 0; i < count; ++i) there += at_target(name(i)) ? 1 : 0;
    return there;
  }
  double of_pair(const std::string& metric, const std::string& more = {}) {
    return daemon->metric(fmt::format(R"({}{{{}rule="all",target="eu-west"}})", metric, more))
        .value_or(-1);
  }
  double deletes(const std::string& outcome) {
    return of_pair("transship_deletes_total", fmt::format(R"(outcome="{}",)", outcome));
  }
  // Everything was acknowledged.
  bool done() {
    return eventually([&] { return daemon->metric("transship_bus_pending_events") == 0; },
                      std::chrono::seconds(20));
  }
  void reconcile(const std::string& body) {
    ASSERT_EQ(http("POST", daemon->url() + "/api/v1/reconcile", body).status, 202);
  }

  std::atomic<bool> gone = false;
  int events = 0;
  std::optional<MemoryRegistry> target;  // the source's fault looks at it
  MemoryRegistry source;
  std::optional<DaemonProcess> daemon;
};

TEST_F(ToldDeletes, ATwinStaysWhereTheRegistryDeletesByDigestAlone) {
  start(/*takes_tags=*/false);
  const TestImage image = make_image(1);
  push_tag("v1", image);
  push_tag("stable", image);
  push_tag("other", make_image(2));
  ASSERT_TRUE(
      eventually([&] { return at_target("v1") && at_target("stable") && at_target("other"); }));
  delete_tag("v1");
  ASSERT_TRUE(eventually([&] { return deletes("kept") == 1; })) << daemon->log();
  EXPECT_TRUE(at_target("stable"));
  EXPECT_TRUE(done()) << "nothing more can be done about it";
  delete_tag("stable");
  EXPECT_TRUE(eventually([&] { return !at_target("v1") && !at_target("stable"); }))
      << daemon->log();
  EXPECT_TRUE(eventually([&] { return deletes("deleted") == 2; }));
  EXPECT_TRUE(at_target("other"));
}

TEST_F(ToldDeletes, OnlyWhatWasPutThereGoesAndOnlyWhenTheSourceLacksIt) {
  start(/*takes_tags=*/true);
  push_tag("v1", make_image(1));
  push_tag("v2", make_image(2));
  ASSERT_TRUE(eventually([&] { return at_target("v1") && at_target("v2"); }));
  target->hold("team/app", "theirs", make_image(3));
  delete_tag("theirs");
  const std::string moved = target->hold("team/app", "v1", make_image(4));
  delete_tag("v1");
  tell("delete", {{"tag", "v2"}});  // a lie
  ASSERT_TRUE(eventually([&] { return deletes("kept") == 1; })) << daemon->log();
  ASSERT_TRUE(done()) << daemon->log();
  EXPECT_TRUE(at_target("theirs"));
  EXPECT_EQ(target->digest_of("team/app", "v1"), moved);
  EXPECT_TRUE(at_target("v2"));
  EXPECT_EQ(target->count("DELETE"), 0u);
}

TEST_F(ToldDeletes, AnEventMayNameTheManifestOrTheRepositoryAlone) {
  start(/*takes_tags=*/true);
  const TestImage image = make_image(1);
  push_tag("v1", image);
  push_tag("v1.0", image);
  push_tag("v2", make_image(2));
  ASSERT_TRUE(eventually([&] { return at_target("v1") && at_target("v1.0") && at_target("v2"); }));
  ASSERT_TRUE(done());
  source.drop_tag("team/app", "v1");
  source.drop_tag("team/app", "v1.0");
  tell("delete", {{"digest", image.digest()}});
  EXPECT_TRUE(eventually([&] { return !at_target("v1") && !at_target("v1.0"); })) << daemon->log();
  EXPECT_TRUE(at_target("v2"));
  source.drop_tag("team/app", "v2");
  tell("delete", nlohmann::json::object());
  EXPECT_TRUE(eventually([&] { return !at_target("v2"); })) << daemon->log();
  EXPECT_TRUE(done());
}

// Its digest alone says what is gone, and the memory of what was put does not know the tag yet.
TEST_F(ToldDeletes, AManifestThatGoesWhileItsTagIsPutGoes) {
  start(/*takes_tags=*/true);
  const TestImage image = make_image(1);
  source.set_fault([this, image](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method != "HEAD" || !request.path.ends_with("/manifests/v1") || !at_target("v1") ||
        gone.exchange(true))
      return std::nullopt;
    // It is the look after the tag was put; just after its answer the manifest goes.
    source.drop_tag("team/app", "v1");
    tell("delete", {{"digest", image.digest()}});
    push_tag("v2", make_image(2));
    EXPECT_TRUE(eventually([&] { return at_target("v2"); })) << "the event before it was taken";
    return HostReply{200,
                     {{"Content-Type", image.media_type},
                      {"Docker-Content-Digest", image.digest()},
                      {"Content-Length", std::to_string(image.manifest.size())}},
                     {}};
  });
  push_tag("v1", image);
  EXPECT_TRUE(eventually([&] { return gone && !at_target("v1"); })) << daemon->log();
  EXPECT_TRUE(at_target("v2"));
  EXPECT_TRUE(done());
}

// Its tag was put, and what refers to it could not be looked for.
TEST_F(ToldDeletes, WhatWasPutGoesThoughItsTryFailedAfterwards) {
  start(/*takes_tags=*/true);
  target->set_fault([this](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method != "GET" || !request.path.ends_with("/manifests/v1") || !at_target("v1") ||
        gone.exchange(true))
      return std::nullopt;
    delete_tag("v1");
    return HostReply{500, {}, {}};
  });
  push_tag("v1", make_image(1));
  EXPECT_TRUE(eventually([&] { return gone && !at_target("v1"); })) << daemon->log();
  EXPECT_TRUE(done());
}

TEST_F(ToldDeletes, WithIgnoreADeleteCostsNothing) {
  // Without referrers, for which the source is looked at once more after each copy.
  start(/*takes_tags=*/true, "at_start: false, interval: 7d", "ignore, referrers: false");
  push_tag("v1", make_image(1));
  ASSERT_TRUE(eventually([&] {
    return daemon->log().find("copied team/app:v1") != std::string::npos;
  })) << daemon->log();
  source.forget_seen();
  target->forget_seen();
  delete_tag("v1");
  ASSERT_TRUE(eventually([&] {
    return daemon->metric(R"(transship_events_total{outcome="accepted",registry="us-east"})") == 2;
  }));
  ASSERT_TRUE(done());
  EXPECT_TRUE(source.seen().empty());
  EXPECT_TRUE(target->seen().empty());
}

TEST_F(ToldDeletes, AnEventIsAcknowledgedOnlyOnceTheTagIsGone) {
  start(/*takes_tags=*/true);
  push_tag("v1", make_image(1));
  ASSERT_TRUE(eventually([&] { return at_target("v1"); }));
  std::atomic<int> refusals = 2;
  target->set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method != "DELETE" || refusals == 0) return std::nullopt;
    --refusals;
    return HostReply{500, {}, {}};
  });
  delete_tag("v1");
  EXPECT_TRUE(eventually([&] { return !at_target("v1"); })) << daemon->log();
  EXPECT_TRUE(done());
  EXPECT_EQ(deletes("failed"), 2);
  EXPECT_EQ(deletes("deleted"), 1);
}

TEST_F(ToldDeletes, ARegistryThatAllowsNoDeletesMakesADeadLetter) {
  MemoryRegistry::Traits traits;
  traits.deletes = false;
  target.emplace(traits);
  start(false);
  push_tag("v1", make_image(1));
  ASSERT_TRUE(eventually([&] { return at_target("v1"); }));
  delete_tag("v1");
  ASSERT_TRUE(eventually([&] {
    return daemon->metric(R"(transship_dead_letters{target="eu-west"})") == 1;
  })) << daemon->log();
  const auto letters = http("GET", daemon->url() + "/api/v1/dead-letters").body;
  EXPECT_NE(letters.find("deletes are not enabled"), std::string::npos) << letters;
  EXPECT_EQ(of_pair("transship_oldest_pending_seconds"), 0) << "no push waits";
  EXPECT_EQ(of_pair("transship_pending_images"), 1) << "but an image is not as it should be";
  EXPECT_TRUE(done());
}

TEST_F(ToldDeletes, TheBreakerStopsAFloodOfEventsUntilAnOperatorAllowsIt) {
  start(/*takes_tags=*/true);
  push_tags(30);
  for (int i = 0; i < 15; ++i) delete_tag(name(i));
  ASSERT_TRUE(eventually([&] { return of_pair("transship_deletes_stopped") == 1; }))
      << daemon->log();
  ASSERT_TRUE(done());
  EXPECT_EQ(tags_at_target(30), 20);
  EXPECT_EQ(deletes("deleted"), 10);
  EXPECT_NE(daemon->log().find("deletes are stopped"), std::string::npos);
  const auto status = nlohmann::json::parse(http("GET", daemon->url() + "/api/v1/status").body);
  EXPECT_EQ(status["pairs"][0]["deletes_stopped"], true);
  // A restart does not make it forget, and reconciliation keeps to it.
  daemon->terminate();
  daemon->start();
  ASSERT_TRUE(daemon->wait_until_ready());
  EXPECT_TRUE(eventually([&] { return of_pair("transship_deletes_stopped") == 1; }));
  reconcile("{}");
  ASSERT_TRUE(eventually([&] {
    return of_pair("transship_drift_images", R"(kind="extra",)") == 5;
  })) << daemon->log();
  EXPECT_EQ(tags_at_target(30), 20);
  reconcile(R"({"rule":"all","allow_deletes":true})");
  EXPECT_TRUE(eventually([&] { return tags_at_target(30) == 15; })) << daemon->log();
  EXPECT_TRUE(eventually([&] { return of_pair("transship_deletes_stopped") == 0; }));
  delete_tag(name(15));
  EXPECT_TRUE(eventually([&] { return tags_at_target(30) == 14; })) << daemon->log();
}

TEST_F(ToldDeletes, ReconciliationFindsWhatWasDeletedWithoutAnEvent) {
  start(/*takes_tags=*/false, "at_start: true, interval: 7d");
  push_tags(30);
  for (int i = 0; i < 3; ++i) source.drop_tag("team/app", name(i));
  target->hold("team/app", "theirs", make_image(100));
  reconcile("{}");
  EXPECT_TRUE(eventually([&] { return tags_at_target(30) == 27; })) << daemon->log();
  EXPECT_EQ(of_pair("transship_drift_images", R"(kind="extra",)"), 3);
  EXPECT_TRUE(at_target("theirs"));
  // Too many at once.
  for (int i = 3; i < 20; ++i) source.drop_tag("team/app", name(i));
  reconcile("{}");
  ASSERT_TRUE(eventually([&] { return of_pair("transship_deletes_stopped") == 1; }))
      << daemon->log();
  EXPECT_EQ(tags_at_target(30), 27);
  EXPECT_EQ(of_pair("transship_drift_images", R"(kind="extra",)"), 17);
}

TEST_F(ToldDeletes, ReconciliationDeletesNothingWhenTheSourceFails) {
  start(/*takes_tags=*/true, "at_start: true, interval: 7d");
  push_tags(5);
  source.set_fault([](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path.ends_with("/tags/list"))
      return HostReply{200, {}, R"({"name":"team/app","tags":[]})"};
    if (request.path.find("/manifests/") != std::string::npos) return HostReply{502, {}, {}};
    return std::nullopt;
  });
  reconcile("{}");
  ASSERT_TRUE(eventually([&] {
    return daemon->log().find("reconciliation could not finish") != std::string::npos;
  })) << daemon->log();
  EXPECT_EQ(tags_at_target(5), 5);
  EXPECT_EQ(target->count("DELETE"), 0u);
}

}  // namespace
}  // namespace transship::testing
