#include "replicator/base/task.h"

#include <gtest/gtest.h>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <thread>
#include <vector>

namespace transship {
namespace {

using std::chrono::milliseconds;
using Work = asio::awaitable<Result<void>>;

constexpr auto cancelled = asio::cancellation_type::terminal;

class TaskTest : public ::testing::Test {
 protected:
  asio::any_io_executor executor() { return io_.get_executor(); }

  // How a coroutine that was started with spawn() came out.
  struct Outcome {
    bool done = false;
    bool threw = false;
    Result<void> result;
  };
  void spawn(Work work, Outcome& outcome) {
    asio::co_spawn(
        io_, std::move(work),
        asio::bind_cancellation_slot(outcome_signal(outcome).slot(),
                                     [&outcome](std::exception_ptr thrown, Result<void> result) {
                                       outcome.done = true;
                                       outcome.threw = thrown != nullptr;
                                       outcome.result = std::move(result);
                                     }));
  }
  void cancel(Outcome& outcome) { outcome_signal(outcome).emit(cancelled); }
  // Everything that can go on without time passing goes on.
  void settle() {
    io_.restart();
    io_.poll();
  }
  void run() {
    io_.restart();
    io_.run_for(std::chrono::seconds(20));
  }

  asio::io_context io_;

 private:
  asio::cancellation_signal& outcome_signal(Outcome& outcome) { return signals_[&outcome]; }
  std::map<Outcome*, asio::cancellation_signal> signals_;
};

Work wait_for(Event& event, bool& condition, int& reached) {
  while (!condition) co_await event.wait();
  ++reached;
  co_return Result<void>{};
}

Work fail_with(ErrorKind kind) { co_return fail(kind, "on purpose"); }

// Says when it is left, on whatever way.
struct Leaving {
  int& left;
  explicit Leaving(int& counter) : left(counter) {}
  Leaving(const Leaving&) = delete;
  Leaving& operator=(const Leaving&) = delete;
  ~Leaving() { ++left; }
};

Work wait_for_ever(asio::any_io_executor executor, int& started, int& left) {
  ++started;
  const Leaving leaving(left);
  Event never(executor);
  for (;;) co_await never.wait();
}

TEST_F(TaskTest, AnEventWakesAllWhoWait) {
  Event event(executor());
  bool condition = false;
  int reached = 0;
  Outcome a;
  Outcome b;
  spawn(wait_for(event, condition, reached), a);
  spawn(wait_for(event, condition, reached), b);
  settle();
  event.notify();  // not true yet: they go on waiting
  settle();
  EXPECT_EQ(reached, 0);
  condition = true;
  event.notify();
  settle();
  EXPECT_EQ(reached, 2);
}

TEST_F(TaskTest, AnEventsDeadlinesDoNotDisturbOneAnother) {
  Event event(executor());
  const auto start = std::chrono::steady_clock::now();
  std::vector<int> order;
  const auto wait_until = [&](milliseconds after, int number) -> Work {
    return [](Event& event, auto deadline, int number, std::vector<int>& order) -> Work {
      co_await event.wait_until(deadline);
      order.push_back(number);
      co_return Result<void>{};
    }(event, start + after, number, order);
  };
  Outcome a;
  Outcome b;
  Outcome c;
  spawn(wait_until(milliseconds(60), 3), a);
  spawn(wait_until(milliseconds(-10), 1), b);
  spawn(wait_until(milliseconds(20), 2), c);
  run();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(60));
}

TEST_F(TaskTest, ACancelledWaitIsLeftByAnException) {
  int started = 0;
  int left = 0;
  Outcome outcome;
  spawn(wait_for_ever(executor(), started, left), outcome);
  settle();
  cancel(outcome);
  settle();
  EXPECT_TRUE(outcome.done);
  EXPECT_TRUE(outcome.threw);
  EXPECT_EQ(left, 1);
}

// --- Semaphore
// ----------------------------------------------------------------------------------------------------------

Work take_and_note(Semaphore& semaphore, int priority, int number, std::vector<int>& order,
                   Event& go, bool& may_go) {
  auto place = co_await semaphore.acquire(priority);
  order.push_back(number);
  while (!may_go) co_await go.wait();
  co_return Result<void>{};
}

TEST_F(TaskTest, PlacesAreGivenByPriorityThenByOrder) {
  Semaphore semaphore(executor(), 1);
  Event go(executor());
  bool may_go = false;
  std::vector<int> order;
  std::vector<Outcome> outcomes(5);
  const int priorities[] = {0, 0, 5, 5, -1};
  for (int i = 0; i < 5; ++i) {
    spawn(take_and_note(semaphore, priorities[i], i, order, go, may_go),
          outcomes[static_cast<std::size_t>(i)]);
    settle();
  }
  EXPECT_EQ(semaphore.in_use(), 1u);
  may_go = true;
  go.notify();
  settle();
  EXPECT_EQ(order, (std::vector<int>{0, 2, 3, 1, 4}));
  EXPECT_EQ(semaphore.in_use(), 0u);
}

TEST_F(TaskTest, WhoIsCancelledWhileWaitingTakesNoPlace) {
  Semaphore semaphore(executor(), 1);
  Event go(executor());
  bool may_go = false;
  std::vector<int> order;
  std::vector<Outcome> outcomes(3);
  for (int i = 0; i < 3; ++i) {
    spawn(take_and_note(semaphore, 0, i, order, go, may_go), outcomes[static_cast<std::size_t>(i)]);
  }
  settle();
  cancel(outcomes[1]);
  settle();
  EXPECT_TRUE(outcomes[1].threw);
  EXPECT_EQ(semaphore.in_use(), 1u);
  may_go = true;
  go.notify();
  settle();
  EXPECT_EQ(order, (std::vector<int>{0, 2}));
  EXPECT_EQ(semaphore.in_use(), 0u);
}

TEST_F(TaskTest, APlaceThatIsGrantedToWhoIsCancelledIsPassedOn) {
  for (const bool cancelled_first : {false, true}) {
    Semaphore semaphore(executor(), 1);
    Event go(executor());
    bool may_go = true;
    std::vector<int> order;
    Outcome first;
    Outcome second;
    auto held = std::make_unique<Semaphore::Place>();
    Outcome holder;
    spawn(
        [](Semaphore& from, Semaphore::Place& into) -> Work {
          into = co_await from.acquire();
          co_return Result<void>{};
        }(semaphore, *held),
        holder);
    settle();
    spawn(take_and_note(semaphore, 0, 1, order, go, may_go), first);
    spawn(take_and_note(semaphore, 0, 2, order, go, may_go), second);
    settle();
    // Both happen before the first of those who wait can run.
    if (cancelled_first) cancel(first);
    held->release();
    if (!cancelled_first) cancel(first);
    settle();
    EXPECT_TRUE(first.done && second.done);
    EXPECT_EQ(order.back(), 2);
    EXPECT_EQ(semaphore.in_use(), 0u);
  }
}

TEST_F(TaskTest, APlaceIsGivenBackOnceHoweverOftenItMoves) {
  Semaphore semaphore(executor(), 2);
  Outcome outcome;
  spawn(
      [](Semaphore& from) -> Work {
        auto a = co_await from.acquire();
        auto b = co_await from.acquire();
        EXPECT_EQ(from.in_use(), 2u);
        a = std::move(b);
        EXPECT_EQ(from.in_use(), 1u);
        const Semaphore::Place c = std::move(a);
        a.release();
        EXPECT_EQ(from.in_use(), 1u);
        co_return Result<void>{};
      }(semaphore),
      outcome);
  settle();
  EXPECT_TRUE(outcome.done);
  EXPECT_EQ(semaphore.in_use(), 0u);
}

// --- TaskGroup
// ----------------------------------------------------------------------------------------------------------

TEST_F(TaskTest, TheFirstErrorCancelsTheRestAndAllAreWaitedFor) {
  int started = 0;
  int left = 0;
  Outcome outcome;
  spawn(
      [](asio::any_io_executor on, int& started, int& left) -> Work {
        TaskGroup group(on);
        for (int i = 0; i < 3; ++i) group.spawn(wait_for_ever(on, started, left));
        group.spawn(fail_with(ErrorKind::corrupt));
        group.spawn(fail_with(ErrorKind::conflict));
        auto joined = co_await group.join();
        EXPECT_EQ(left, started);
        co_return joined;
      }(executor(), started, left),
      outcome);
  settle();
  ASSERT_TRUE(outcome.done);
  ASSERT_FALSE(outcome.result);
  EXPECT_EQ(outcome.result.error().kind, ErrorKind::corrupt);
  EXPECT_EQ(left, 3);
}

TEST_F(TaskTest, AGroupWithoutChildrenIsDone) {
  Outcome outcome;
  spawn(
      [](asio::any_io_executor on) -> Work {
        TaskGroup group(on);
        co_return co_await group.join();
      }(executor()),
      outcome);
  settle();
  EXPECT_TRUE(outcome.done && outcome.result);
}

TEST_F(TaskTest, ACancelledParentsChildrenAreCancelledAndWaitedFor) {
  int started = 0;
  int left = 0;
  Outcome outcome;
  spawn(
      [](asio::any_io_executor on, int& started, int& left) -> Work {
        TaskGroup group(on);
        for (int i = 0; i < 3; ++i) group.spawn(wait_for_ever(on, started, left));
        auto joined = co_await group.join();
        EXPECT_EQ(left, 3);
        co_return joined;
      }(executor(), started, left),
      outcome);
  settle();
  EXPECT_EQ(started, 3);
  cancel(outcome);
  settle();
  ASSERT_TRUE(outcome.done);
  ASSERT_FALSE(outcome.result);
  EXPECT_EQ(outcome.result.error().kind, ErrorKind::cancelled);
}

// The cancellation comes while the parent runs, so that nothing tells it before it asks its
// children to start.
TEST_F(TaskTest, AParentCancelledBeforeItJoinsLeavesNoChildBehind) {
  int started = 0;
  int left = 0;
  Outcome outcome;
  bool condition = false;
  Event event(executor());
  spawn(
      [](asio::any_io_executor on, Event& event, bool& condition, int& started, int& left) -> Work {
        while (!condition) co_await event.wait();
        TaskGroup group(on);
        for (int i = 0; i < 3; ++i) group.spawn(wait_for_ever(on, started, left));
        co_return co_await group.join();
      }(executor(), event, condition, started, left),
      outcome);
  settle();
  condition = true;
  event.notify();
  cancel(outcome);
  settle();
  EXPECT_TRUE(outcome.done);
  EXPECT_TRUE(outcome.threw || outcome.result.error().kind == ErrorKind::cancelled);
  EXPECT_EQ(started, left);
}

TEST_F(TaskTest, AParentCanStillBeCancelledAfterAJoin) {
  int left = 0;
  int started = 0;
  Outcome outcome;
  spawn(
      [](asio::any_io_executor on, int& started, int& left) -> Work {
        TaskGroup group(on);
        auto joined = co_await group.join();
        if (!joined) co_return joined;
        co_return co_await wait_for_ever(on, started, left);
      }(executor(), started, left),
      outcome);
  settle();
  EXPECT_EQ(started, 1);
  cancel(outcome);
  io_.restart();
  for (int i = 0; i < 100 && !outcome.done; ++i) io_.poll_one();
  EXPECT_TRUE(outcome.done);
  EXPECT_EQ(left, 1);
}

TEST_F(TaskTest, AChildsExceptionIsItsError) {
  Outcome outcome;
  spawn(
      [](asio::any_io_executor on) -> Work {
        TaskGroup group(on);
        group.spawn([]() -> Work {
          co_await asio::post(asio::use_awaitable);
          throw std::runtime_error("a bug");
        }());
        co_return co_await group.join();
      }(executor()),
      outcome);
  settle();
  ASSERT_TRUE(outcome.done && !outcome.result);
  EXPECT_EQ(outcome.result.error().message, "a bug");
}

TEST_F(TaskTest, ACancellationBecomesAnError) {
  int started = 0;
  int left = 0;
  Outcome outcome;
  spawn(cancelled_as_error(wait_for_ever(executor(), started, left)), outcome);
  settle();
  cancel(outcome);
  settle();
  ASSERT_TRUE(outcome.done && !outcome.threw && !outcome.result);
  EXPECT_EQ(outcome.result.error().kind, ErrorKind::cancelled);
}

// --- offload
// ------------------------------------------------------------------------------------------------------------

TEST_F(TaskTest, OffloadedWorkRunsElsewhereAndComesBack) {
  asio::thread_pool pool(2);
  Outcome outcome;
  const auto here = std::this_thread::get_id();
  spawn(
      [](asio::thread_pool& pool, std::thread::id here) -> Work {
        const auto there = co_await offload(pool, [] { return std::this_thread::get_id(); });
        EXPECT_NE(there, here);
        EXPECT_EQ(std::this_thread::get_id(), here);
        co_return Result<void>{};
      }(pool, here),
      outcome);
  run();
  EXPECT_TRUE(outcome.done && outcome.result);
}

TEST_F(TaskTest, CancellingOffloadedWorkWaitsForItsEnd) {
  asio::thread_pool pool(2);
  Outcome outcome;
  std::atomic<bool> running = false;
  std::atomic<bool> may_end = false;
  std::atomic<bool> ended = false;
  spawn(
      [](asio::thread_pool& pool, auto& running, auto& may_end, auto& ended) -> Work {
        co_await offload(pool, [&] {
          running = true;
          while (!may_end) std::this_thread::yield();
          return ended.exchange(true);
        });
        co_await asio::post(asio::use_awaitable);
        co_return Result<void>{};
      }(pool, running, may_end, ended),
      outcome);
  settle();
  while (!running) std::this_thread::yield();
  cancel(outcome);
  settle();
  EXPECT_FALSE(outcome.done);
  may_end = true;
  run();
  EXPECT_TRUE(outcome.done && outcome.threw && ended);
}

}  // namespace
}  // namespace transship
