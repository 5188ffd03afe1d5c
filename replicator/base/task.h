#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "replicator/base/error.h"

// The few pieces that coroutines on one event loop need to wait for one another. All of them belong
// to one thread. Cancellation is Asio's: a cancelled coroutine is left by an exception at its next
// wait, so what it holds is let go by destructors.
namespace transship {

// Waiting for a condition that another coroutine makes true: while (!condition) co_await
// event.wait(); A condition is looked at again after each wake-up, so that spurious ones are
// harmless.
class Event {
 public:
  explicit Event(asio::any_io_executor executor) : executor_(std::move(executor)) {}
  asio::awaitable<void> wait();
  // Like wait(), but not longer than until `deadline`.
  asio::awaitable<void> wait_until(std::chrono::steady_clock::time_point deadline);
  void notify();

 private:
  asio::any_io_executor executor_;
  std::list<asio::steady_timer*>
      waiting_;  // each waiter's own, so that deadlines do not disturb one another
};

asio::awaitable<void> sleep_for(std::chrono::milliseconds pause);

// A bounded number of places, given out by priority (higher first), then in the order of asking.
class Semaphore {
 public:
  Semaphore(asio::any_io_executor executor, std::size_t places);

  // Gives its place back when it goes.
  class Place {
   public:
    Place() = default;
    explicit Place(Semaphore* semaphore) : semaphore_(semaphore) {}
    Place(Place&& other) noexcept : semaphore_(std::exchange(other.semaphore_, nullptr)) {}
    Place& operator=(Place&& other) noexcept;
    ~Place() { release(); }
    void release();

   private:
    Semaphore* semaphore_ = nullptr;
  };

  asio::awaitable<Place> acquire(int priority = 0);
  // A place, if one is free now and nobody waits for it.
  std::optional<Place> try_acquire();
  // One more, and no more than half of the places would be in use.
  [[nodiscard]] bool half_is_free() const { return 2 * (in_use_ + 1) <= places_; }
  [[nodiscard]] std::size_t in_use() const { return in_use_; }
  [[nodiscard]] std::size_t places() const { return places_; }

 private:
  struct Waiter {
    explicit Waiter(asio::any_io_executor executor) : woken(std::move(executor)) {}
    Event woken;
    bool granted = false;
  };
  void give_back();

  asio::any_io_executor executor_;
  std::size_t places_;
  std::size_t in_use_ = 0;
  std::list<std::pair<int, Waiter*>> waiters_;  // by priority, then arrival
};

// Runs children side by side. The first error cancels the rest; join() returns only when no child
// is left, so children may refer to what their parent's frame holds. They start in join(): a parent
// that was cancelled before it came there is left without having started any, and there is no
// moment at which children run and nobody waits for them.
class TaskGroup {
 public:
  explicit TaskGroup(asio::any_io_executor executor);
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup();

  void spawn(asio::awaitable<Result<void>> child);
  // Starts the children and waits for all. A cancelled parent's children are cancelled too, and
  // waited for.
  asio::awaitable<Result<void>> join();
  void cancel();

 private:
  void start(asio::awaitable<Result<void>> child);
  void child_done(std::exception_ptr thrown, Result<void> outcome);

  asio::any_io_executor executor_;
  std::list<asio::awaitable<Result<void>>> waiting_;
  std::list<asio::cancellation_signal>
      signals_;  // one a child; kept to the end, since Asio may still refer to it
  std::size_t running_ = 0;
  Event done_;
  std::optional<Error> first_error_;
  bool cancelled_ = false;
};

// Does work(i) for every i below `count`, in order, at most `at_once` of them side by side. The
// first error ends it. `work` lives until the end.
asio::awaitable<Result<void>> for_each_index(
    std::size_t count, std::size_t at_once,
    std::function<asio::awaitable<Result<void>>(std::size_t)> work);

namespace detail {
template <class Function>
asio::awaitable<std::invoke_result_t<Function>> call(Function function) {
  co_return function();
}
}  // namespace detail

// Runs a blocking function on a pool's thread and comes back to the caller's executor with its
// result. A cancellation waits for the function's end: the strand keeps it off the thread that the
// function runs on.
template <class Pool, class Function>
auto offload(Pool& pool, Function function) {
  return asio::co_spawn(asio::make_strand(pool), detail::call(std::move(function)),
                        asio::use_awaitable);
}

// Awaits `work` in the caller's place and turns the exception of a cancellation into an error of
// kind `cancelled`.
asio::awaitable<Result<void>> cancelled_as_error(asio::awaitable<Result<void>> work);

}  // namespace transship
