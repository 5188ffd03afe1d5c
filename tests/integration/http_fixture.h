#pragma once

#include <gtest/gtest.h>

#include "replicator/http/client.h"
#include "tests/integration/engine_fixture.h"
#include "tests/support/http_host.h"
#include "tests/support/raw_host.h"

namespace transship::testing {

// What came of a request, with its whole body.
struct Fetched {
  http::ResponseHead head;
  std::string body;
};

class HttpTest : public ::testing::Test {
 protected:
  static http::Request request(const std::string& method, const std::string& url) {
    http::Request request;
    request.method = method;
    request.url = *http::Url::parse(url);
    return request;
  }
  static http::Request upload(const std::string& url, std::uint64_t bytes) {
    http::Request put = request("PUT", url);
    put.upload_bytes = bytes;
    return put;
  }

  static asio::awaitable<Result<Fetched>> fetch(http::Client& client, http::Request request) {
    auto exchange = client.start(std::move(request));
    auto head = co_await exchange.head();
    if (!head) co_return fail(head.error());
    auto body = co_await exchange.read_all(256UL << 20U);
    if (!body) co_return fail(body.error());
    co_return Fetched{std::move(*head), std::move(*body)};
  }
  Result<Fetched> get(const std::string& url, http::Timeouts timeouts = {}) {
    http::Request get = request("GET", url);
    get.timeouts = timeouts;
    return loop_.run(fetch(client_, std::move(get)));
  }

  // Sends `bytes` in pieces of `piece`, then asks for the answer.
  static asio::awaitable<Result<Fetched>> send(http::Client& client, http::Request request,
                                               std::string bytes, std::size_t piece) {
    auto exchange = client.start(std::move(request));
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      auto written =
          co_await exchange.write(std::make_shared<const std::string>(bytes.substr(at, piece)));
      if (!written) co_return fail(written.error());
      if (!*written) break;
    }
    auto head = co_await exchange.head();
    if (!head) co_return fail(head.error());
    auto body = co_await exchange.read_all(1UL << 20U);
    if (!body) co_return fail(body.error());
    co_return Fetched{std::move(*head), std::move(*body)};
  }

  Loop loop_;
  http::Client client_{loop_.executor(), "transship-test"};
};

inline constexpr std::string_view small_answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

}  // namespace transship::testing
