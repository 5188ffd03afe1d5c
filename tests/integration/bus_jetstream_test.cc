#include "daemon/bus/jetstream.h"

#include <gtest/gtest.h>
#include <nats/nats.h>

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "daemon/bus/jetstream_checks.h"
#include "tests/integration/bus_fixture.h"
#include "tests/integration/bus_nats_server.h"

namespace transship::bus {
namespace {

using namespace std::chrono_literals;
using testing::Loop;
using testing::message;
using testing::NatsServer;
using testing::one;

class JetStreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!NatsServer::installed()) GTEST_SKIP() << "nats-server is not installed";
    server_.start();
  }

  JetStreamOptions options() {
    return {.servers = {server_.url()},
            .stream = "REGISTRY_EVENTS",
            .subjects = {"registry.events.>"},
            .lease = 1s};
  }

  void publish(JetStream& bus, const std::string& body) {
    loop_.run_until([&] { return loop_.run(bus.publish(one(message(body, body)))).has_value(); });
  }

  // Makes or changes something on the server behind the bus's back.
  void as_operator(const std::function<natsStatus(jsCtx*, jsErrCode*)>& act) {
    natsConnection* connection = nullptr;
    ASSERT_EQ(natsConnection_ConnectTo(&connection, server_.url().c_str()), NATS_OK);
    jsCtx* context = nullptr;
    ASSERT_EQ(natsConnection_JetStream(&context, connection, nullptr), NATS_OK);
    jsErrCode code{};
    EXPECT_EQ(act(context, &code), NATS_OK) << nats_GetLastError(nullptr);
    jsCtx_Destroy(context);
    natsConnection_Destroy(connection);
  }

  void make_stream(const std::function<void(jsStreamConfig&)>& change) {
    as_operator([&](jsCtx* context, jsErrCode* code) {
      const char* subjects[] = {"registry.events.>"};
      jsStreamConfig config;
      jsStreamConfig_Init(&config);
      config.Name = "REGISTRY_EVENTS";
      config.Subjects = subjects;
      config.SubjectsLen = 1;
      config.Duplicates = std::chrono::nanoseconds(2min).count();
      change(config);
      return js_AddStream(nullptr, context, &config, nullptr, code);
    });
  }

  void make_consumer(const std::function<void(jsConsumerConfig&)>& change) {
    as_operator([&](jsCtx* context, jsErrCode* code) {
      jsConsumerConfig config;
      jsConsumerConfig_Init(&config);
      config.Durable = "transship-eu-west";
      config.AckPolicy = js_AckExplicit;
      config.AckWait = std::chrono::nanoseconds(20s).count();
      change(config);
      return js_AddConsumer(nullptr, context, "REGISTRY_EVENTS", &config, nullptr, code);
    });
  }

  // What open_inbox() says about that consumer.
  Result<void> open_inbox_after(const std::function<void(jsConsumerConfig&)>& change) {
    JetStream bus(options());
    if (auto opened = loop_.run(bus.open()); !opened) return opened;
    make_consumer(change);
    auto inbox = loop_.run(bus.open_inbox("eu-west"));
    if (!inbox) return fail(inbox.error());
    EXPECT_LE((*inbox)->lease(), 30s);
    return {};
  }

  void expect_refused(const Result<void>& result, const std::string& word) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::invalid);
    EXPECT_NE(result.error().message.find(word), std::string::npos) << result.error().message;
  }

  NatsServer server_;
  Loop loop_;
};

TEST_F(JetStreamTest, TheStreamItMakesCanKeepThePromises) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  EXPECT_TRUE(bus.warnings().empty()) << bus.warnings().front();
  as_operator([](jsCtx* context, jsErrCode* code) {
    jsStreamInfo* info = nullptr;
    const natsStatus s = js_GetStreamInfo(&info, context, "REGISTRY_EVENTS", nullptr, code);
    EXPECT_EQ(info->Config->Storage, js_FileStorage);
    EXPECT_EQ(info->Config->Retention, js_LimitsPolicy);
    EXPECT_EQ(info->Config->MaxAge, std::chrono::nanoseconds(stream_max_age).count());
    EXPECT_EQ(info->Config->Duplicates, std::chrono::nanoseconds(2min).count());
    jsStreamInfo_Destroy(info);
    return s;
  });
}

