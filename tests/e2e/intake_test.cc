// What registries, monitoring and operators may ask of the daemon over HTTP, and what they are
// answered.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "daemon/bus/jetstream.h"
#include "tests/e2e/healthz.h"
#include "tests/support/http.h"
#include "tests/support/memory_registry.h"
#include "tests/support/servers.h"

namespace transship::testing {
namespace {

using Json = nlohmann::json;

std::string push_event(const std::string& repository, const std::string& tag,
                       const std::string& digest, const std::string& id) {
  return Json{{"events",
               {{{"id", id},
                 {"timestamp", "2026-10-05T08:15:30.123456789Z"},
                 {"action", "push"},
                 {"target",
                  {{"mediaType", oci::media_type::oci_manifest},
                   {"digest", digest},
                   {"repository", repository},
                   {"tag", tag}}}}}}}
      .dump();
}

class IntakeTest : public ::testing::Test {
 protected:
  void start(const std::string& registries_more = {}, const std::string& http_more = {},
             const std::string& bus = {}, std::vector<std::string> environment = {}) {
    daemon.emplace(
        TRANSSHIP_PROGRAM,
        fmt::format(
            "registries:\n  source: {{url: '{}'{}}}\n  target: {{url: '{}'}}\n{}"
            "reconcile: {{at_start: false, interval: 7d}}\n"
            "rules:\n  - {{name: r, source: source, targets: [target], repositories: ['**']}}\n",
            source.url(), registries_more, target.url(), bus),
        std::move(environment), 0, http_more);
    ASSERT_TRUE(daemon->wait_until_ready()) << daemon->log();
  }
  [[nodiscard]] int post(const std::string& path, const std::string& body,
                         const std::vector<std::string>& headers = {}) const {
    return http("POST", daemon->url() + path, body, headers).status;
  }
  [[nodiscard]] double events(const std::string& outcome) const {
    return daemon
        ->metric(
            fmt::format(R"(transship_events_total{{outcome="{}",registry="source"}})", outcome))
        .value_or(-1);
  }

