#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "daemon/bus/jetstream.h"
#include "daemon/bus/journal.h"
#include "tests/integration/bus_fixture.h"
#include "tests/integration/bus_nats_server.h"

// What both buses promise, tried on each.
namespace transship::bus {
namespace {

using namespace std::chrono_literals;
using testing::Loop;
using testing::message;
using testing::NatsServer;
using testing::one;
using testing::TemporaryDirectory;

// Where a bus keeps its messages; several buses made of it are restarts of one.
class Place {
 public:
  virtual ~Place() = default;
  virtual std::unique_ptr<Bus> make(std::chrono::milliseconds lease) = 0;
};

class JournalPlace final : public Place {
 public:
  std::unique_ptr<Bus> make(std::chrono::milliseconds lease) override {
    return std::make_unique<Journal>(
        JournalOptions{.directory = directory_.path() / "state", .lease = lease});
  }

 private:
  TemporaryDirectory directory_;
};

class JetStreamPlace final : public Place {
 public:
  JetStreamPlace() { server_.start(); }
  std::unique_ptr<Bus> make(std::chrono::milliseconds lease) override {
    return std::make_unique<JetStream>(JetStreamOptions{.servers = {server_.url()},
                                                        .stream = "REGISTRY_EVENTS",
                                                        .subjects = {"registry.events.>"},
                                                        .lease = lease});
  }

 private:
  NatsServer server_;
};

class BusContract : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (GetParam() == std::string("journal")) {
      place_ = std::make_unique<JournalPlace>();
    } else if (NatsServer::installed()) {
      place_ = std::make_unique<JetStreamPlace>();
    } else {
      GTEST_SKIP() << "nats-server is not installed";
    }
    reopen();
  }
  void TearDown() override {
    inbox_.reset();
    if (bus_) loop_.run(bus_->close());
  }

  // A restart of the daemon. With a short lease what the last one left is soon there again on
  // JetStream, too.
  void reopen(std::chrono::milliseconds lease = 30s) {
    inbox_.reset();
    if (bus_) loop_.run(bus_->close());
    bus_ = place_->make(lease);
    auto opened = loop_.run(bus_->open());
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_TRUE(bus_->connected());
  }

  std::unique_ptr<Inbox> inbox(const std::string& target) {
    auto opened = loop_.run(bus_->open_inbox(target));
    if (!opened) throw std::runtime_error(opened.error().message);
    return std::move(*opened);
  }
  void open_inbox() { inbox_ = inbox("eu-west"); }

  std::vector<Published> publish(std::vector<Message> messages) {
    auto published = loop_.run(bus_->publish(std::move(messages)));
    if (!published) throw std::runtime_error(published.error().message);
    return *published;
  }
  std::vector<Delivery> fetch(std::size_t limit) {
    auto got = loop_.run(inbox_->fetch(limit));
    if (!got) throw std::runtime_error(got.error().message);
    return std::move(*got);
  }
  std::uint64_t backlog_of(Inbox& inbox) { return loop_.run(inbox.backlog()).value().messages; }
  void expect_backlog(std::uint64_t messages) {
    loop_.run_until([&] { return backlog_of(*inbox_) == messages; });
  }

  std::unique_ptr<Place> place_;
  Loop loop_;
  std::unique_ptr<Bus> bus_;
  std::unique_ptr<Inbox> inbox_;
};

