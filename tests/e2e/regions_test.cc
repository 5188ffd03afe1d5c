// The worked example of daemon/bus/README.md as it is written there: two regions, each with a NATS
// server and a daemon of its own; eu-west's stream gets the events of us-east over a leaf node.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <optional>

#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/link.h"
#include "tests/support/nats.h"
#include "tests/support/servers.h"

namespace transship::testing {
namespace {

class Regions : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    for (const char* program : {"docker-registry", "nats-server"}) {
      if (!has_program(program)) GTEST_SKIP() << program << " is not installed";
    }
    hub_leaf_port_ = free_port();
    link_port_ = free_port();
    // It tells leaf nodes of its own address, by which they would find a way round the link.
    us_nats_.emplace(nats_configuration(
        "us-east.conf", "\"0.0.0.0:7422\"",
        fmt::format("\"127.0.0.1:{}\", advertise: \"127.0.0.1:{}\"", hub_leaf_port_, link_port_)));
    start_link();
    eu_nats_.emplace(nats_configuration("eu-west.conf", "nats.us-east.example.com:7422",
                                        fmt::format("127.0.0.1:{}", link_port_)));
    const std::uint16_t intake = free_port();
    source_.emplace(DockerRegistry::Options{
        fmt::format("http://127.0.0.1:{}/intake/us-east", intake), true, 0, {}});
    target_.emplace();
    us_daemon_.emplace(TRANSSHIP_PROGRAM, configuration(us_nats_->url()),
                       std::vector<std::string>{"REGION=us-east"}, intake);
    ASSERT_TRUE(us_daemon_->wait_until_ready()) << us_daemon_->log();
    const auto made =
        nats_request(eu_nats_->url(), "$JS.API.STREAM.CREATE.REGISTRY_EVENTS", example(GetParam()));
    ASSERT_TRUE(made.contains("config")) << made.dump();
    eu_daemon_.emplace(TRANSSHIP_PROGRAM, configuration(eu_nats_->url()),
                       std::vector<std::string>{"REGION=eu-west"});
    ASSERT_TRUE(eu_daemon_->wait_until_ready()) << eu_daemon_->log();
  }

  void start_link() { link_.emplace(hub_leaf_port_, Link::Options{.listen = link_port_}); }
  static std::string example(const std::string& file) {
    return read_file(TRANSSHIP_SOURCE_DIR "/daemon/bus/regions/" + file);
  }
  static std::string replaced(std::string text, const std::string& what, const std::string& with) {
    const auto at = text.find(what);
    EXPECT_NE(at, std::string::npos) << what << " is not in " << text;
    return at == std::string::npos ? text : text.replace(at, what.size(), with);
  }
  // The server's own port and directory come from its command line.
  static std::string nats_configuration(const std::string& file, const std::string& address,
                                        const std::string& address_here) {
    std::string text = replaced(example(file), "store_dir: \"/var/lib/nats-server\"", "");
    text = replaced(text, "listen: \"0.0.0.0:4222\"", "");
    return replaced(text, address, address_here);
  }
  [[nodiscard]] std::string configuration(const std::string& nats) const {
    std::string text = example("transship.yaml");
    text = replaced(text, "https://registry.us-east.example.com", source_->url());
    text = replaced(text, "https://registry.eu-west.example.com", target_->url());
    text = replaced(text, "nats://nats.${REGION}.example.com:4222", nats);
    return text + "reconcile: {at_start: false, interval: 7d}\nlog: {level: debug}\n";
  }
  [[nodiscard]] bool arrives(const std::string& tag, const std::string& digest) const {
    return eventually([&] { return digest_at(target_->url(), "team/app", tag) == digest; },
                      std::chrono::seconds(120));
  }
  static std::uint64_t messages(const NatsServer& at) {
    const auto info = nats_request(at.url(), "$JS.API.STREAM.INFO.REGISTRY_EVENTS");
    return info.contains("state") ? info["state"]["messages"].get<std::uint64_t>() : 0;
  }
  [[nodiscard]] std::string logs() const {
    return us_daemon_->log() + "\n----\n" + eu_daemon_->log() + "\n----\n" + eu_nats_->log();
  }

