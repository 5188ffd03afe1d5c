// Push events for a daemon's intake, as docker-registry sends them, of tags that bench_responder
// shows:
//   bench_events URL queue EVENTS TAGS   in bodies of 10,000 events, over TAGS different tags
//   bench_events URL posts EVENTS        each by itself, all at once; it prints how many were
//                                        answered 202, and the seconds that it took
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/bench/shown.h"
#include "tests/support/http.h"

namespace {

constexpr std::uint64_t tags_per_repository = 1000;
constexpr std::uint64_t events_per_body = 10'000;

std::string event(std::uint64_t number, std::uint64_t tag) {
  return fmt::format(
      R"({{"id":"{:016x}-{}","timestamp":"2026-01-01T00:00:{:02}.{:03}Z","action":"push",)"
      R"("target":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}",)"
      R"("size":500,"length":500,"repository":"bench/repository{}",)"
      R"("url":"http://registry.example.com/v2/bench/manifests/v","tag":"v{}"}},)"
      R"("request":{{"id":"5b0f6d1e-0000-4000-8000-000000000001","addr":"10.20.0.7:51422",)"
      R"("host":"registry.example.com","method":"PUT",)"
      R"("useragent":"docker/27.3.1 go/go1.22.7 os/linux arch/amd64"}},)"
      R"("actor":{{"name":"ci-push"}},"source":{{"addr":"registry-0:5000",)"
      R"("instanceID":"c1f0a2de-0000-4000-8000-0000000000aa"}}}})",
      number, ::getpid(), (number / 1000) % 60, number % 1000, transship::testing::shown_digest,
      tag / tags_per_repository, tag % tags_per_repository);
}

std::string body_of(std::uint64_t begin, std::uint64_t end, std::uint64_t tags) {
  std::string body = R"({"events":[)";
  for (std::uint64_t i = begin; i < end; ++i) {
    if (i > begin) body += ",";
    body += event(i, i % tags);
  }
  return body + "]}";
}

int queue(const std::string& url, std::uint64_t events, std::uint64_t tags) {
  for (std::uint64_t begin = 0; begin < events; begin += events_per_body) {
    const std::uint64_t end = std::min(events, begin + events_per_body);
    for (int tries = 0;; ++tries) {
      const auto answer = transship::testing::http("POST", url, body_of(begin, end, tags));
      if (answer.status == 202) break;
      if (tries == 10) {
        fmt::print(stderr, "{}: {} {}\n", url, answer.status, answer.body);
        return 1;
      }
      ::usleep(200'000);
    }
  }
  return 0;
}

int connect_to(std::uint16_t port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(socket);
    return -1;
  }
  return socket;
}

// The connections are there before the first request goes.
int posts(const std::string& url, std::uint64_t events) {
  const std::string rest = url.substr(url.find("://") + 3);
  const std::string path = rest.substr(rest.find('/'));
  const auto port =
      static_cast<std::uint16_t>(std::strtoul(rest.c_str() + rest.find(':') + 1, nullptr, 10));
  std::vector<pollfd> sockets;
  std::vector<std::string> requests;
  for (std::uint64_t i = 0; i < events; ++i) {
    const int socket = connect_to(port);
    if (socket < 0) {
      fmt::print(stderr, "only {} connections\n", i);
      return 1;
    }
    sockets.push_back({socket, POLLIN, 0});
    const std::string body = body_of(i, i + 1, events);
    requests.push_back(
        fmt::format("POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{}", path,
                    body.size(), body));
  }
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    if (::write(sockets[i].fd, requests[i].data(), requests[i].size()) < 0) return 1;
  }
  std::uint64_t accepted = 0;
  for (std::size_t answered = 0; answered < sockets.size();) {
    if (::poll(sockets.data(), sockets.size(), 60'000) <= 0) break;
    for (pollfd& one : sockets) {
      if (one.fd < 0 || one.revents == 0) continue;
      std::string answer(512, '\0');
      const ssize_t got = ::read(one.fd, answer.data(), answer.size());
      if (got > 0 && answer.starts_with("HTTP/1.1 202")) ++accepted;
      ++answered;
      ::close(one.fd);
      one.fd = -1;
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  fmt::print("{} {:.3f}\n", accepted, took.count());
  return accepted == events ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[2] : "";
  const auto number = [&](int at) { return std::strtoull(argv[at], nullptr, 10); };
  if (mode == "queue" && argc == 5) return queue(argv[1], number(3), number(4));
  if (mode == "posts" && argc == 4) return posts(argv[1], number(3));
  fmt::print(stderr, "usage: {} URL queue EVENTS TAGS | URL posts EVENTS\n", argv[0]);
  return 2;
}
