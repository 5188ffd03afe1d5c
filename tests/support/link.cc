#include "tests/support/link.h"

#include <fcntl.h>

#include <array>
#include <asio.hpp>
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <deque>
#include <thread>

namespace transship::testing {

namespace {

using Clock = std::chrono::steady_clock;
using asio::ip::tcp;
constexpr auto awaiting = asio::use_awaitable;
constexpr std::size_t piece_bytes = 64UL << 10U;
constexpr std::size_t least_in_flight = 256UL << 10U;

// A process that the test starts must not keep a connection open that is gone here.
template <class Socket>
void keep_from_children(Socket& socket) {
  ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
}

}  // namespace

struct Link::State {
  State(std::uint16_t port_to, Options its_options)
      : to_port(port_to),
        options(its_options),
        acceptor(loop, tcp::endpoint(asio::ip::address_v4::loopback(), its_options.listen)) {
    keep_from_children(acceptor);
  }

  // One direction of one connection.
  struct Pipe {
    Pipe(std::shared_ptr<tcp::socket> source, std::shared_ptr<tcp::socket> sink, bool is_back)
        : from(std::move(source)),
          to(std::move(sink)),
          back(is_back),
          changed(from->get_executor()) {
      changed.expires_at(Clock::time_point::max());
    }
    std::shared_ptr<tcp::socket> from;
    std::shared_ptr<tcp::socket> to;
    bool back;
    asio::steady_timer changed;  // cancelled when the queue changes
    std::deque<std::pair<Clock::time_point, std::string>> queue;
    std::size_t queued = 0;
    bool ended = false;
  };

  [[nodiscard]] std::size_t in_flight_max() const {
    if (options.bytes_per_second == 0) return 16UL << 20U;
    const double seconds = std::chrono::duration<double>(options.delay).count() * 2;
    return least_in_flight +
           static_cast<std::size_t>(seconds * static_cast<double>(options.bytes_per_second));
  }

  static asio::awaitable<void> wait(Pipe& pipe) {
    asio::error_code error;
    co_await pipe.changed.async_wait(asio::redirect_error(awaiting, error));
    pipe.changed.expires_at(Clock::time_point::max());
  }

  asio::awaitable<void> read(std::shared_ptr<Pipe> pipe) {
    std::string piece(piece_bytes, '\0');
    for (;;) {
      asio::error_code error;
      const std::size_t got = co_await pipe->from->async_read_some(
          asio::buffer(piece), asio::redirect_error(awaiting, error));
      if (error) break;
      pipe->queue.emplace_back(Clock::now() + options.delay, piece.substr(0, got));
      pipe->queued += got;
      pipe->changed.cancel();
      while (pipe->queued > in_flight_max()) co_await wait(*pipe);
    }
    pipe->ended = true;
    pipe->changed.cancel();
  }

  asio::awaitable<void> write(std::shared_ptr<Pipe> pipe) {
    asio::steady_timer timer(loop);
    auto next = Clock::now();
    for (;;) {
      while (pipe->queue.empty() && !pipe->ended) co_await wait(*pipe);
      if (pipe->queue.empty()) break;
      while (pipe->back && held) {
        timer.expires_after(std::chrono::milliseconds(1));
        co_await timer.async_wait(awaiting);
      }
      auto [due, piece] = std::move(pipe->queue.front());
      pipe->queue.pop_front();
      if (options.bytes_per_second > 0) {
        next = std::max(next, Clock::now() - std::chrono::milliseconds(5)) +
               std::chrono::microseconds(piece.size() * 1'000'000 / options.bytes_per_second);
        due = std::max(due, next);
      }
      if (due > Clock::now()) {
        timer.expires_at(due);
        co_await timer.async_wait(awaiting);
      }
      asio::error_code error;
      co_await asio::async_write(*pipe->to, asio::buffer(piece),
                                 asio::redirect_error(awaiting, error));
      if (error) break;
      (pipe->back ? from_bytes : to_bytes) += piece.size();
      pipe->queued -= piece.size();
      pipe->changed.cancel();
    }
    asio::error_code ignored;
    pipe->to->shutdown(tcp::socket::shutdown_send, ignored);
    if (!pipe->ended) pipe->from->close(ignored);
  }

  asio::awaitable<void> carry(std::shared_ptr<tcp::socket> near) {
    auto far = std::make_shared<tcp::socket>(loop);
    asio::error_code error;
    co_await far->async_connect(tcp::endpoint(asio::ip::address_v4::loopback(), to_port),
                                asio::redirect_error(awaiting, error));
    if (error) co_return;
    keep_from_children(*far);
    near->set_option(tcp::no_delay(true));
    far->set_option(tcp::no_delay(true));
    for (const bool back : {false, true}) {
      auto pipe = std::make_shared<Pipe>(back ? far : near, back ? near : far, back);
      asio::co_spawn(loop, read(pipe), asio::detached);
      asio::co_spawn(loop, write(pipe), asio::detached);
    }
  }

  asio::awaitable<void> accept() {
    for (;;) {
      auto near = std::make_shared<tcp::socket>(co_await acceptor.async_accept(awaiting));
      keep_from_children(*near);
      ++accepted;
      asio::co_spawn(loop, carry(std::move(near)), asio::detached);
    }
  }

  std::uint16_t to_port;
  Options options;
  asio::io_context loop;
  tcp::acceptor acceptor;
  std::atomic<std::uint64_t> to_bytes{0};
  std::atomic<std::uint64_t> from_bytes{0};
  std::atomic<std::size_t> accepted{0};
  std::atomic<bool> held{false};
  std::thread thread;
};

Link::Link(std::uint16_t to_port, Options options)
    : state_(std::make_unique<State>(to_port, options)) {
  asio::co_spawn(state_->loop, state_->accept(), asio::detached);
  state_->thread = std::thread([this] { state_->loop.run(); });
}

Link::~Link() {
  state_->loop.stop();
  state_->thread.join();
}

std::uint16_t Link::port() const { return state_->acceptor.local_endpoint().port(); }
std::uint64_t Link::bytes_to() const { return state_->to_bytes; }
std::uint64_t Link::bytes_from() const { return state_->from_bytes; }
std::size_t Link::connections() const { return state_->accepted; }
void Link::hold() { state_->held = true; }
void Link::release() { state_->held = false; }

}  // namespace transship::testing
