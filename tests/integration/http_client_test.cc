#include <asio/post.hpp>

#include "tests/integration/http_fixture.h"

// What the HTTP client does while all goes well, and that it holds little while it does.
namespace transship::testing {
namespace {

using http::Exchange;
using std::chrono::milliseconds;

constexpr std::size_t big = 64UL << 20U;
// What a socket's two ends may hold on loopback (their sizes are tuned by the kernel), and the
// client's own buffer.
constexpr std::size_t held_at_most = 24UL << 20U;

TEST_F(HttpTest, AnAnswerIsReadWhole) {
  const std::string content = noise(1, 3'000'000);
  HttpHost host([&](const HostRequest& request) {
    EXPECT_EQ(request.header("user-agent"), "transship-test");
    EXPECT_EQ(request.header("x-asked"), "yes");
    return HostReply{203, {{"X-Told", " a "}, {"x-told", "b"}}, content};
  });
  http::Request asked = request("GET", host.url() + "/a?b=%2F");
  asked.headers.emplace_back("X-Asked", "yes");
  const auto got = loop_.run(fetch(client_, asked));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->head.status, 203);
  EXPECT_EQ(got->head.header("x-told"), "a");
  EXPECT_FALSE(got->head.header("x-else"));
  EXPECT_EQ(got->body, content);
}

TEST_F(HttpTest, ATargetIsSentByteForByte) {
  std::string line;
  RawHost host([&](RawHost::Connection& connection) {
    line = connection.read_head();
    connection.send(small_answer);
    connection.wait_for_close();
  });
  ASSERT_TRUE(get(host.url() + "/v2/../a/./b//c?_state=a%2Bb%3D%7e&x=%2f"));
  EXPECT_EQ(line.substr(0, line.find("\r\n")),
            "GET /v2/../a/./b//c?_state=a%2Bb%3D%7e&x=%2f HTTP/1.1");
}

TEST_F(HttpTest, AHeadHasNoBodyAndAnEmptyPostSaysSo) {
  std::vector<HostRequest> seen;
  HttpHost host([&](const HostRequest& request) {
    seen.push_back(request);
    return HostReply{200, {}, "12345"};
  });
  const auto head = loop_.run(fetch(client_, request("HEAD", host.url())));
  ASSERT_TRUE(head);
  EXPECT_EQ(head->head.header("content-length"), "5");
  EXPECT_EQ(head->body, "");
  ASSERT_TRUE(loop_.run(fetch(client_, request("POST", host.url()))));
  ASSERT_TRUE(loop_.run(fetch(client_, upload(host.url(), 0))));
  EXPECT_EQ(seen[1].method, "POST");
  EXPECT_EQ(seen[1].header("content-length"), "0");
  EXPECT_EQ(seen[1].header("content-type"), "");
  EXPECT_EQ(seen[2].method, "PUT");
  EXPECT_EQ(seen[2].header("content-length"), "0");
}

TEST_F(HttpTest, ABodyIsSentWithItsLengthAndType) {
  HostRequest seen;
  HttpHost host([&](const HostRequest& request) {
    seen = request;
    return HostReply{201, {}, {}};
  });
  http::Request put = request("PUT", host.url() + "/m");
  put.body = noise(2, 300'000);
  put.headers.emplace_back("Content-Type", "application/x");
  const auto got = loop_.run(fetch(client_, put));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->head.status, 201);
  EXPECT_EQ(seen.body, put.body);
  EXPECT_EQ(seen.header("content-type"), "application/x");
  EXPECT_EQ(seen.header("expect"), "");
}

TEST_F(HttpTest, AStreamIsSentWhole) {
  std::string received;
  HttpHost host([&](const HostRequest& request) {
    received = request.body;
    EXPECT_EQ(request.header("content-length"), std::to_string(request.body.size()));
    return HostReply{201, {}, "stored"};
  });
  const std::string content = noise(3, 5'000'001);
  for (const std::size_t piece : {std::size_t{1} << 20U, std::size_t{70'001}, content.size()}) {
    const auto sent = loop_.run(send(client_, upload(host.url(), content.size()), content, piece));
    ASSERT_TRUE(sent) << sent.error().message;
    EXPECT_EQ(sent->head.status, 201);
    EXPECT_EQ(sent->body, "stored");
    EXPECT_TRUE(received == content);
  }
}

TEST_F(HttpTest, RedirectsAreAnswers) {
  HttpHost other([](const HostRequest&) {
    ADD_FAILURE() << "it was followed";
    return HostReply{};
  });
  HttpHost host(
      [&](const HostRequest&) { return HostReply{307, {{"Location", other.url() + "/x"}}, {}}; });
  const auto got = get(host.url());
  ASSERT_TRUE(got);
  EXPECT_EQ(got->head.status, 307);
  EXPECT_EQ(got->head.header("location"), other.url() + "/x");
}

TEST_F(HttpTest, ConnectionsAreUsedAgain) {
  RawHost host([](RawHost::Connection& connection) {
    while (!connection.read_head().empty()) connection.send(small_answer);
  });
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(get(host.url()));
  EXPECT_EQ(host.connections(), 1u);
}

TEST_F(HttpTest, ManyRequestsRunSideBySide) {
  HttpHost host([](const HostRequest& request) { return HostReply{200, {}, request.path}; });
  std::vector<std::shared_ptr<Loop::Running<Result<Fetched>>>> all;
  for (int i = 0; i < 50; ++i) {
    all.push_back(
        loop_.start(fetch(client_, request("GET", host.url() + "/" + std::to_string(i)))));
  }
  for (int i = 0; i < 50; ++i) {
    const auto got = loop_.await(all[static_cast<std::size_t>(i)]);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->body, "/" + std::to_string(i));
  }
}

TEST_F(HttpTest, ASlowReaderSlowsTheSenderDown) {
  const std::string content = noise(4, big);
  std::atomic<std::size_t> taken{0};
  std::atomic<bool> stuck = false;
  RawHost host([&](RawHost::Connection& connection) {
    connection.read_head();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(content.size()) +
                    "\r\n\r\n");
    taken = connection.send_until_stuck(content, 300);
    stuck = true;
    connection.send(std::string_view(content).substr(taken));
    connection.wait_for_close();
  });
  auto exchange = client_.start(request("GET", host.url()));
  ASSERT_TRUE(loop_.run(exchange.head()));
  ASSERT_TRUE(loop_.run_until([&] { return stuck.load(); }));
  EXPECT_LT(taken, held_at_most);
  std::size_t longest_chunk = 0;
  std::string got;
  for (;;) {
    const auto chunk = loop_.run(exchange.read());
    ASSERT_TRUE(chunk) << chunk.error().message;
    if (!*chunk) break;
    longest_chunk = std::max(longest_chunk, (*chunk)->size());
    got += **chunk;
  }
  EXPECT_TRUE(got == content);
  EXPECT_LE(longest_chunk, 512UL << 10U);
}

asio::awaitable<Result<int>> write_all(Exchange& exchange, std::size_t bytes,
                                       std::size_t& written) {
  const auto chunk = std::make_shared<const std::string>(noise(5, 128UL << 10U));
  while (written < bytes) {
    auto done = co_await exchange.write(chunk);
    if (!done) co_return fail(done.error());
    written += chunk->size();
  }
  auto head = co_await exchange.head();
  if (!head) co_return fail(head.error());
  co_return head->status;
}

TEST_F(HttpTest, ASlowReceiverSlowsTheWriterDown) {
  std::atomic<bool> may_read = false;
  RawHost host([&](RawHost::Connection& connection) {
    connection.read_head();
    while (!may_read) std::this_thread::yield();
    EXPECT_EQ(connection.skip(big), big);
    connection.send(small_answer);
    connection.wait_for_close();
  });
  auto exchange = client_.start(upload(host.url(), big));
  std::size_t written = 0;
  const auto sending = loop_.start(write_all(exchange, big, written));
  // It is stuck once nothing more is written for a while.
  std::size_t before = 0;
  auto since = std::chrono::steady_clock::now();
  ASSERT_TRUE(loop_.run_until([&] {
    if (std::exchange(before, written) != written) since = std::chrono::steady_clock::now();
    return written > 0 && std::chrono::steady_clock::now() - since > milliseconds(300);
  }));
  EXPECT_LT(written, held_at_most);
  may_read = true;
  const auto status = loop_.await(sending);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(*status, 200);
}

TEST_F(HttpTest, BothDirectionsAtOnce) {
  const std::string content = noise(6, 8UL << 20U);
  std::string received;
  HttpHost target([&](const HostRequest& request) {
    received = request.body;
    return HostReply{201, {}, {}};
  });
  HttpHost source([&](const HostRequest&) { return HostReply{200, {}, content}; });
  const auto piped = [](http::Client& client, http::Request from,
                        http::Request to) -> asio::awaitable<Result<int>> {
    auto down = client.start(std::move(from));
    auto up = client.start(std::move(to));
    for (;;) {
      auto chunk = co_await down.read();
      if (!chunk) co_return fail(chunk.error());
      if (!*chunk) break;
      auto written = co_await up.write(std::move(*chunk));
      if (!written) co_return fail(written.error());
    }
    auto head = co_await up.head();
    if (!head) co_return fail(head.error());
    co_return head->status;
  };
  const auto status =
      loop_.run(piped(client_, request("GET", source.url()), upload(target.url(), content.size())));
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(*status, 201);
  EXPECT_TRUE(received == content);
}

TEST_F(HttpTest, ADroppedExchangeIsBrokenOff) {
  RawHost host([](RawHost::Connection& connection) {
    connection.read_head();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbeginning");
    connection.wait_for_close();
  });
  {
    auto exchange = client_.start(request("GET", host.url()));
    ASSERT_TRUE(loop_.run(exchange.head()));
    ASSERT_TRUE(loop_.run(exchange.read()));
    EXPECT_EQ(host.open_connections(), 1u);
  }
  EXPECT_TRUE(loop_.run_until([&] { return host.open_connections() == 0; }));
}

TEST_F(HttpTest, ACancelledWaitLetsItsRequestGo) {
  RawHost host([](RawHost::Connection& connection) {
    connection.read_head();
    connection.wait_for_close();
  });
  std::size_t written = 0;
  const auto whole = [](http::Client& client, http::Request request,
                        std::size_t& written) -> asio::awaitable<Result<int>> {
    auto exchange = client.start(std::move(request));
    co_return co_await write_all(exchange, big, written);
  };
  const auto getting = loop_.start(fetch(client_, request("GET", host.url())));
  const auto sending = loop_.start(whole(client_, upload(host.url(), big), written));
  ASSERT_TRUE(loop_.run_until([&] { return host.open_connections() == 2 && written > 0; }));
  getting->cancel();
  sending->cancel();
  ASSERT_TRUE(loop_.run_until([&] { return getting->done() && sending->done(); }));
  EXPECT_TRUE(getting->threw && sending->threw);
  EXPECT_TRUE(loop_.run_until([&] { return host.open_connections() == 0; }));
}

TEST_F(HttpTest, AClientThatGoesBreaksOffWhatIsUnderWay) {
  RawHost host([](RawHost::Connection& connection) {
    connection.read_head();
    connection.wait_for_close();
  });
  auto client = std::make_unique<http::Client>(loop_.executor(), "gone");
  auto waiting = client->start(request("GET", host.url()));
  const auto head = loop_.start(waiting.head());
  ASSERT_TRUE(loop_.run_until([&] { return host.open_connections() == 1; }));
  client.reset();
  const auto got = loop_.await(head);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::transient);
}

}  // namespace
}  // namespace transship::testing