TEST_F(JetStreamTest, TheSubjectNamesTheRegistry) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  ASSERT_TRUE(loop_.run(bus.publish(one(message("m", "id")))));
  as_operator([](jsCtx* context, jsErrCode* code) {
    natsMsg* raw = nullptr;
    const natsStatus s = js_GetMsg(&raw, context, "REGISTRY_EVENTS", 1, nullptr, code);
    const char* id = nullptr;
    EXPECT_STREQ(natsMsg_GetSubject(raw), "registry.events.us-east");
    EXPECT_EQ(natsMsgHeader_Get(raw, "Nats-Msg-Id", &id), NATS_OK);
    EXPECT_STREQ(id, "us-east/id");
    natsMsg_Destroy(raw);
    return s;
  });
}

TEST_F(JetStreamTest, WhatWasPublishedStraightToTheStreamIsDelivered) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  as_operator([](jsCtx* context, jsErrCode*) {
    natsMsg* raw = nullptr;
    natsMsg_Create(&raw, "registry.events.zot", nullptr, "body", 4);
    natsMsgHeader_Set(raw, "Ce-Type", "zotregistry.image.updated");
    const natsStatus s = js_PublishMsg(nullptr, context, raw, nullptr, nullptr);
    natsMsg_Destroy(raw);
    return s;
  });
  auto inbox = loop_.run(bus.open_inbox("eu-west"));
  auto got = loop_.run((*inbox)->fetch(10));
  ASSERT_EQ(got->size(), 1U);
  EXPECT_EQ(got->front().message.registry, "zot");
  EXPECT_EQ(got->front().message.headers.at("ce-type"), "zotregistry.image.updated");
  EXPECT_FALSE(got->front().message.id.has_value());
}

TEST_F(JetStreamTest, AServerThatGoesAwayIsWaitedFor) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  auto inbox = loop_.run(bus.open_inbox("eu-west"));
  publish(bus, "answered");
  publish(bus, "unanswered");
  auto got = loop_.run((*inbox)->fetch(10));
  ASSERT_EQ(got->size(), 2U);
  (*inbox)->acknowledge(got->front());
  loop_.run_until([&] { return loop_.run((*inbox)->backlog())->messages == 1; });

  server_.stop();
  loop_.run_until([&] { return !bus.connected(); });
  auto refused = loop_.run(bus.publish(one(message("lost"))));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::transient);
  EXPECT_TRUE(refused.error().unanswered);
  EXPECT_EQ(loop_.run((*inbox)->backlog()).error().kind, ErrorKind::transient);
  EXPECT_EQ(loop_.run(bus.open()).error().kind, ErrorKind::transient);
  std::optional<Result<std::vector<Delivery>>> fetched;
  const auto fetch = [](Inbox& in, auto& result) -> asio::awaitable<void> {
    result = co_await in.fetch(10);
  };
  loop_.start(fetch(**inbox, fetched));

  server_.start();
  loop_.run_until([&] { return fetched.has_value(); });
  ASSERT_TRUE(*fetched) << fetched->error().message;
  publish(bus, "after");
  // The killed server may have forgotten the acknowledgement: then "answered" comes again, which is
  // allowed.
  std::set<std::string> seen;
  std::vector<Delivery> last = std::move(**fetched);
  while (!seen.contains("unanswered") || !seen.contains("after")) {
    for (const Delivery& delivery : last) {
      seen.insert(delivery.message.body);
      (*inbox)->acknowledge(delivery);
    }
    if (seen.contains("unanswered") && seen.contains("after")) break;
    last = loop_.run((*inbox)->fetch(10)).value();
  }
  loop_.run_until([&] { return loop_.run((*inbox)->backlog())->messages == 0; });
  EXPECT_TRUE(loop_.run(bus.open()));
}

