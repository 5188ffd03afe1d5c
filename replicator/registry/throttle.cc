#include "replicator/registry/throttle.h"

#include <algorithm>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

namespace transship::registry {

namespace {

constexpr double slowest = 0.5;  // requests a second
constexpr double faster_by = 1.5;
// Many requests are refused together: that is one refusal.
constexpr std::chrono::milliseconds one_refusal{500};
constexpr std::chrono::seconds between_changes{1};

}  // namespace

Throttle::Throttle(double requests_per_second, std::chrono::milliseconds longest_wait)
    : configured_(requests_per_second), longest_wait_(longest_wait), pace_(requests_per_second) {}

asio::awaitable<void> Throttle::turn() {
  while (Clock::now() < not_before_) {  // it may be moved meanwhile
    asio::steady_timer timer(co_await asio::this_coro::executor, not_before_);
    co_await timer.async_wait(asio::use_awaitable);
  }
  co_await pace_.take(1);
  count();
}

void Throttle::count() {
  const auto now = Clock::now();
  if (now - second_ >= std::chrono::seconds(2)) {
    second_ = now;
    sent_before_ = sent_ = 0;
  } else if (now - second_ >= std::chrono::seconds(1)) {
    second_ += std::chrono::seconds(1);
    sent_before_ = std::exchange(sent_, 0);
  }
  ++sent_;
}

void Throttle::refused(std::optional<std::chrono::milliseconds> retry_after) {
  const auto now = Clock::now();
  if (retry_after) not_before_ = std::max(not_before_, now + std::min(*retry_after, longest_wait_));
  if (now - changed_ < one_refusal) return;
  changed_ = now;
  const double sent = std::max({sent_, sent_before_, 1.0});
  if (full_pace_ <= 0) full_pace_ = sent;
  const double allowed = pace_.per_second() > 0 ? std::min(pace_.per_second(), sent) : sent;
  pace_.set(std::max(slowest, allowed / 2));
}

void Throttle::accepted() {
  const auto now = Clock::now();
  if (full_pace_ <= 0 || now < not_before_ || now - changed_ < between_changes) return;
  changed_ = now;
  const double next = pace_.per_second() * faster_by;
  const bool recovered = next > 2 * full_pace_ || (configured_ > 0 && next >= configured_);
  if (recovered) full_pace_ = 0;
  pace_.set(recovered ? configured_ : next);
}

}  // namespace transship::registry