  std::uint16_t hub_leaf_port_ = 0;
  std::uint16_t link_port_ = 0;
  std::optional<NatsServer> us_nats_;
  std::optional<Link> link_;
  std::optional<NatsServer> eu_nats_;
  std::optional<DockerRegistry> source_;
  std::optional<DockerRegistry> target_;
  std::optional<DaemonProcess> us_daemon_;
  std::optional<DaemonProcess> eu_daemon_;
};

INSTANTIATE_TEST_SUITE_P(Stream, Regions,
                         ::testing::Values("eu-west.sources.json", "eu-west.mirror.json"),
                         [](const auto& info) {
                           const std::string file = info.param;
                           return file.substr(8, file.rfind('.') - 8);
                         });

// Of its tag, and before it of the config and two layers.
constexpr int events_of_an_image = 4;

TEST_P(Regions, WhatIsPushedInOneArrivesInTheOther) {
  const std::string digest = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("v1", digest)) << logs();
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
  EXPECT_TRUE(eventually([&] { return unacknowledged(eu_nats_->url(), "eu-west") == 0; }));
  EXPECT_EQ(messages(*us_nats_), events_of_an_image);
  EXPECT_EQ(messages(*eu_nats_), events_of_an_image)
      << "by the leaf node's own subjects it would be there twice";
  EXPECT_EQ(us_daemon_->terminate(), 0);
  EXPECT_EQ(eu_daemon_->terminate(), 0);
}

TEST_P(Regions, WhatIsPushedWhileTheLinkIsDownArrivesAfterwards) {
  const std::string first = push(source_->url(), "team/app", "v1", make_image(1));
  ASSERT_TRUE(arrives("v1", first)) << logs();
  link_.reset();
  std::string last;
  for (std::uint64_t i = 2; i < 12; ++i)
    last = push(source_->url(), "team/app", fmt::format("v{}", i), make_image(i));
  ASSERT_TRUE(eventually([&] { return messages(*us_nats_) == 11 * events_of_an_image; })) << logs();
  EXPECT_EQ(messages(*eu_nats_), events_of_an_image);
  EXPECT_TRUE(eu_daemon_->ready()) << "its own region's bus is there";
  start_link();
  ASSERT_TRUE(arrives("v11", last)) << logs();
  for (std::uint64_t i = 2; i < 12; ++i) {
    EXPECT_TRUE(arrives(fmt::format("v{}", i), make_image(i).digest())) << logs();
  }
}

// eu-west's own registry tells its own region's daemon, and us-east hears nothing of it.
using RegionsWithSources = Regions;
INSTANTIATE_TEST_SUITE_P(Stream, RegionsWithSources, ::testing::Values("eu-west.sources.json"));

TEST_P(RegionsWithSources, TheSecondRegionTakesEventsOfItsOwn) {
  const std::string event =
      R"({"events":[{"id":"1","action":"push","target":{"repository":"team/app","tag":"v1",
          "mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:)" +
      std::string(64, 'a') + R"("}}]})";
  EXPECT_EQ(http("POST", eu_daemon_->url() + "/intake/eu-west", event).status, 202) << logs();
  EXPECT_EQ(messages(*eu_nats_), 1);
  EXPECT_EQ(messages(*us_nats_), 0);
}

// Two regions have a stream each for what was given up.
TEST_P(RegionsWithSources, DeadLettersStayInTheirRegion) {
  for (const NatsServer* at : {&*us_nats_, &*eu_nats_}) {
    const auto info = nats_request(at->url(), "$JS.API.STREAM.INFO.REGISTRY_EVENTS_DEAD");
    ASSERT_TRUE(info.contains("state")) << info.dump();
  }
  nats_request(eu_nats_->url(), "transship.dead.REGISTRY_EVENTS.eu-west.1", "{}");
  const auto dead = [](const NatsServer& at) {
    return nats_request(at.url(), "$JS.API.STREAM.INFO.REGISTRY_EVENTS_DEAD")["state"]["messages"];
  };
  EXPECT_EQ(dead(*eu_nats_), 1);
  EXPECT_EQ(dead(*us_nats_), 0);
}

}  // namespace
}  // namespace transship::testing