TEST_F(JetStreamTest, NothingAcknowledgedIsLostByAKillOfTheServer) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  auto inbox = loop_.run(bus.open_inbox("eu-west"));
  std::set<std::string> durable;
  int outstanding = 0;
  const auto send = [](JetStream& to, int i, auto& stored, int& left) -> asio::awaitable<void> {
    const std::string body = std::to_string(i);
    auto done = co_await to.publish(one(message(body)));
    if (done) stored.insert(body);
    --left;
  };
  for (int i = 0; i < 2000; ++i, ++outstanding) {
    loop_.start(send(bus, i, durable, outstanding));
  }
  loop_.run_until([&] { return durable.size() > 200; });
  server_.stop();
  loop_.run_until([&] { return outstanding == 0; });
  server_.start();
  std::set<std::string> there;
  while (!std::includes(there.begin(), there.end(), durable.begin(), durable.end())) {
    auto got = loop_.run((*inbox)->fetch(1000));
    ASSERT_TRUE(got);
    for (const Delivery& delivery : *got) {
      there.insert(delivery.message.body);
      (*inbox)->acknowledge(delivery);
    }
  }
}

TEST_F(JetStreamTest, AServerThatIsDownAtTheStartIsTransient) {
  server_.stop();
  JetStream bus(options());
  auto opened = loop_.run(bus.open());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::transient);
  EXPECT_TRUE(opened.error().unanswered);
  EXPECT_NE(opened.error().message.find(server_.url()), std::string::npos);
  EXPECT_FALSE(bus.connected());
  server_.start();
  loop_.run_until([&] { return loop_.run(bus.open()).has_value(); });
  publish(bus, "m");
}

TEST_F(JetStreamTest, AServerThatHangsFailsThePublishInTime) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  server_.freeze();
  auto refused = loop_.run(bus.publish(one(message("m", "id"))));
  server_.thaw();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::transient);
  publish(bus, "id");
}

TEST_F(JetStreamTest, AServerThatHangsDoesNotBlockTheLoop) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  server_.freeze();
  int answered = 0;
  const auto send = [](JetStream& to, int& count) -> asio::awaitable<void> {
    std::ignore = co_await to.publish(one(message(std::string(900'000, 'x'))));
    ++count;
  };
  // More than the socket takes, so that a thread of the bus waits in its write.
  for (int i = 0; i < 30; ++i) loop_.start(send(bus, answered));
  auto longest = std::chrono::steady_clock::duration::zero();
  loop_.run_until([&] {
    const auto since = std::chrono::steady_clock::now();
    std::ignore = bus.connected();
    std::ignore = bus.max_message_bytes();
    longest = std::max(longest, std::chrono::steady_clock::now() - since);
    return answered == 30;
  });
  server_.thaw();
  EXPECT_LT(longest, 500ms);  // a write waits for two seconds
}

// As the leader of a cluster that dies before it has confirmed.
TEST_F(JetStreamTest, AnEventThatNobodyConfirmsFailsInTime) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  as_operator([](jsCtx* context, jsErrCode* code) {
    return js_DeleteStream(context, "REGISTRY_EVENTS", nullptr, code);
  });
  natsConnection* connection = nullptr;
  natsSubscription* listener = nullptr;
  ASSERT_EQ(natsConnection_ConnectTo(&connection, server_.url().c_str()), NATS_OK);
  ASSERT_EQ(natsConnection_SubscribeSync(&listener, connection, "registry.events.>"), NATS_OK);
  ASSERT_EQ(natsConnection_Flush(connection), NATS_OK);
  auto refused = loop_.run(bus.publish(one(message("m", "id"))));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::transient);
  EXPECT_TRUE(refused.error().unanswered);
  natsSubscription_Destroy(listener);
  natsConnection_Destroy(connection);
  // What came too late is no answer to anything else.
  loop_.run_until([&] {
    return loop_.run(bus.open()).has_value() &&
           loop_.run(bus.publish(one(message("m", "id")))).has_value();
  });
}

TEST_F(JetStreamTest, ClosesWhileTheServerIsAway) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  auto inbox = loop_.run(bus.open_inbox("eu-west"));
  publish(bus, "m");
  auto got = loop_.run((*inbox)->fetch(10));
  server_.stop();
  loop_.run_until([&] { return !bus.connected(); });
  for (int i = 0; i < 1000; ++i) (*inbox)->in_progress(got->front());
  loop_.run(bus.close());
}