TEST_P(BusContract, DeliversWhatWasPublished) {
  open_inbox();
  Message sent = message(std::string("{\"a\":1}\0binary\xff", 15), "source/id 1\xc3\xa4");
  sent.headers = {{"ce-type", "x.y"}, {"ce-time", "2026-10-05T08:15:30Z"}};
  const auto before = Clock::now();
  EXPECT_EQ(publish(one(sent)), std::vector{Published::stored});
  const auto got = fetch(10);
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].message.registry, "us-east");
  EXPECT_EQ(got[0].message.body, sent.body);
  EXPECT_EQ(got[0].message.headers, sent.headers);
  EXPECT_EQ(got[0].deliveries, 1U);
  EXPECT_LT(got[0].stored_at - before, 30s);
  EXPECT_GT(got[0].stored_at - before, -30s);
  expect_backlog(1);
  EXPECT_TRUE(loop_.run(inbox_->backlog())->oldest.has_value());
  inbox_->acknowledge(got[0]);
  expect_backlog(0);
  EXPECT_FALSE(loop_.run(inbox_->backlog())->oldest.has_value());
}

TEST_P(BusContract, AnEventWithTheSameIdIsADuplicate) {
  open_inbox();
  EXPECT_EQ(publish(one(message("a", "id"))), std::vector{Published::stored});
  EXPECT_EQ(publish(one(message("a", "id"))), std::vector{Published::duplicate});
  Message elsewhere = message("a", "id");
  elsewhere.registry = "ap-south";
  EXPECT_EQ(publish(one(elsewhere)), std::vector{Published::stored});
  EXPECT_EQ(publish(one(message("a"))), std::vector{Published::stored});
  EXPECT_EQ(publish(one(message("a"))), std::vector{Published::stored});
  const std::string strange(5000, '\n');
  std::vector<Message> both{message("b", strange), message("b", strange), message("c", "c")};
  EXPECT_EQ(publish(both),
            (std::vector{Published::stored, Published::duplicate, Published::stored}));
  expect_backlog(6);
}

TEST_P(BusContract, WhatWasNotAcknowledgedComesAgainAfterARestart) {
  reopen(1s);
  open_inbox();
  publish({message("done"), message("not done")});
  auto got = fetch(10);
  ASSERT_EQ(got.size(), 2U);
  inbox_->acknowledge(got[0]);
  reopen(1s);
  open_inbox();
  got = fetch(10);
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].message.body, "not done");
  EXPECT_EQ(got[0].deliveries, 2U);
}

TEST_P(BusContract, HandedBackItComesAfterThePause) {
  open_inbox();
  publish(one(message("m")));
  const auto first = fetch(1);
  const auto since = std::chrono::steady_clock::now();
  inbox_->hand_back(first[0], 1500ms);
  const auto again = fetch(1);
  const auto waited = std::chrono::steady_clock::now() - since;
  EXPECT_EQ(again[0].message.body, "m");
  EXPECT_EQ(again[0].deliveries, 2U);
  EXPECT_GE(waited, 1400ms);
  inbox_->hand_back(again[0], 0ms);
  EXPECT_EQ(fetch(1)[0].deliveries, 3U);
}

TEST_P(BusContract, HandedBackHoldsNothingElseBack) {
  open_inbox();
  publish(one(message("bad")));
  inbox_->hand_back(fetch(1)[0], 1h);
  publish(one(message("good")));
  EXPECT_EQ(fetch(1)[0].message.body, "good");
  expect_backlog(2);
}

TEST_P(BusContract, TargetsHaveTheirOwnBacklogs) {
  auto a = inbox("a");
  auto b = inbox("b");
  publish({message("1"), message("2")});
  auto got = loop_.run(a->fetch(10));
  for (const Delivery& delivery : *got) a->acknowledge(delivery);
  loop_.run_until([&] { return backlog_of(*a) == 0; });
  EXPECT_EQ(backlog_of(*b), 2U);
  EXPECT_EQ(loop_.run(b->fetch(10))->size(), 2U);
}

TEST_P(BusContract, ANewTargetStartsWithTheOldestKept) {
  publish({message("1"), message("2")});
  open_inbox();
  const auto got = fetch(10);
  ASSERT_EQ(got.size(), 2U);
  EXPECT_EQ(got[0].message.body, "1");
}

