#include "tests/integration/http_fixture.h"
#include "tests/support/process.h"

// Servers that are dead, slow, wrong or hostile: each ends in an error that says what to do next.
namespace transship::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A server that says one thing to each request and then keeps the line open.
RawHost::Script says(std::string answer) {
  return [answer = std::move(answer)](RawHost::Connection& connection) {
    connection.read_head();
    connection.send(answer);
    connection.wait_for_close();
  };
}
RawHost::Script says_and_hangs_up(std::string answer) {
  return [answer = std::move(answer)](RawHost::Connection& connection) {
    connection.read_head();
    connection.send(answer);
  };
}

struct Took {
  Result<Fetched> got;
  milliseconds time;
};

class HostileTest : public HttpTest {
 protected:
  Took timed_get(const std::string& url, const http::Timeouts& timeouts) {
    const auto start = std::chrono::steady_clock::now();
    auto got = get(url, timeouts);
    return {std::move(got),
            std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start)};
  }
  // Deadlines are looked at some five times a second; the rest is this machine's.
  static void expect_about(milliseconds time, milliseconds limit) {
    EXPECT_GE(time, limit);
    EXPECT_LE(time, limit + milliseconds(1500));
  }
};

TEST_F(HostileTest, NobodyThereIsUnanswered) {
  const auto got = get("http://127.0.0.1:" + std::to_string(free_port()));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::transient);
  EXPECT_TRUE(got.error().unanswered);
}

TEST_F(HostileTest, AnAnswerIsNotWaitedForForever) {
  RawHost host(says(""));
  http::Timeouts timeouts;
  timeouts.answer = milliseconds(600);
  const auto took = timed_get(host.url(), timeouts);
  ASSERT_FALSE(took.got);
  EXPECT_EQ(took.got.error().kind, ErrorKind::transient);
  EXPECT_TRUE(took.got.error().unanswered);
  expect_about(took.time, timeouts.answer);
}

TEST_F(HostileTest, TheAnswerToAnUploadIsWaitedForFromItsLastByte) {
  RawHost host([](RawHost::Connection& connection) {
    connection.read_head();
    connection.wait_for_close();
  });
  http::Request put = upload(host.url(), 1000);
  put.timeouts.answer = milliseconds(600);
  put.timeouts.stall = seconds(30);
  const auto start = std::chrono::steady_clock::now();
  const auto sent = loop_.run(send(client_, put, std::string(1000, 'x'), 1000));
  ASSERT_FALSE(sent);
  EXPECT_TRUE(sent.error().unanswered);
  expect_about(std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start),
               milliseconds(600));
}

