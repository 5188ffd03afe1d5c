// A bare registry that shows every tag, for benchmarks of what a daemon does where registries
// answer at once: bench_responder PORT. One thread, every manifest the same. It prints a line once
// it listens, and on SIGTERM how many manifests it was asked for.
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <map>
#include <string>

#include "tests/bench/shown.h"

namespace {

using transship::testing::shown_digest;

class Responder {
 public:
  bool listen(std::uint16_t port);
  void run();
  [[nodiscard]] std::uint64_t manifests() const { return manifests_; }

 private:
  void add(int socket) const;
  void accept_all();
  void serve(int socket);
  void answer(std::string_view head, std::string& replies);

  int epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  int listener_ = -1;
  int signals_ = -1;
  std::map<int, std::string> received_;  // of a request that is not complete
  std::uint64_t manifests_ = 0;
};

bool Responder::listen(std::uint16_t port) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int yes = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_, SOMAXCONN) != 0)
    return false;
  add(listener_);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  signals_ = ::signalfd(-1, &ends, SFD_CLOEXEC);
  add(signals_);
  return true;
}

void Responder::add(int socket) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = socket;
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event);
}

void Responder::run() {
  std::array<epoll_event, 64> ready{};
  for (;;) {
    const int count = ::epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), -1);
    for (int i = 0; i < count; ++i) {
      const int socket = ready.at(static_cast<std::size_t>(i)).data.fd;
      if (socket == signals_) return;
      if (socket == listener_) {
        accept_all();
      } else {
        serve(socket);
      }
    }
  }
}

void Responder::accept_all() {
  for (;;) {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0) return;
    const int yes = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    add(socket);
  }
}

void Responder::serve(int socket) {
  std::array<char, 16'384> bytes{};
  const ssize_t got = ::read(socket, bytes.data(), bytes.size());
  if (got <= 0) {
    received_.erase(socket);
    ::close(socket);
    return;
  }
  std::string& received = received_[socket];
  received.append(bytes.data(), static_cast<std::size_t>(got));
  std::string replies;
  for (;;) {
    const std::size_t end = received.find("\r\n\r\n");
    if (end == std::string::npos) break;
    answer(std::string_view(received).substr(0, end), replies);
    received.erase(0, end + 4);
  }
  if (!replies.empty() && ::write(socket, replies.data(), replies.size()) < 0) ::close(socket);
}

// HEAD of a manifest, GET of /v2/; nothing else is asked where every tag is in step.
void Responder::answer(std::string_view head, std::string& replies) {
  const std::string_view line = head.substr(0, head.find('\r'));
  if (line.starts_with("HEAD ") && line.find("/manifests/") != std::string_view::npos) {
    ++manifests_;
    replies +=
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"
        "Docker-Content-Digest: " +
        std::string(shown_digest) + "\r\nContent-Length: 500\r\n\r\n";
  } else if (line.starts_with("GET /v2/ ")) {
    replies += "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
  } else {
    fmt::print(stderr, "not expected: {}\n", line);
    replies += "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: {} PORT\n", argv[0]);
    return 2;
  }
  Responder responder;
  if (!responder.listen(static_cast<std::uint16_t>(std::strtoul(argv[1], nullptr, 10)))) {
    fmt::print(stderr, "port {} cannot be listened on\n", argv[1]);
    return 1;
  }
  fmt::print("listening\n");
  std::fflush(stdout);
  responder.run();
  fmt::print("{}\n", responder.manifests());
  return 0;
}