TEST_P(BusContract, ALeaseEndsUnlessItIsInProgress) {
  reopen(2s);
  open_inbox();
  EXPECT_EQ(inbox_->lease(), 2s);
  publish({message("slow"), message("forgotten")});
  auto got = fetch(10);
  ASSERT_EQ(got.size(), 2U);
  const auto since = std::chrono::steady_clock::now();
  const auto keep_alive = [](Inbox& in, const Delivery& delivery) -> asio::awaitable<void> {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    for (int i = 0; i < 20; ++i) {
      in.in_progress(delivery);
      timer.expires_after(200ms);
      co_await timer.async_wait(asio::use_awaitable);
    }
  };
  bool kept = false;
  asio::co_spawn(loop_.io(), keep_alive(*inbox_, got[0]), [&](std::exception_ptr) { kept = true; });
  auto again = fetch(10);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].message.body, "forgotten");
  EXPECT_GE(std::chrono::steady_clock::now() - since, 1900ms);
  inbox_->acknowledge(again[0]);
  EXPECT_FALSE(kept);
  loop_.run_until([&] { return kept; });
  again = fetch(10);  // now it is let go of
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].message.body, "slow");
  EXPECT_GE(std::chrono::steady_clock::now() - since, 4s);
}

TEST_P(BusContract, CloseEndsAWaitingFetch) {
  open_inbox();
  std::optional<ErrorKind> ended;
  const auto wait = [](Inbox& in, std::optional<ErrorKind>& kind) -> asio::awaitable<void> {
    auto got = co_await in.fetch(1);
    kind = got ? ErrorKind::transient : got.error().kind;
  };
  loop_.start(wait(*inbox_, ended));
  bool turned = false;
  asio::post(loop_.io(), [&] { turned = true; });
  loop_.run_until([&] { return turned; });
  EXPECT_FALSE(ended);
  inbox_->close();
  loop_.run_until([&] { return ended.has_value(); });
  EXPECT_EQ(*ended, ErrorKind::cancelled);
  EXPECT_EQ(loop_.run(inbox_->fetch(1)).error().kind, ErrorKind::cancelled);
}

TEST_P(BusContract, ACancelledFetchLosesNothing) {
  open_inbox();
  asio::cancellation_signal stop;
  bool through = false;
  const auto wait = [](Inbox& in) -> asio::awaitable<void> { std::ignore = co_await in.fetch(1); };
  asio::co_spawn(
      loop_.io(), wait(*inbox_),
      asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr) { through = true; }));
  bool turned = false;
  asio::post(loop_.io(), [&] { turned = true; });
  loop_.run_until([&] { return turned; });
  stop.emit(asio::cancellation_type::terminal);
  loop_.run_until([&] { return through; });
  publish(one(message("m")));
  EXPECT_EQ(fetch(1)[0].message.body, "m");
}

TEST_P(BusContract, AFetchWaitsForWhatComesAndTakesItAtOnce) {
  open_inbox();
  std::optional<std::size_t> got;
  std::chrono::steady_clock::time_point at;
  const auto wait = [](Inbox& in, auto& size, auto& when) -> asio::awaitable<void> {
    auto deliveries = co_await in.fetch(100);
    when = std::chrono::steady_clock::now();
    size = deliveries ? deliveries->size() : 0;
  };
  loop_.start(wait(*inbox_, got, at));
  publish(one(message("m")));
  const auto published = std::chrono::steady_clock::now();
  loop_.run_until([&] { return got.has_value(); });
  EXPECT_EQ(*got, 1U);
  // Far less than the wait of a pull, which would hold the message back until a batch is full.
  EXPECT_LT(at - published, 900ms);
}