  MemoryRegistry source;
  MemoryRegistry target;
  TemporaryDirectory directory;
  std::optional<DaemonProcess> daemon;
};

TEST_F(IntakeTest, CountsEachEventByWhatBecameOfIt) {
  start();
  const std::string digest = source.hold("team/app", "v1", make_image(1));
  const std::string event = push_event("team/app", "v1", digest, "e1");
  EXPECT_EQ(post("/intake/source", event), 202);
  EXPECT_EQ(post("/intake/source", event), 202) << "a registry repeats itself";
  EXPECT_EQ(post("/intake/source", "{"), 202)
      << "refusing it would make the sender repeat it for ever";
  EXPECT_EQ(post("/intake/source", R"({"events":[{"id":"p","action":"pull","target":{}}]})"), 202);
  EXPECT_EQ(post("/intake/source", R"({"events":[]})"), 202);
  EXPECT_EQ(events("accepted"), 1);
  EXPECT_EQ(events("duplicate"), 1);
  EXPECT_EQ(events("malformed"), 1);
  EXPECT_EQ(events("ignored"), 1);
  EXPECT_TRUE(eventually([&] { return target.digest_of("team/app", "v1") == digest; }))
      << daemon->log();
}

TEST_F(IntakeTest, AnotherHostsEventIsIgnored) {
  start(", events: {format: gar}");
  const std::string host = source.url().substr(std::string("http://").size());
  const std::string digest = source.hold("team/app", "v1", make_image(1));
  const auto event = [&](const std::string& of) {
    return fmt::format(
        R"({{"action":"INSERT","digest":"{0}/team/app@{1}","tag":"{0}/team/app:v1"}})", of, digest);
  };
  EXPECT_EQ(post("/intake/source", event("elsewhere.example.com")), 202);
  EXPECT_EQ(events("ignored"), 1);
  EXPECT_EQ(events("accepted"), 0);
  EXPECT_EQ(post("/intake/source", event(host)), 202);
  EXPECT_EQ(events("accepted"), 1);
  EXPECT_TRUE(eventually([&] { return target.digest_of("team/app", "v1") == digest; }))
      << daemon->log();
}

TEST_F(IntakeTest, AHandshakeIsAnsweredAndWhatComesWithItIsTaken) {
  start(", events: {format: acr}");
  const std::string digest = source.hold("team/app", "v1", make_image(1));
  const Json asks{{"id", "h"},
                  {"eventType", "Microsoft.EventGrid.SubscriptionValidationEvent"},
                  {"data", {{"validationCode", "the-code"}}}};
  const Json pushed{{"id", "p"},
                    {"eventType", "Microsoft.ContainerRegistry.ImagePushed"},
                    {"data",
                     {{"action", "push"},
                      {"target",
                       {{"mediaType", oci::media_type::oci_manifest},
                        {"digest", digest},
                        {"repository", "team/app"},
                        {"tag", "v1"}}}}}};
  const auto answer =
      http("POST", daemon->url() + "/intake/source", Json::array({pushed, asks}).dump());
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(Json::parse(answer.body), (Json{{"validationResponse", "the-code"}}));
  EXPECT_EQ(events("accepted"), 1);
  EXPECT_EQ(events("ignored"), 1);
  EXPECT_TRUE(eventually([&] { return target.digest_of("team/app", "v1") == digest; }))
      << daemon->log();
}

TEST_F(IntakeTest, KnowsItsPaths) {
  start();
  for (const char* cut : {"/%00", "/healthz%00x", "/metrics%00"})
    EXPECT_EQ(http("GET", daemon->url() + cut).status, 404) << cut;
  EXPECT_EQ(post("/intake/source%00x", "{}"), 404);
  EXPECT_EQ(post("/intake/nobody", "{}"), 404);
  EXPECT_EQ(http("GET", daemon->url() + "/intake/source").status, 405);
  EXPECT_EQ(http("GET", daemon->url() + "/nowhere").status, 404);
  EXPECT_EQ(post("/metrics", ""), 405);
  const auto metrics = http("GET", daemon->url() + "/metrics");
  EXPECT_NE(metrics.headers.at("content-type").find("text/plain"), std::string::npos);
  EXPECT_NE(metrics.body.find("transship_build_info{region=\"\",version="), std::string::npos);
  EXPECT_NE(metrics.body.find("process_resident_memory_bytes"), std::string::npos);
  const auto options = http("OPTIONS", daemon->url() + "/intake/source", {},
                            {"WebHook-Request-Origin: eventgrid.example.com"});
  EXPECT_EQ(options.status, 200);
  EXPECT_EQ(options.headers.at("webhook-allowed-origin"), "eventgrid.example.com");
}

TEST_F(IntakeTest, BoundsBodiesAndEvents) {
  start();
  for (int i = 0; i < 20; ++i)  // whoever sends it all without asking sees the answer, too
    EXPECT_EQ(post("/intake/source", std::string((16UL << 20U) + 1, ' ')), 413);
  std::string many = R"({"events":[{"action":"pull"})";
  for (int i = 0; i < 10'000; ++i) many += R"(,{"action":"pull"})";
  EXPECT_EQ(post("/intake/source", many + "]}"), 413);
  EXPECT_EQ(post("/intake/source", R"({"events":[]})"), 202) << "and goes on";
}

TEST_F(IntakeTest, AsksForTheRightToken) {
  write_file(directory / "http", "old-token\nnew-token\n");
  write_file(directory / "own", "own-token\n");
  start(fmt::format(", events: {{token_file: {}}}", (directory / "own").string()),
        fmt::format(", token_file: {}", (directory / "http").string()));
  for (const char* open : {"/metrics", "/healthz", "/readyz"}) {
    EXPECT_EQ(http("GET", daemon->url() + open).status, 200) << open;
  }
  const auto status = [&](const std::string& token) {
    return http("GET", daemon->url() + "/api/v1/status", {}, {"Authorization: Bearer " + token})
        .status;
  };
  EXPECT_EQ(http("GET", daemon->url() + "/api/v1/status").status, 401);
  EXPECT_EQ(status("old-token"), 200);
  EXPECT_EQ(status("new-token"), 200) << "any of the file's";
  EXPECT_EQ(status("own-token"), 401) << "an intake token opens nothing but its intake";
  const std::string nothing = R"({"events":[]})";
  EXPECT_EQ(post("/intake/source", nothing), 401);
  EXPECT_EQ(post("/intake/source", nothing, {"Authorization: Bearer old-token"}), 401)
      << "it has its own";
  EXPECT_EQ(post("/intake/source", nothing, {"Authorization: Bearer own-token"}), 202);
  EXPECT_EQ(post("/intake/source?token=own-token", nothing), 202);
  EXPECT_EQ(post("/intake/target?token=own-token", nothing), 401);
  EXPECT_EQ(post("/intake/target", nothing, {"Authorization: Bearer new-token"}), 202);
  // Another one holds at once. One that cannot be read is our trouble, and drops nobody's event.
  write_file(directory / "own", "next-token\n");
  EXPECT_EQ(post("/intake/source?token=next-token", nothing), 202);
  EXPECT_EQ(post("/intake/source?token=own-token", nothing), 401);
  write_file(directory / "own", "");
  EXPECT_EQ(post("/intake/source?token=next-token", nothing), 202) << "known before";
  EXPECT_EQ(post("/intake/source?token=last-token", nothing), 503);
  write_file(directory / "own", "own-token\n");
  EXPECT_EQ(post("/intake/source?token=last-token", nothing), 401);
  EXPECT_EQ(daemon->log().find("own-token"), std::string::npos);
  const auto asked =
      run({TRANSSHIP_PROGRAM, "status", "--config", daemon->config_file(), "--output", "json"});
  EXPECT_EQ(asked.exit_code, 0) << asked.errors;
  EXPECT_EQ(Json::parse(asked.output)["pairs"][0]["rule"], "r");
}

// As many connections, each with half of a request.
class SlowClients {
 public:
  SlowClients(const std::string& url, int count) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1))));
    for (int i = 0; i < count; ++i) {
      const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockets_.push_back(socket);
      EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
      const std::string half =
          i % 2 == 0 ? "POST /intake/source HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nab"
                     : "GET /healthz HTTP/1.1\r\nHos";
      EXPECT_EQ(::send(socket, half.data(), half.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(half.size()));
    }
  }
  ~SlowClients() {
    for (const int socket : sockets_) ::close(socket);
  }
  SlowClients(const SlowClients&) = delete;
  SlowClients& operator=(const SlowClients&) = delete;

 private:
  std::vector<int> sockets_;
};

