#include "daemon/bus/journal.h"

#include <atomic>
#include <numeric>
#include <utility>

#include "daemon/bus/journal_dead_letters.h"
#include "daemon/bus/journal_thread.h"
#include "daemon/bus/message.h"

namespace transship::bus {
namespace {

using namespace journal_request;

// A webhook's body has at most 16 MiB; its headers come on top.
constexpr std::size_t message_bytes_max = (16U << 20U) + (256U << 10U);
// What a waiting message takes besides its bytes.
constexpr std::size_t message_overhead_bytes = 512;

class JournalInbox final : public Inbox {
 public:
  JournalInbox(std::shared_ptr<JournalThread> thread, ConsumerId consumer)
      : thread_(std::move(thread)), consumer_(consumer), inbox_(++opened) {}
  ~JournalInbox() override { close(); }
  JournalInbox(const JournalInbox&) = delete;
  JournalInbox& operator=(const JournalInbox&) = delete;

  [[nodiscard]] std::chrono::milliseconds lease() const override { return thread_->lease(); }

  asio::awaitable<Result<std::vector<Delivery>>> fetch(std::size_t limit) override {
    if (closed_) co_return fail(ErrorKind::cancelled, "the inbox was closed");
    co_return co_await answered<std::vector<Delivery>>(
        [thread = thread_, consumer = consumer_, inbox = inbox_, limit](auto done) {
          thread->submit(Fetch{consumer, inbox, limit, std::move(done)});
        });
  }

  void acknowledge(const Delivery& delivery) override {
    thread_->submit(Acknowledge{consumer_, sequence_of(delivery)});
  }
  void in_progress(const Delivery& delivery) override {
    thread_->submit(Extend{consumer_, sequence_of(delivery), thread_->lease()});
  }
  void hand_back(const Delivery& delivery, std::chrono::milliseconds pause) override {
    thread_->submit(Extend{consumer_, sequence_of(delivery), pause});
  }

  asio::awaitable<Result<Backlog>> backlog() override {
    co_return co_await answered<Backlog>([thread = thread_, consumer = consumer_](auto done) {
      thread->submit(CountBacklog{consumer, std::move(done)});
    });
  }

  void close() override {
    if (!std::exchange(closed_, true)) thread_->submit(CloseInbox{inbox_});
  }

 private:
  static Sequence sequence_of(const Delivery& delivery) {
    return static_cast<const JournalReceipt&>(*delivery.receipt).sequence;
  }

  static inline std::atomic<std::uint64_t> opened{0};

  std::shared_ptr<JournalThread> thread_;
  const ConsumerId consumer_;
  const std::uint64_t inbox_;
  bool closed_ = false;
};

}  // namespace

Journal::Journal(JournalOptions options)
    : thread_(std::make_shared<JournalThread>(std::move(options))),
      dead_letters_(std::make_unique<JournalDeadLetters>(thread_)) {}

Journal::~Journal() { thread_->stop(); }  // an inbox may still hold it

asio::awaitable<Result<void>> Journal::open() {
  co_return co_await answered<void>(
      [thread = thread_](auto done) { thread->submit(Open{std::move(done)}); });
}

asio::awaitable<Result<std::vector<Published>>> Journal::publish(std::vector<Message> messages) {
  if (auto fits = check(messages, message_bytes_max); !fits) co_return fail(fits.error());
  const auto weigh = [](std::size_t sum, const Message& message) {
    return sum + bytes_of(message) + message_overhead_bytes;
  };
  const std::size_t bytes =
      std::accumulate(messages.begin(), messages.end(), std::size_t{0}, weigh);
  auto answer = co_await answered<PublishAnswer>(
      [thread = thread_, bytes, messages = std::move(messages)](auto done) mutable {
        thread->submit_publish(Publish{std::move(messages), bytes, std::move(done)});
      });
  if (!answer) co_return fail(answer.error());
  co_return std::move(answer->outcomes);
}

asio::awaitable<Result<std::unique_ptr<Inbox>>> Journal::open_inbox(std::string target) {
  auto consumer = co_await answered<ConsumerId>(
      [thread = thread_, target = std::move(target)](auto done) mutable {
        thread->submit(OpenInbox{std::move(target), std::move(done)});
      });
  if (!consumer) co_return fail(consumer.error());
  co_return std::make_unique<JournalInbox>(thread_, *consumer);
}

asio::awaitable<Result<void>> Journal::forget_other_inboxes(std::set<std::string> targets_kept) {
  co_return co_await answered<void>(
      [thread = thread_, targets = std::move(targets_kept)](auto done) mutable {
        thread->submit(Forget{std::move(targets), std::move(done)});
      });
}

std::size_t Journal::max_message_bytes() const { return message_bytes_max; }

bool Journal::connected() const { return thread_->is_open(); }

asio::awaitable<void> Journal::close() {
  std::ignore = co_await answered<void>(
      [thread = thread_](auto done) { thread->submit(Close{std::move(done)}); });
}

}  // namespace transship::bus