TEST_F(HostileTest, ADownloadThatStallsIsBrokenOff) {
  RawHost host(
      says("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + std::string(50'000, 'x')));
  http::Timeouts timeouts;
  timeouts.stall = milliseconds(700);
  const auto took = timed_get(host.url(), timeouts);
  ASSERT_FALSE(took.got);
  EXPECT_EQ(took.got.error().kind, ErrorKind::transient);
  EXPECT_FALSE(took.got.error().unanswered);
  EXPECT_NE(took.got.error().message.find("moved less than 1024 bytes"), std::string::npos);
  expect_about(took.time, timeouts.stall);
}

TEST_F(HostileTest, AByteNowAndThenIsAStallToo) {
  std::atomic<bool> over = false;
  RawHost host([&](RawHost::Connection& connection) {
    connection.read_head();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    while (!over && connection.send("x")) std::this_thread::sleep_for(milliseconds(20));
  });
  http::Timeouts timeouts;
  timeouts.stall = milliseconds(900);
  const auto took = timed_get(host.url(), timeouts);
  over = true;
  ASSERT_FALSE(took.got);
  EXPECT_EQ(took.got.error().kind, ErrorKind::transient);
  expect_about(took.time, timeouts.stall);
}

TEST_F(HostileTest, AnUploadThatNobodyReadsIsBrokenOff) {
  std::atomic<bool> over = false;
  RawHost host([&](RawHost::Connection& connection) {
    connection.read_head();
    while (!over) std::this_thread::sleep_for(milliseconds(5));
  });
  http::Request put = upload(host.url(), 64UL << 20U);
  put.timeouts.stall = milliseconds(700);
  const auto sent = loop_.run(send(client_, put, noise(1, 64UL << 20U), 1UL << 20U));
  over = true;
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().kind, ErrorKind::transient);
  EXPECT_NE(sent.error().message.find("moved less than 1024 bytes"), std::string::npos);
}

// A writer that has nothing to send is not the server's fault.
TEST_F(HostileTest, OurOwnPausesAreNoStall) {
  RawHost host([](RawHost::Connection& connection) {
    connection.read_head();
    connection.skip(20);
    connection.send(small_answer);
    connection.wait_for_close();
  });
  const auto slowly = [](http::Client& client,
                         http::Request request) -> asio::awaitable<Result<int>> {
    auto exchange = client.start(std::move(request));
    co_await sleep_for(milliseconds(900));
    for (int i = 0; i < 2; ++i) {
      auto written = co_await exchange.write(std::make_shared<const std::string>("0123456789"));
      if (!written) co_return fail(written.error());
      co_await sleep_for(milliseconds(900));
    }
    auto head = co_await exchange.head();
    if (!head) co_return fail(head.error());
    co_return head->status;
  };
  http::Request put = upload(host.url(), 20);
  put.timeouts.stall = milliseconds(300);
  const auto status = loop_.run(slowly(client_, put));
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(*status, 200);
}

TEST_F(HostileTest, AReaderThatRestsIsNoStall) {
  const std::string content = noise(2, 16UL << 20U);
  RawHost host([&](RawHost::Connection& connection) {
    connection.read_head();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(content.size()) +
                    "\r\n\r\n");
    connection.send(content);
    connection.wait_for_close();
  });
  const auto slowly = [](http::Client& client,
                         http::Request request) -> asio::awaitable<Result<std::string>> {
    auto exchange = client.start(std::move(request));
    auto head = co_await exchange.head();
    if (!head) co_return fail(head.error());
    co_await sleep_for(milliseconds(1200));
    co_return co_await exchange.read_all(64UL << 20U);
  };
  http::Request get = request("GET", host.url());
  get.timeouts.stall = milliseconds(500);
  const auto got = loop_.run(slowly(client_, get));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(*got == content);
}

TEST_F(HostileTest, AWholeRequestCanHaveALimit) {
  std::atomic<bool> over = false;
  RawHost host([&](RawHost::Connection& connection) {
    connection.read_head();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
    const std::string piece(2000, 'x');
    while (!over && connection.send(piece)) std::this_thread::sleep_for(milliseconds(5));
  });
  http::Timeouts timeouts;
  timeouts.total = milliseconds(700);
  const auto took = timed_get(host.url(), timeouts);
  over = true;
  ASSERT_FALSE(took.got);
  EXPECT_EQ(took.got.error().kind, ErrorKind::transient);
  expect_about(took.time, *timeouts.total);
}

TEST_F(HostileTest, HeadersHaveALimit) {
  std::string endless = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 5000; ++i)
    endless += "X-" + std::to_string(i) + ": " + std::string(100, 'y') + "\r\n";
  for (const std::string& answer :
       {endless, "HTTP/1.1 200 OK\r\nX: " + std::string(600'000, 'y') + "\r\n\r\n"}) {
    RawHost host(says(answer));
    const auto got = get(host.url());
    ASSERT_FALSE(got);
    EXPECT_FALSE(got.error().unanswered) << got.error().message;
    EXPECT_EQ(got.error().kind, ErrorKind::invalid) << got.error().message;
  }
}

TEST_F(HostileTest, InterimAnswersAreSkippedButNotForEver) {
  RawHost polite(says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" +
                      std::string(small_answer)));
  const auto got = get(polite.url());
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->head.status, 200);
  EXPECT_FALSE(got->head.header("link"));
  EXPECT_EQ(got->body, "ok");

  RawHost endless([](RawHost::Connection& connection) {
    connection.read_head();
    while (connection.send("HTTP/1.1 100 Continue\r\n\r\n")) {
    }
  });
  const auto refused = get(endless.url());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::invalid) << refused.error().message;
}

