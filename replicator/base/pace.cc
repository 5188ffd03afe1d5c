#include "replicator/base/pace.h"

#include <algorithm>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

namespace transship {

namespace {

// What nobody took may be taken later, up to so much.
constexpr std::chrono::milliseconds burst{100};
constexpr double longest_turn_seconds = 3600;  // keeps the clock's arithmetic within its range

}  // namespace

void Pace::set(double per_second) {
  per_second_ = per_second;
  // A turn that was given at a slower pace is not waited for any more.
  next_ = std::min(next_, Clock::now() + burst);
}

asio::awaitable<void> Pace::take(double amount) {
  if (per_second_ <= 0) co_return;
  const auto now = Clock::now();
  const auto mine = std::max(next_, now - burst);
  const std::chrono::duration<double> cost(std::min(amount / per_second_, longest_turn_seconds));
  next_ = mine + std::chrono::duration_cast<Clock::duration>(cost);
  if (mine <= now) co_return;
  asio::steady_timer timer(co_await asio::this_coro::executor, mine);
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace transship
