// Rules there and back for the same tags: no loops, and the newer push wins.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/servers.h"

namespace transship::testing {
namespace {

enum class Fleet { one_daemon, a_daemon_each };

class TwoWay : public ::testing::TestWithParam<Fleet> {
 protected:
  void SetUp() override {
    for (const char* program : {"docker-registry", "nats-server"}) {
      if (!has_program(program)) GTEST_SKIP() << program << " is not installed";
    }
    if (two_daemons()) nats_.emplace();
    const std::uint16_t east_port = free_port();
    const std::uint16_t west_port = two_daemons() ? free_port() : east_port;
    east_.emplace(DockerRegistry::Options{
        told() ? fmt::format("http://127.0.0.1:{}/intake/us-east", east_port) : "", true, 0, {}});
    west_.emplace(DockerRegistry::Options{
        told() ? fmt::format("http://127.0.0.1:{}/intake/eu-west", west_port) : "", true, 0, {}});
    daemons_.push_back(std::make_unique<DaemonProcess>(TRANSSHIP_PROGRAM, configuration("us-east"),
                                                       std::vector<std::string>{}, east_port));
    if (two_daemons())
      daemons_.push_back(std::make_unique<DaemonProcess>(
          TRANSSHIP_PROGRAM, configuration("eu-west"), std::vector<std::string>{}, west_port));
    wait_until_ready();
  }
  [[nodiscard]] bool two_daemons() const { return GetParam() == Fleet::a_daemon_each; }
  [[nodiscard]] virtual bool told() const { return true; }  // the registries send events
  [[nodiscard]] virtual std::string more_of_the_rules() const { return {}; }
  [[nodiscard]] std::string configuration(const std::string& region) const {
    return fmt::format(
        "{}registries:\n  us-east: {{url: '{}', region: us-east}}\n"
        "  eu-west: {{url: '{}', region: eu-west}}\n{}"
        "retry: {{first_pause: 20ms, longest_pause: 100ms}}\n"
        "reconcile: {{at_start: false, interval: 7d}}\nlog: {{level: debug}}\nrules:\n"
        "  - {{name: there, source: us-east, targets: [eu-west], repositories: 'team/**',\n"
        "     rename: 'mirror/{{repository}}'{}}}\n"
        "  - {{name: back, source: eu-west, targets: [us-east], repositories: 'mirror/team/app',\n"
        "     rename: 'team/app'{}}}\n",
        two_daemons() ? "region: " + region + "\n" : "", east_->url(), west_->url(),
        nats_ ? fmt::format("bus: {{type: jetstream, servers: ['{}']}}\n", nats_->url()) : "",
        more_of_the_rules(), more_of_the_rules());
  }
  void wait_until_ready() {
    for (const auto& daemon : daemons_) ASSERT_TRUE(daemon->wait_until_ready()) << daemon->log();
  }
  void stop() {
    for (const auto& daemon : daemons_) daemon->terminate();
  }
  void start() {
    for (const auto& daemon : daemons_) daemon->start();
    wait_until_ready();
  }
  [[nodiscard]] std::string logs() const {
    std::string all;
    for (const auto& daemon : daemons_) all += "\n--- a daemon\n" + daemon->log();
    return all;
  }
  void push_east(const TestImage& image) { push(east_->url(), "team/app", "v1", image); }
  void push_west(const TestImage& image) { push(west_->url(), "mirror/team/app", "v1", image); }
  [[nodiscard]] std::string shown_east() const { return digest_at(east_->url(), "team/app", "v1"); }
  [[nodiscard]] std::string shown_west() const {
    return digest_at(west_->url(), "mirror/team/app", "v1");
  }
  // "" is a tag that is gone.
  void expect_both(const std::string& digest) {
    EXPECT_TRUE(eventually([&] { return shown_east() == digest && shown_west() == digest; }))
        << "east " << shown_east() << "\nwest " << shown_west() << "\nnot " << digest << logs();
  }
  void wait_until_quiet() {
    EXPECT_TRUE(eventually([&] {
      for (const auto& daemon : daemons_) {
        if (daemon->metric("transship_bus_pending_events") != 0) return false;
      }
      return true;
    })) << logs();
  }
  // Of the daemon that works for this rule.
  [[nodiscard]] double of_rule(const std::string& name, const std::string& rule,
                               const std::string& more = {}) const {
    const std::string target = rule == "there" ? "eu-west" : "us-east";
    for (const auto& daemon : daemons_) {
      if (const auto value = daemon->metric(
              fmt::format(R"({}{{{}rule="{}",target="{}"}})", name, more, rule, target)))
        return *value;
    }
    return -1;
  }
  void reconcile() {
    const auto passed = [&](const std::string& rule) {
      return of_rule("transship_reconcile_last_success_timestamp_seconds", rule);
    };
    const double there = passed("there");
    const double back = passed("back");
    for (const auto& daemon : daemons_)
      ASSERT_EQ(http("POST", daemon->url() + "/api/v1/reconcile", "{}").status, 202);
    ASSERT_TRUE(eventually([&] { return passed("there") > there && passed("back") > back; }))
        << logs();
  }