TEST_F(HostileTest, HangingUpBeforeTheAnswerIsUnanswered) {
  for (const char* begun : {"", "HTTP/1.1 200 OK\r\nContent-Le"}) {
    RawHost host(says_and_hangs_up(begun));
    const auto got = get(host.url());
    ASSERT_FALSE(got) << begun;
    EXPECT_EQ(got.error().kind, ErrorKind::transient) << got.error().message;
    EXPECT_TRUE(got.error().unanswered);
  }
}

TEST_F(HostileTest, ABodyCutShortIsAnError) {
  for (const char* cut : {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
                          "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n12345\r\n"}) {
    RawHost host(says_and_hangs_up(cut));
    const auto got = get(host.url());
    ASSERT_FALSE(got) << cut;
    EXPECT_EQ(got.error().kind, ErrorKind::transient) << got.error().message;
    EXPECT_FALSE(got.error().unanswered);
  }
}

TEST_F(HostileTest, WhatIsNotHttpIsInvalid) {
  for (const char* noise : {"SSH-2.0-OpenSSH_9.2\r\n", "\x16\x03\x01\x02", "220 mail ready\r\n",
                            "HTTP/7.0 200 OK\r\n\r\n"}) {
    RawHost host(says_and_hangs_up(noise));
    const auto got = get(host.url());
    ASSERT_FALSE(got) << noise;
    EXPECT_EQ(got.error().kind, ErrorKind::invalid) << got.error().message;
    EXPECT_FALSE(got.error().unanswered);
  }
}

TEST_F(HostileTest, AnEarlyAnswerToAnUploadIsThatAnswer) {
  RawHost host([](RawHost::Connection& connection) {
    connection.read_head();
    connection.skip(100'000);
    connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nsize");
    connection.wait_for_close();
  });
  const auto sent = loop_.run(
      send(client_, upload(host.url(), 32UL << 20U), noise(1, 32UL << 20U), 128UL << 10U));
  ASSERT_TRUE(sent) << sent.error().message;
  EXPECT_EQ(sent->head.status, 413);
  EXPECT_EQ(sent->body, "size");
}

TEST_F(HostileTest, HangingUpInAnUploadIsAnError) {
  RawHost host([](RawHost::Connection& connection) {
    connection.read_head();
    connection.skip(100'000);
  });
  const auto sent = loop_.run(
      send(client_, upload(host.url(), 32UL << 20U), noise(1, 32UL << 20U), 128UL << 10U));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().kind, ErrorKind::transient);
}

TEST_F(HostileTest, AnAnswerLongerThanAskedForIsRefused) {
  HttpHost host([](const HostRequest&) { return HostReply{200, {}, std::string(1'000'000, 'x')}; });
  const auto bounded = [](http::Client& client,
                          http::Request request) -> asio::awaitable<Result<std::string>> {
    auto exchange = client.start(std::move(request));
    co_return co_await exchange.read_all(999'999);
  };
  const auto got = loop_.run(bounded(client_, request("GET", host.url())));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::invalid);
}

// The server closes a connection that we keep for the next request: the next request still gets its
// answer.
TEST_F(HostileTest, AConnectionThatDiedIdleIsReplaced) {
  RawHost host(says_and_hangs_up(std::string(small_answer)));
  for (int i = 0; i < 5; ++i) {
    const auto got = get(host.url());
    ASSERT_TRUE(got) << got.error().message;
    ASSERT_TRUE(loop_.run_until([&] { return host.open_connections() == 0; }));
  }
}

}  // namespace
}  // namespace transship::testing
