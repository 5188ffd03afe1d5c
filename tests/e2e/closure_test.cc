// What a daemon's closure passes find behind tags that show the right digest.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/servers.h"

namespace transship::testing {
namespace {

class Closure : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_program("docker-registry")) GTEST_SKIP() << "docker-registry is not installed";
    source.emplace();
    target.emplace();
  }
  void start(const std::string& closure) {
    daemon.emplace(TRANSSHIP_PROGRAM,
                   fmt::format("registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'}}\n"
                               "reconcile: {{at_start: true, interval: 7d, closure: {}}}\n"
                               "log: {{level: debug}}\n"
                               "rules:\n  - {{name: all, source: us-east, targets: [eu-west], "
                               "repositories: '**'}}\n",
                               source->url(), target->url(), closure));
    ASSERT_TRUE(daemon->wait_until_ready()) << daemon->log();
  }
  bool arrives(const TestImage& image) const {
    return eventually([&] { return digest_at(target->url(), "team/app", "v1") == image.digest(); });
  }
  // The target's storage loses what it knows of one layer in this repository.
  void lose_a_blob(const TestImage& image) const {
    std::filesystem::remove_all(target->storage() / "repositories/team/app/_layers/sha256" /
                                image.blobs.begin()->first.substr(7));
    ASSERT_NE(incompleteness(target->url(), "team/app", "v1"), "");
  }
  [[nodiscard]] double metric(const std::string& name, const std::string& more = {}) const {
    return daemon->metric(fmt::format(R"({}{{{}rule="all",target="eu-west"}})", name, more))
        .value_or(-1);
  }
  void reconcile(const std::string& body) const {
    const std::string passes = "transship_reconcile_last_success_timestamp_seconds";
    const double before = metric(passes);
    ASSERT_EQ(http("POST", daemon->url() + "/api/v1/reconcile", body).status, 202);
    ASSERT_TRUE(eventually([&] { return metric(passes) > before; })) << daemon->log();
  }
  [[nodiscard]] double incomplete() const {
    return metric("transship_drift_images", R"(kind="incomplete",)");
  }

  std::optional<DockerRegistry> source;
  std::optional<DockerRegistry> target;
  std::optional<DaemonProcess> daemon;
};

TEST_F(Closure, IsCheckedAndRepairedWhenAskedFor) {
  const TestImage image = make_image(1);
  push(source->url(), "team/app", "v1", image);
  start("7d");
  ASSERT_TRUE(arrives(image)) << daemon->log();
  lose_a_blob(image);
  const std::string signature = referrers_tag(image.digest(), "sig");
  push(source->url(), "team/app", signature, make_signature(1));

  reconcile("{}");
  EXPECT_EQ(incomplete(), 0) << "the digests are equal, and nobody asked for more";
  reconcile(R"({"closure":true})");
  EXPECT_EQ(incomplete(), 1);
  EXPECT_TRUE(eventually([&] { return incompleteness(target->url(), "team/app", "v1").empty(); }))
      << daemon->log();
  EXPECT_TRUE(eventually([&] {
    return digest_at(target->url(), "team/app", signature) == make_signature(1).digest();
  })) << daemon->log();
  EXPECT_TRUE(eventually([&] { return metric("transship_pending_images") == 0; }));
  reconcile(R"({"closure":true})");
  EXPECT_EQ(incomplete(), 0);
  EXPECT_EQ(http("POST", daemon->url() + "/api/v1/reconcile", R"({"closure":1})").status, 400);
}

TEST_F(Closure, IsCheckedEveryNowAndThen) {
  const TestImage image = make_image(1);
  push(source->url(), "team/app", "v1", image);
  start("1s");
  ASSERT_TRUE(arrives(image)) << daemon->log();
  lose_a_blob(image);
  EXPECT_TRUE(eventually([&] { return incompleteness(target->url(), "team/app", "v1").empty(); }))
      << daemon->log();
}

TEST_F(Closure, IsRememberedAcrossARestart) {
  const TestImage image = make_image(1);
  push(source->url(), "team/app", "v1", image);
  start("7d");
  ASSERT_TRUE(arrives(image)) << daemon->log();
  reconcile(R"({"closure":true})");
  ASSERT_EQ(daemon->terminate(), 0);
  const std::string state =
      (std::filesystem::path(daemon->config_file()).parent_path() / "state").string();
  EXPECT_NE(read_file(state + "/closure-passes").find(" all "), std::string::npos);
  // A pass that is long over is due at once.
  write_file(state + "/closure-passes", fmt::format("1 all {} {}\n", source->url(), target->url()));
  lose_a_blob(image);
  daemon->start();
  EXPECT_TRUE(eventually([&] { return incompleteness(target->url(), "team/app", "v1").empty(); }))
      << daemon->log();
}

}  // namespace
}  // namespace transship::testing
