// Many pushes of one image that wait together are few looks at the registries.
#include "tests/e2e/two_registries.h"

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

}  // namespace
}  // namespace transship::testing
