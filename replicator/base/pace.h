#pragma once

#include <asio/awaitable.hpp>
#include <chrono>

namespace transship {

// Keeps what is done to so much a second, on the average of a tenth of a second. Whoever comes
// first goes first. Belongs to one loop.
class Pace {
 public:
  // `per_second`: bytes, or requests; 0 is no limit.
  explicit Pace(double per_second = 0) { set(per_second); }
  void set(double per_second);
  [[nodiscard]] double per_second() const { return per_second_; }

  // Waits for its turn, and makes those behind wait for `amount`.
  asio::awaitable<void> take(double amount);

 private:
  using Clock = std::chrono::steady_clock;
  double per_second_ = 0;
  Clock::time_point next_ = Clock::now();  // when the next may go
};

}  // namespace transship