  std::optional<NatsServer> nats_;
  std::optional<DockerRegistry> east_;
  std::optional<DockerRegistry> west_;
  std::vector<std::unique_ptr<DaemonProcess>> daemons_;
};

std::string name_of(const ::testing::TestParamInfo<Fleet>& info) {
  return info.param == Fleet::one_daemon ? "one_daemon" : "a_daemon_each";
}

TEST_P(TwoWay, EachSidesPushGoesToTheOtherAndNoFurther) {
  const TestImage first = make_image(1);
  const TestImage second = make_image(2);
  push_east(first);
  expect_both(first.digest());
  push_west(second);
  expect_both(second.digest());
  const auto copied = [&](const char* rule) {
    return of_rule("transship_images_total", rule, R"(outcome="copied",)");
  };
  EXPECT_TRUE(eventually([&] { return copied("there") == 1 && copied("back") == 1; })) << logs();
  wait_until_quiet();
  EXPECT_EQ(copied("there"), 1);
  EXPECT_EQ(copied("back"), 1);
  push_east(first);  // back to what it was
  expect_both(first.digest());
}

TEST_P(TwoWay, OfPushesAtBothSidesTheNewerWins) {
  const TestImage base = make_image(10);
  push_east(base);
  expect_both(base.digest());
  for (std::uint64_t round = 0; round < 2; ++round) {
    const TestImage older = make_image(20 + round);
    const TestImage newer = make_image(30 + round);
    stop();
    if (round == 0) {
      push_east(older);
      push_west(newer);
    } else {
      push_west(older);
      push_east(newer);
    }
    start();
    expect_both(newer.digest());
    wait_until_quiet();
    expect_both(newer.digest());
  }
}

TEST_P(TwoWay, ManyPushesAtBothSidesEndTheSame) {
  TestImage last = make_image(100);
  for (std::uint64_t i = 0; i < 20; ++i) {
    last = make_image(101 + i, {30'000});
    if (i % 2 == 0) {
      push_east(last);
    } else {
      push_west(last);
    }
  }
  expect_both(last.digest());
  wait_until_quiet();
  expect_both(last.digest());
}

TEST_P(TwoWay, ANewerPushThatACopyCoveredComesBack) {
  const TestImage older = make_image(40);
  const TestImage newer = make_image(41);
  stop();
  push_east(older);
  push_west(newer);
  // As if the copy of the older one had been on its last request when the newer was pushed.
  push_blobs(west_->url(), "mirror/team/app", older);
  ASSERT_EQ(http("PUT", west_->url() + "/v2/mirror/team/app/manifests/v1", older.manifest,
                 {"Content-Type: " + older.media_type, "User-Agent: transship/0.1.0 (eu-west)"})
                .status,
            201);
  start();
  expect_both(newer.digest());
  wait_until_quiet();
  expect_both(newer.digest());
}

INSTANTIATE_TEST_SUITE_P(Fleets, TwoWay, ::testing::Values(Fleet::one_daemon, Fleet::a_daemon_each),
                         name_of);

// --- without events

class TwoWayUntold : public TwoWay {
 protected:
  [[nodiscard]] bool told() const override { return false; }
  void expect_conflicts(int count) {
    for (const char* rule : {"there", "back"})
      EXPECT_EQ(of_rule("transship_drift_images", rule, R"(kind="conflict",)"), count) << logs();
  }
};

TEST_P(TwoWayUntold, TheSideThatMovedSinceBothWereEqualWins) {
  const TestImage images[] = {make_image(50), make_image(51), make_image(52)};
  push_east(images[0]);
  reconcile();
  expect_both(images[0].digest());
  reconcile();
  push_west(images[1]);
  reconcile();
  expect_both(images[1].digest());
  reconcile();
  push_east(images[2]);
  reconcile();
  expect_both(images[2].digest());
  reconcile();
  push_west(images[1]);  // back to what it was before
  reconcile();
  expect_both(images[1].digest());
  expect_conflicts(0);
}

TEST_P(TwoWayUntold, WhereBothMovedItIsReportedAndLeftAlone) {
  const TestImage base = make_image(60);
  const TestImage east = make_image(61);
  const TestImage west = make_image(62);
  push_east(base);
  reconcile();
  expect_both(base.digest());
  reconcile();
  push_east(east);
  push_west(west);
  reconcile();
  expect_conflicts(1);
  EXPECT_EQ(shown_east(), east.digest());
  EXPECT_EQ(shown_west(), west.digest());
  const auto why = nlohmann::json::parse(
      http("GET", daemons_.front()->url() + "/api/v1/why?target=us-east&image=mirror/team/app:v1")
          .body);
  EXPECT_EQ(why["stage"], "unknown") << why;
  EXPECT_EQ(why["last_error"]["kind"], "conflict") << why;
  // An operator decides.
  push_west(east);
  reconcile();
  expect_conflicts(0);
  expect_both(east.digest());
}

TEST_P(TwoWayUntold, SyncGoesByWhatItSawLast) {
  const TestImage base = make_image(80);
  const TestImage east = make_image(81);
  const TestImage west = make_image(82);
  push_east(base);
  stop();
  const auto sync = [&] {
    return run({TRANSSHIP_PROGRAM, "sync", "--config", daemons_.front()->config_file()},
               {"REGION="})
        .exit_code;
  };
  // What `plan` would copy; its exit code where there is none.
  const auto planned = [&] {
    const Finished plan =
        run({TRANSSHIP_PROGRAM, "plan", "--config", daemons_.front()->config_file()}, {"REGION="});
    return plan.output.find("copy ") == std::string::npos || plan.exit_code != 0
               ? std::to_string(plan.exit_code)
               : plan.output;
  };
  EXPECT_EQ(sync(), 0);
  expect_both(base.digest());
  push_west(west);
  const std::string plan = planned();
  EXPECT_NE(plan.find("copy mirror/team/app:v1 to us-east"), std::string::npos) << plan;
  EXPECT_EQ(plan.find("to eu-west"), std::string::npos) << "the newer push stays\n" << plan;
  EXPECT_EQ(sync(), 0);
  expect_both(west.digest());
  push_east(east);
  push_west(base);
  EXPECT_EQ(planned(), "1") << "an exit code, and nothing to copy";
  EXPECT_EQ(sync(), 1);
  EXPECT_EQ(shown_east(), east.digest());
  EXPECT_EQ(shown_west(), base.digest());
}

INSTANTIATE_TEST_SUITE_P(Fleets, TwoWayUntold,
                         ::testing::Values(Fleet::one_daemon, Fleet::a_daemon_each), name_of);

// --- with deletes

class TwoWayDeletes : public TwoWay {
  [[nodiscard]] std::string more_of_the_rules() const override { return ", deletes: propagate"; }
};

TEST_P(TwoWayDeletes, WhatIsDeletedAtOneSideGoesAtTheOtherAndDoesNotComeBack) {
  const TestImage image = make_image(70);
  push_east(image);
  expect_both(image.digest());
  // A rule deletes what it put there or found in step, and so the one back has to look first.
  ASSERT_TRUE(eventually([&] {
    return of_rule("transship_images_total", "back", R"(outcome="unchanged",)") == 1;
  })) << logs();
  ASSERT_EQ(http("DELETE", west_->url() + "/v2/mirror/team/app/manifests/" + image.digest()).status,
            202);
  expect_both("");
  wait_until_quiet();
  reconcile();
  wait_until_quiet();
  expect_both("");
  // The very same may be pushed again, at either side.
  push_west(image);
  expect_both(image.digest());
}

INSTANTIATE_TEST_SUITE_P(Fleets, TwoWayDeletes,
                         ::testing::Values(Fleet::one_daemon, Fleet::a_daemon_each), name_of);

}  // namespace
}  // namespace transship::testing