TEST_F(JetStreamTest, ARefusedConnectionIsMadeAgain) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  auto inbox = loop_.run(bus.open_inbox("eu-west"));
  std::optional<Result<std::vector<Delivery>>> fetched;
  const auto fetch = [](Inbox& in, auto& result) -> asio::awaitable<void> {
    result = co_await in.fetch(10);
  };
  server_.stop();
  server_.configure("authorization { token: other }\n");
  server_.start();
  loop_.run_until([&] {
    auto opened = loop_.run(bus.open());
    return !opened && opened.error().kind == ErrorKind::unauthorized;
  });
  server_.stop();
  server_.configure("");
  server_.start();
  loop_.start(fetch(**inbox, fetched));
  publish(bus, "m");
  loop_.run_until([&] { return fetched.has_value(); });
  EXPECT_TRUE(*fetched) << fetched->error().message;
}

TEST_F(JetStreamTest, AStreamThatVanishedIsMadeAgain) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  auto inbox = loop_.run(bus.open_inbox("eu-west"));
  std::optional<Result<std::vector<Delivery>>> fetched;
  const auto fetch = [](Inbox& in, auto& result) -> asio::awaitable<void> {
    result = co_await in.fetch(10);
  };
  loop_.start(fetch(**inbox, fetched));
  as_operator([](jsCtx* context, jsErrCode* code) {
    return js_DeleteStream(context, "REGISTRY_EVENTS", nullptr, code);
  });
  publish(bus, "m");  // fails until it is there again
  loop_.run_until([&] { return fetched.has_value(); });
  ASSERT_TRUE(*fetched) << fetched->error().message;
  EXPECT_EQ((*fetched)->front().message.body, "m");
}

TEST_F(JetStreamTest, AConsumerThatVanishedIsMadeAgain) {
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  auto inbox = loop_.run(bus.open_inbox("eu-west"));
  as_operator([](jsCtx* context, jsErrCode* code) {
    return js_DeleteConsumer(context, "REGISTRY_EVENTS", "transship-eu-west", nullptr, code);
  });
  publish(bus, "m");
  auto got = loop_.run((*inbox)->fetch(10));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->front().message.body, "m");
}

TEST_F(JetStreamTest, TwoDaemonsShareAConsumer) {
  JetStream first(options());
  JetStream second(options());
  ASSERT_TRUE(loop_.run(first.open()));
  ASSERT_TRUE(loop_.run(second.open()));
  auto a = loop_.run(first.open_inbox("eu-west"));
  auto b = loop_.run(second.open_inbox("eu-west"));
  publish(first, "1");
  publish(first, "2");
  std::set<std::string> seen;
  seen.insert(loop_.run((*a)->fetch(1))->front().message.body);
  seen.insert(loop_.run((*b)->fetch(1))->front().message.body);
  EXPECT_EQ(seen, (std::set<std::string>{"1", "2"}));
}

TEST_F(JetStreamTest, AServerWithoutJetStreamIsNoBus) {
  server_.stop();
  server_.configure(
      "accounts { A { users: [{user: a, password: a}], jetstream: enabled }, "
      "B { users: [{user: b, password: b}] } }\nno_auth_user: b\n");
  server_.start();
  JetStream bus(options());
  auto opened = loop_.run(bus.open());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::unsupported) << opened.error().message;
}

TEST_F(JetStreamTest, AStreamThatCannotKeepThePromisesIsRefused) {
  struct Case {
    std::function<void(jsStreamConfig&)> change;
    std::string word;
  };
  static const char* other[] = {"registry.other.>"};
  const std::vector<Case> cases{
      {[](auto& c) { c.Retention = js_WorkQueuePolicy; }, "work-queue"},
      {[](auto& c) { c.Storage = js_MemoryStorage; }, "memory"},
      {[](auto& c) { c.NoAck = true; }, "no_ack"},
      {[](auto& c) { c.MaxMsgs = 10; }, "max_msgs"},
      {[](auto& c) { c.MaxMsgsPerSubject = 1; }, "max_msgs_per_subject"},
      {[](auto& c) { c.MaxMsgs = 1'000'000, c.Discard = js_DiscardNew; }, "max_age"},
      {[](auto& c) { c.Subjects = other; }, "registry.events.>"},
  };
  for (const Case& each : cases) {
    make_stream(each.change);
    JetStream bus(options());
    expect_refused(loop_.run(bus.open()), each.word);
    as_operator([](jsCtx* context, jsErrCode* code) {
      return js_DeleteStream(context, "REGISTRY_EVENTS", nullptr, code);
    });
  }
}