TEST_F(IntakeTest, SlowClientsBlockNobody) {
  start();
  const SlowClients slow(daemon->url(), 200);
  EXPECT_EQ(http("GET", daemon->url() + "/healthz").status, 200);
  EXPECT_EQ(post("/intake/source", R"({"events":[]})"), 202);
}

TEST_F(IntakeTest, MoreSlowClientsThanPlacesBlockNobody) {
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  if (files.rlim_max < 4096) GTEST_SKIP() << "too few files may be open";
  rlimit more = files;
  more.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &more), 0);
  start();
  {
    const SlowClients slow(daemon->url(), 1400);
    EXPECT_EQ(http("GET", daemon->url() + "/healthz").status, 200);
    EXPECT_EQ(post("/intake/source", R"({"events":[]})"), 202);
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
}

TEST_F(IntakeTest, TimedASlowRegistryAndASlowDiskDoNotDelayHealthz) {
  target.set_fault([](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path != "/v2/") std::this_thread::sleep_for(std::chrono::milliseconds(700));
    return std::nullopt;
  });
  start({}, {}, {},
        {std::string("LD_PRELOAD=") + TRANSSHIP_SLOW_DISK, "SLOW_DISK_MS=500",
         "ASAN_OPTIONS=verify_asan_link_order=0"});
  std::thread pusher([&] {
    for (std::uint64_t i = 0; i < 10; ++i) {
      const std::string tag = fmt::format("v{}", i);
      const std::string digest = source.hold("team/app", tag, make_image(i, {2'000'000}));
      EXPECT_EQ(post("/intake/source", push_event("team/app", tag, digest, "e" + tag)), 202);
    }
  });
  const auto figures =
      measure_healthz(daemon->url(), source.url() + "/v2/", std::chrono::seconds(4));
  pusher.join();
  EXPECT_GT(figures.samples, 20);
  EXPECT_LT(figures.slowest.count(), 100) << daemon->log();
  EXPECT_EQ(daemon->log().find("cannot be preloaded"), std::string::npos)
      << "the disk was not slow";
}