TEST_P(BusContract, TheLargestMessageGoesThroughAndALargerOneDoesNot) {
  open_inbox();
  Message largest =
      message(std::string(bus_->max_message_bytes() - 100, 'x'), std::string(90, 'i'));
  largest.headers = {{std::string(48, 'n'), std::string(48, 'v')}};
  publish(one(largest));
  const auto got = fetch(10);
  EXPECT_EQ(got[0].message.body.size(), largest.body.size());
  largest.body += "x";
  auto refused = loop_.run(bus_->publish({message("small"), largest}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::invalid);
  expect_backlog(1);  // none was stored
}

TEST_P(BusContract, AHeaderThatBreaksItsLineIsRefused) {
  Message evil = message("m");
  evil.headers = {{"ce-type", "x\r\nNats-Msg-Id: y"}};
  EXPECT_EQ(loop_.run(bus_->publish(one(evil))).error().kind, ErrorKind::invalid);
  evil.headers.clear();
  evil.registry = "a.b";
  EXPECT_EQ(loop_.run(bus_->publish(one(evil))).error().kind, ErrorKind::invalid);
}

TEST_P(BusContract, TenThousandMessagesComeInOrderAndInBounds) {
  open_inbox();
  constexpr int count = 10'000;
  for (int i = 0; i < count;) {
    std::vector<Message> some;
    for (int j = 0; j < 1000; ++j, ++i) some.push_back(message(std::to_string(i)));
    publish(std::move(some));
  }
  EXPECT_EQ(backlog_of(*inbox_), static_cast<std::uint64_t>(count));
  for (int next = 0; next < count;) {
    const auto got = fetch(256);
    ASSERT_LE(got.size(), 256U);
    for (const Delivery& delivery : got) {
      ASSERT_EQ(delivery.message.body, std::to_string(next++));
      inbox_->acknowledge(delivery);
    }
  }
  expect_backlog(0);
}

TEST_P(BusContract, AFetchIsBoundedInBytesToo) {
  open_inbox();
  for (int i = 0; i < 40; ++i) publish(one(message(std::string(500'000, 'x'))));
  std::size_t all = 0;
  while (all < 40) {
    const auto got = fetch(1000);
    ASSERT_LE(got.size(), 12U);
    all += got.size();
  }
}

TEST_P(BusContract, ConcurrentPublishesAreAllStored) {
  open_inbox();
  int stored = 0;
  const auto publish_one = [](Bus& bus, int i, int& count) -> asio::awaitable<void> {
    auto done = co_await bus.publish(one(message("m", std::to_string(i))));
    if (done && done->front() == Published::stored) ++count;
  };
  for (int i = 0; i < 1000; ++i) loop_.start(publish_one(*bus_, i, stored));
  loop_.run_until([&] { return stored == 1000; });
  expect_backlog(1000);
}

TEST_P(BusContract, AfterCloseEverythingIsCancelled) {
  open_inbox();
  publish(one(message("m")));
  const auto got = fetch(1);
  inbox_->acknowledge(got[0]);
  loop_.run(bus_->close());
  EXPECT_FALSE(bus_->connected());
  EXPECT_FALSE(loop_.run(bus_->publish(one(message("m")))));
  EXPECT_EQ(loop_.run(inbox_->fetch(1)).error().kind, ErrorKind::cancelled);
  inbox_->acknowledge(got[0]);  // too late, and harmless
  reopen();
  open_inbox();
  expect_backlog(0);  // what was answered before the close was delivered
}

TEST_P(BusContract, ReopenedInTheSameDaemonATargetGoesOn) {
  open_inbox();
  publish({message("1"), message("2")});
  const auto first = fetch(1);
  inbox_->close();
  open_inbox();
  const auto second = fetch(10);
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].message.body, "2");
  inbox_->acknowledge(first[0]);
  inbox_->acknowledge(second[0]);
  expect_backlog(0);
}

TEST_P(BusContract, ForgettingOthersKeepsOurs) {
  open_inbox();
  publish(one(message("m")));
  ASSERT_TRUE(loop_.run(bus_->forget_other_inboxes({"eu-west"})));
  EXPECT_EQ(fetch(1).size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Both, BusContract, ::testing::Values("journal", "jetstream"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace transship::bus
