#pragma once

#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/use_awaitable.hpp>
#include <atomic>
#include <memory>
#include <utility>

#include "replicator/base/error.h"

namespace transship::bus {

// One coroutine's wait for an answer that another thread gives. The coroutine goes on where it was,
// on its own executor; a Completion that is dropped answers `cancelled`, so nobody waits for ever.
// Where Asio cancels the coroutine, it is let go at once with `cancelled`, and the work that it
// asked for may be done all the same.
template <class T>
class Completion {
 public:
  Completion() = default;
  Completion(Completion&&) noexcept = default;
  Completion& operator=(Completion&& other) noexcept {
    std::swap(waiter_,
              other.waiter_);  // what was waited for here goes with `other`, and is answered then
    return *this;
  }
  ~Completion() {
    if (waiter_) complete(fail(ErrorKind::cancelled, "the bus was closed"));
  }

  template <class Handler>
  explicit Completion(Handler handler) {
    auto waiting = std::make_shared<Waiting<Handler>>(std::move(handler));
    waiting->listen_for_cancellation();
    waiter_ = std::move(waiting);
  }

  // Takes the right to answer; false: the coroutine was cancelled and waits no more. Then fulfil(),
  // once.
  [[nodiscard]] bool claim() { return !waiter_->claimed.exchange(true); }
  void fulfil(Result<T> result) { std::exchange(waiter_, nullptr)->answer(std::move(result)); }

  [[nodiscard]] bool waits() const { return waiter_ != nullptr; }

  // Both in one, for answers whose loss does not matter.
  void complete(Result<T> result) {
    if (claim()) {
      fulfil(std::move(result));
    } else {
      waiter_.reset();
    }
  }

 private:
  struct Waiter {
    Waiter() = default;
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    virtual ~Waiter() = default;
    virtual void answer(Result<T> result) = 0;
    std::atomic<bool> claimed{false};
  };

  template <class Handler>
  struct Waiting final : Waiter, std::enable_shared_from_this<Waiting<Handler>> {
    explicit Waiting(Handler h)
        : handler(std::move(h)),
          executor(asio::prefer(asio::get_associated_executor(handler),
                                asio::execution::outstanding_work.tracked)) {}

    // Called on the loop, before any other thread can answer.
    void listen_for_cancellation() {
      auto slot = asio::get_associated_cancellation_slot(handler);
      if (!slot.is_connected()) return;
      slot.assign([weak = this->weak_from_this()](asio::cancellation_type) {
        auto self = weak.lock();
        if (self && !self->claimed.exchange(true)) {
          self->answer(fail(ErrorKind::cancelled, "the wait was cancelled"));
        }
      });
    }

    void answer(Result<T> result) override {
      auto where = executor;
      asio::post(where, [h = std::move(handler), e = std::move(executor),
                         r = std::move(result)]() mutable {
        auto slot = asio::get_associated_cancellation_slot(h);
        if (slot.is_connected()) slot.clear();
        std::move(h)(std::move(r));
      });
    }

    Handler handler;
    using Tracked =
        std::decay_t<decltype(asio::prefer(asio::get_associated_executor(std::declval<Handler&>()),
                                           asio::execution::outstanding_work.tracked))>;
    Tracked executor;
  };

  std::shared_ptr<Waiter> waiter_;
};

// Suspends until the Completion given to `start` is answered: co_await
// answered<int>([](Completion<int> c) {…}). `start` runs on the loop, and must not keep references
// to what goes out of scope there.
template <class T, class Start>
asio::awaitable<Result<T>> answered(Start start) {
  return asio::async_initiate<const asio::use_awaitable_t<>, void(Result<T>)>(
      [start = std::move(start)](auto handler) mutable {
        start(Completion<T>(std::move(handler)));
      },
      asio::use_awaitable);
}

}  // namespace transship::bus