// --- JetStream
// ----------------------------------------------------------------------------------------------------------

TEST_F(IntakeTest, AnEventPublishedStraightToTheStreamIsAsGoodAsAWebhook) {
  if (!has_program("nats-server")) GTEST_SKIP() << "nats-server is not installed";
  NatsServer nats;
  start({}, {}, fmt::format("bus: {{type: jetstream, servers: ['{}']}}\n", nats.url()));
  const std::string digest = source.hold("team/app", "v1", make_image(1));
  const std::string event = push_event("team/app", "v1", digest, "e1");
  asio::io_context loop;
  bus::JetStream other({{nats.url()}, "REGISTRY_EVENTS", {"registry.events.>"}});
  asio::co_spawn(
      loop,
      [](bus::JetStream& bus, std::string body) -> asio::awaitable<void> {
        EXPECT_TRUE(co_await bus.open());
        std::vector<bus::Message> messages{{"source", std::move(body), {}, {}}};
        EXPECT_TRUE(co_await bus.publish(std::move(messages)));
        co_await bus.close();
      }(other, event),
      [](const std::exception_ptr&) {});
  loop.run();
  EXPECT_TRUE(eventually([&] { return target.digest_of("team/app", "v1") == digest; }))
      << daemon->log();
  EXPECT_TRUE(eventually([&] { return events("accepted") == 1; }))
      << "counted where it was first read";
}

TEST_F(IntakeTest, AnEventThatTheBusCannotCarryIsRefusedWhole) {
  if (!has_program("nats-server")) GTEST_SKIP() << "nats-server is not installed";
  NatsServer nats;
  start({}, {}, fmt::format("bus: {{type: jetstream, servers: ['{}']}}\n", nats.url()));
  Json body = Json::parse(push_event("team/app", "v1", "sha256:" + std::string(64, 'a'), "small"));
  Json large = body["events"][0];
  large["id"] = "large";
  large["padding"] = std::string(2'000'000, 'x');
  body["events"].push_back(large);
  EXPECT_EQ(post("/intake/source", body.dump()), 413);
  EXPECT_EQ(events("accepted"), 0);
  EXPECT_EQ(daemon->metric("transship_bus_pending_events"), 0);
}

// --- an event before its tag
// ----------------------------------------------------------------------------------------------

TEST_F(IntakeTest, AnEventThatComesBeforeItsTagIsLookedAtAgain) {
  start();
  const TestImage before = make_image(1);
  const TestImage after = make_image(2);
  source.hold("team/app", "v1", before);
  EXPECT_EQ(post("/intake/source", push_event("team/app", "v1", after.digest(), "e1")), 202);
  // The old version crosses first; then the registry serves what it told of.
  EXPECT_TRUE(eventually([&] { return target.digest_of("team/app", "v1") == before.digest(); }))
      << daemon->log();
  source.hold("team/app", "v1", after);
  EXPECT_TRUE(eventually([&] { return target.digest_of("team/app", "v1") == after.digest(); },
                         std::chrono::seconds(5)))
      << daemon->log();
}

