#include "replicator/base/task.h"

#include <algorithm>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/redirect_error.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

namespace transship {

namespace {

Error error_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::system_error& e) {
    if (e.code() == asio::error::operation_aborted) {
      return Error{ErrorKind::cancelled, "cancelled"};
    }
    return Error{ErrorKind::transient, e.what()};
  } catch (const std::exception& e) {
    return Error{ErrorKind::transient, e.what()};
  }
}

}  // namespace

asio::awaitable<void> Event::wait() {
  co_await wait_until(std::chrono::steady_clock::time_point::max());
}

asio::awaitable<void> Event::wait_until(std::chrono::steady_clock::time_point deadline) {
  struct Listed {
    std::list<asio::steady_timer*>& list;
    std::list<asio::steady_timer*>::iterator position;
    ~Listed() { list.erase(position); }
  };
  asio::steady_timer timer(executor_, deadline);
  Listed listed{waiting_, waiting_.insert(waiting_.end(), &timer)};
  asio::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

void Event::notify() {
  for (asio::steady_timer* timer : waiting_) timer->cancel();
}

asio::awaitable<void> sleep_for(std::chrono::milliseconds pause) {
  asio::steady_timer timer(co_await asio::this_coro::executor, pause);
  co_await timer.async_wait(asio::use_awaitable);
}

Semaphore::Semaphore(asio::any_io_executor executor, std::size_t places)
    : executor_(std::move(executor)), places_(places) {}

Semaphore::Place& Semaphore::Place::operator=(Place&& other) noexcept {
  if (this != &other) {
    release();
    semaphore_ = std::exchange(other.semaphore_, nullptr);
  }
  return *this;
}

void Semaphore::Place::release() {
  if (Semaphore* semaphore = std::exchange(semaphore_, nullptr)) semaphore->give_back();
}

std::optional<Semaphore::Place> Semaphore::try_acquire() {
  if (in_use_ >= places_ || !waiters_.empty()) return std::nullopt;
  ++in_use_;
  return Place(this);
}

asio::awaitable<Semaphore::Place> Semaphore::acquire(int priority) {
  if (in_use_ < places_ && waiters_.empty()) {
    ++in_use_;
    co_return Place(this);
  }
  // Leaves the queue on every path, a cancellation included; a place granted meanwhile is passed
  // on.
  struct InQueue {
    Semaphore& semaphore;
    Waiter waiter;
    std::list<std::pair<int, Waiter*>>::iterator position;
    ~InQueue() {
      if (!waiter.granted) {
        semaphore.waiters_.erase(position);
      } else if (!taken) {
        semaphore.give_back();
      }
    }
    bool taken = false;
  };
  auto behind = std::find_if(waiters_.begin(), waiters_.end(),
                             [&](const auto& entry) { return entry.first < priority; });
  InQueue place{*this, Waiter(executor_), {}};
  place.position = waiters_.emplace(behind, priority, &place.waiter);
  while (!place.waiter.granted) co_await place.waiter.woken.wait();
  place.taken = true;
  co_return Place(this);
}

void Semaphore::give_back() {
  if (waiters_.empty()) {
    --in_use_;
    return;
  }
  Waiter* next = waiters_.front().second;
  waiters_.pop_front();
  next->granted = true;
  next->woken.notify();
}

TaskGroup::TaskGroup(asio::any_io_executor executor)
    : executor_(std::move(executor)), done_(executor_) {}

TaskGroup::~TaskGroup() = default;

void TaskGroup::spawn(asio::awaitable<Result<void>> child) { waiting_.push_back(std::move(child)); }

void TaskGroup::start(asio::awaitable<Result<void>> child) {
  signals_.emplace_back();
  ++running_;
  asio::co_spawn(
      executor_, std::move(child),
      asio::bind_cancellation_slot(signals_.back().slot(),
                                   [this](std::exception_ptr thrown, Result<void> outcome) {
                                     child_done(thrown, std::move(outcome));
                                   }));
}

void TaskGroup::child_done(std::exception_ptr thrown, Result<void> outcome) {
  --running_;
  if (thrown) outcome = fail(error_of(thrown));
  if (!outcome && !first_error_) {
    first_error_ = outcome.error();
    cancel();
  }
  if (running_ == 0) done_.notify();
}

void TaskGroup::cancel() {
  cancelled_ = true;
  for (auto& signal : signals_) signal.emit(asio::cancellation_type::terminal);
}

asio::awaitable<Result<void>> TaskGroup::join() {
  // From here to the end nothing may throw: the children refer to the parent's frame.
  const bool parent_throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  while (!waiting_.empty() && !cancelled_) {
    start(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  bool stopped = false;
  for (;;) {
    const auto state = co_await asio::this_coro::cancellation_state;
    if (!stopped && state.cancelled() != asio::cancellation_type::none) {
      stopped = true;
      if (!first_error_) first_error_ = Error{ErrorKind::cancelled, "cancelled"};
      cancel();
    }
    if (running_ == 0) break;
    co_await done_.wait();
  }
  co_await asio::this_coro::throw_if_cancelled(parent_throws);
  if (cancelled_ && !first_error_) first_error_ = Error{ErrorKind::cancelled, "cancelled"};
  if (first_error_) co_return fail(*first_error_);
  co_return Result<void>{};
}

asio::awaitable<Result<void>> for_each_index(
    std::size_t count, std::size_t at_once,
    std::function<asio::awaitable<Result<void>>(std::size_t)> work) {
  std::size_t next = 0;
  TaskGroup group(co_await asio::this_coro::executor);
  for (std::size_t i = 0; i < std::min(count, at_once); ++i) {
    // Each takes one after another of what nobody has taken.
    group.spawn(
        [](std::size_t end, std::size_t& at, const auto& one) -> asio::awaitable<Result<void>> {
          while (at < end) {
            if (auto done = co_await one(at++); !done) co_return done;
          }
          co_return Result<void>{};
        }(count, next, work));
  }
  co_return co_await group.join();
}

asio::awaitable<Result<void>> cancelled_as_error(asio::awaitable<Result<void>> work) {
  std::exception_ptr thrown;
  try {
    co_return co_await std::move(work);
  } catch (const std::system_error&) {
    thrown = std::current_exception();
  }
  co_return fail(error_of(thrown));
}

}  // namespace transship
