#include <gtest/gtest.h>

#include <asio.hpp>

#include "daemon/http_server.h"
#include "replicator/base/task.h"

namespace transship {
namespace {

// A request that came in while the server ends must not keep it from ending: libmicrohttpd takes a
// connection that still waits for its answer for a fatal error.
TEST(HttpServer, EndsWhileRequestsComeIn) {
  asio::io_context loop;
  Event answered(loop.get_executor());
  int handled = 0;
  HttpServer server(loop.get_executor(), [&](HttpRequest) -> asio::awaitable<HttpResponse> {
    ++handled;
    co_await answered.wait();
    co_return HttpResponse{};
  });
  ASSERT_TRUE(server.listen("127.0.0.1", 0));
  const std::string request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
  std::vector<asio::ip::tcp::socket> clients;
  const auto connect = [&] {
    clients.emplace_back(loop).connect({asio::ip::address_v4::loopback(), server.port()});
  };
  const auto ask = [&](asio::ip::tcp::socket& client, const std::string& bytes) {
    asio::write(client, asio::buffer(bytes));
  };
  connect();
  ask(clients[0], request + request);  // the second is read once the first is answered
  while (handled == 0) loop.run_one();
  connect();
  loop.run_for(std::chrono::milliseconds(100));  // it is accepted, and has not asked yet
  ask(clients[1], request);
  server.stop();
  for (asio::ip::tcp::socket& client : clients) {
    std::string answer;
    asio::error_code end;
    asio::read(client, asio::dynamic_buffer(answer), end);
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 503");
  }
  answered.notify();  // too late
  loop.run_for(std::chrono::milliseconds(100));
}

}  // namespace
}  // namespace transship