TEST_F(JetStreamTest, AStreamThatWeakensThePromisesIsWarnedOf) {
  make_stream([](jsStreamConfig& c) {
    c.Retention = js_InterestPolicy;
    c.MaxAge = std::chrono::nanoseconds(1h).count();
    c.Duplicates = std::chrono::nanoseconds(1s).count();
    c.MaxMsgs = 5000;
    c.MaxMsgSize = 4096;
  });
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  EXPECT_EQ(bus.warnings().size(), 4U);
  EXPECT_EQ(bus.max_message_bytes(), 4096U - 1024U);
}

TEST_F(JetStreamTest, AStreamThatMayBeFullForAWhileIsWarnedOf) {
  make_stream([](jsStreamConfig& c) {
    c.MaxAge = std::chrono::nanoseconds(48h).count();
    c.MaxMsgs = 5000;
    c.Discard = js_DiscardNew;
  });
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  ASSERT_EQ(bus.warnings().size(), 1U);
  EXPECT_NE(bus.warnings()[0].find("discard new"), std::string::npos) << bus.warnings()[0];
}

TEST_F(JetStreamTest, AConsumerThatCannotKeepThePromisesIsRefused) {
  EXPECT_TRUE(open_inbox_after([](jsConsumerConfig&) {}));
  const auto refuse = [&](const std::string& word, const auto& change) {
    as_operator([](jsCtx* context, jsErrCode* code) {
      return js_DeleteConsumer(context, "REGISTRY_EVENTS", "transship-eu-west", nullptr, code);
    });
    expect_refused(open_inbox_after(change), word);
  };
  refuse("push", [](jsConsumerConfig& c) { c.DeliverSubject = "somewhere"; });
  refuse("ack policy", [](jsConsumerConfig& c) { c.AckPolicy = js_AckAll; });
  refuse("max_deliver", [](jsConsumerConfig& c) { c.MaxDeliver = 5; });
  refuse("ack_wait",
         [](jsConsumerConfig& c) { c.AckWait = std::chrono::nanoseconds(31s).count(); });
  refuse("headers", [](jsConsumerConfig& c) { c.HeadersOnly = true; });
  refuse("filter_subject", [](jsConsumerConfig& c) { c.FilterSubject = "registry.events.one"; });
  // To look at it makes none.
  JetStream bus(options());
  ASSERT_TRUE(loop_.run(bus.open()));
  expect_refused(loop_.run(bus.check_inbox("eu-west")), "filter_subject");
  EXPECT_TRUE(loop_.run(bus.check_inbox("eu-north")));
  as_operator([](jsCtx* context, jsErrCode* code) {
    jsConsumerInfo* none = nullptr;
    EXPECT_EQ(
        js_GetConsumerInfo(&none, context, "REGISTRY_EVENTS", "transship-eu-north", nullptr, code),
        NATS_NOT_FOUND);
    return NATS_OK;
  });
}

TEST(JetStreamSubjects, CoverByTheRulesOfNats) {
  EXPECT_TRUE(covers("registry.events.>", "registry.events.>"));
  EXPECT_TRUE(covers("registry.>", "registry.events.>"));
  EXPECT_TRUE(covers(">", "registry.events.>"));
  EXPECT_TRUE(covers("registry.*.>", "registry.events.*"));
  EXPECT_TRUE(covers("registry.events.*", "registry.events.a"));
  EXPECT_FALSE(covers("registry.events.*", "registry.events.>"));
  EXPECT_FALSE(covers("registry.events.a", "registry.events.*"));
  EXPECT_FALSE(covers("registry.events.>", "registry.events"));
  EXPECT_FALSE(covers("registry.events", "registry.events.a"));
  EXPECT_FALSE(covers("registry.other.>", "registry.events.>"));
}

TEST(JetStreamSubjects, NameTheRegistry) {
  EXPECT_EQ(subject_of({"registry.events.>"}, "a").value(), "registry.events.a");
  EXPECT_EQ(subject_of({"registry.events.*", "x.>"}, "a").value(), "registry.events.a");
  EXPECT_EQ(subject_of({"r.*.x", "events.a", "events.b"}, "b").value(), "events.b");
  EXPECT_EQ(subject_of({"events.a"}, "b").error().kind, ErrorKind::invalid);
  EXPECT_EQ(subject_of({}, "b").error().kind, ErrorKind::invalid);
}

}  // namespace
}  // namespace transship::bus
