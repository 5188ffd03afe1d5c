#include "tests/support/raw_host.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <stdexcept>

namespace transship::testing {

std::string RawHost::Connection::read_head() {
  std::string head = std::exchange(ahead_, {});
  std::array<char, 4096> buffer{};
  for (;;) {
    if (const std::size_t end = head.find("\r\n\r\n"); end != std::string::npos) {
      ahead_ = head.substr(end + 4);
      return head.substr(0, end + 4);
    }
    const ssize_t size = ::recv(socket_, buffer.data(), buffer.size(), 0);
    if (size <= 0) return {};
    head.append(buffer.data(), static_cast<std::size_t>(size));
  }
}

std::size_t RawHost::Connection::skip(std::size_t bytes) {
  std::size_t done = std::min(bytes, ahead_.size());
  ahead_.erase(0, done);
  std::array<char, 65'536> buffer{};
  while (done < bytes) {
    const ssize_t size = ::recv(socket_, buffer.data(), std::min(buffer.size(), bytes - done), 0);
    if (size <= 0) break;
    done += static_cast<std::size_t>(size);
  }
  return done;
}

bool RawHost::Connection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(size));
  }
  return true;
}

std::size_t RawHost::Connection::send_until_stuck(std::string_view bytes, int patience_ms) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    pollfd room{socket_, POLLOUT, 0};
    if (::poll(&room, 1, patience_ms) <= 0) break;
    const ssize_t size =
        ::send(socket_, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size <= 0) break;
    done += static_cast<std::size_t>(size);
  }
  return done;
}

void RawHost::Connection::wait_for_close() { skip(SIZE_MAX); }

RawHost::RawHost(Script script)
    : script_(std::move(script)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 128) != 0) {
    throw std::runtime_error("the test's TCP server does not start");
  }
  ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  accepting_ = std::thread([this] { serve(); });
}

void RawHost::serve() {
  for (;;) {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    ++accepted_;
    ++open_;
    const std::lock_guard lock(mutex_);
    sockets_.push_back(socket);
    threads_.emplace_back([this, socket] {
      Connection connection(socket);
      script_(connection);
      const std::lock_guard closing(mutex_);
      sockets_.remove(socket);
      ::close(socket);
      --open_;
    });
  }
}

RawHost::~RawHost() {
  ::shutdown(listener_, SHUT_RDWR);
  accepting_.join();
  ::close(listener_);
  {
    const std::lock_guard lock(mutex_);
    for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
}

}  // namespace transship::testing