TEST_F(IntakeTest, AnEventOfATagThatIsNotThereIsLookedAtAgainAndThenBelieved) {
  start();
  const TestImage image = make_image(1);
  EXPECT_EQ(post("/intake/source", push_event("team/app", "late", image.digest(), "e1")), 202);
  EXPECT_TRUE(eventually([&] { return source.count("GET", "/manifests/late") >= 2; }))
      << daemon->log();
  source.hold("team/app", "late", image);
  EXPECT_TRUE(eventually([&] { return target.digest_of("team/app", "late") == image.digest(); }))
      << daemon->log();
  EXPECT_EQ(post("/intake/source", push_event("team/app", "never", image.digest(), "e2")), 202);
  EXPECT_TRUE(eventually([&] {
    return daemon
               ->metric(R"(transship_images_total{outcome="superseded",rule="r",target="target"})")
               .value_or(0) == 1;
  })) << daemon->log();
  EXPECT_EQ(daemon->metric(R"(transship_oldest_pending_seconds{rule="r",target="target"})"), 0);
}

TEST_F(IntakeTest, ManyPushesOfOneTagEndWithTheNewest) {
  start();
  std::string newest;
  for (std::uint64_t i = 0; i < 50; ++i) {
    newest = source.hold("team/app", "latest", make_image(100 + i, {200}));
    EXPECT_EQ(
        post("/intake/source", push_event("team/app", "latest", newest, fmt::format("e{}", i))),
        202);
  }
  EXPECT_TRUE(eventually([&] { return target.digest_of("team/app", "latest") == newest; }))
      << daemon->log();
  EXPECT_TRUE(eventually([&] {
    return daemon->metric(R"(transship_pending_images{rule="r",target="target"})") == 0;
  })) << daemon->log();
  EXPECT_EQ(target.digest_of("team/app", "latest"), newest);
}

TEST_F(IntakeTest, ASubscriptionOfSnsIsShownToTheOperator) {
  start(", events: {format: ecr}");
  const std::string address =
      "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37";
  const Json question{{"Type", "SubscriptionConfirmation"}, {"SubscribeURL", address}};
  EXPECT_EQ(post("/intake/source", question.dump(), {"Content-Type: text/plain"}), 202);
  EXPECT_TRUE(eventually([&] {
    return daemon->log().find(Json{{"confirm_at", address}}.dump().substr(1, 40)) !=
           std::string::npos;
  })) << daemon->log();
  EXPECT_EQ(events("ignored"), 1);

  const std::string digest = source.hold("team/app", "v1", make_image(1));
  const Json event{{"id", "1"},
                   {"source", "aws.ecr"},
                   {"detail-type", "ECR Image Action"},
                   {"detail",
                    {{"result", "SUCCESS"},
                     {"action-type", "PUSH"},
                     {"repository-name", "team/app"},
                     {"image-tag", "v1"},
                     {"image-digest", digest}}}};
  const Json envelope{{"Type", "Notification"}, {"Message", event.dump()}};
  EXPECT_EQ(post("/intake/source", envelope.dump(), {"Content-Type: text/plain"}), 202);
  EXPECT_TRUE(eventually([&] { return target.digest_of("team/app", "v1") == digest; }))
      << daemon->log();
}

TEST_F(IntakeTest, OneBadImageHoldsNothingElseBack) {
  start();
  const TestImage bad = make_image(1);
  const std::string bad_digest = source.hold("team/bad", "v1", bad);
  source.drop_blob("team/bad", bad.blobs.begin()->first);
  EXPECT_EQ(post("/intake/source", push_event("team/bad", "v1", bad_digest, "bad")), 202);
  EXPECT_TRUE(eventually([&] {
    return daemon->metric(R"(transship_images_total{outcome="failed",rule="r",target="target"})")
               .value_or(0) >= 1;
  })) << daemon->log();
  const std::string digest = source.hold("team/good", "v1", make_image(2));
  EXPECT_EQ(post("/intake/source", push_event("team/good", "v1", digest, "good")), 202);
  EXPECT_TRUE(eventually([&] { return target.digest_of("team/good", "v1") == digest; }))
      << daemon->log();
  EXPECT_EQ(target.digest_of("team/bad", "v1"), "") << "no tag before its closure";
  const auto pair = Json::parse(http("GET", daemon->url() + "/api/v1/status").body)["pairs"][0];
  EXPECT_GE(pair["pending_images"], 1);
}

}  // namespace
}  // namespace transship::testing
