#include "daemon/bus/jetstream.h"

#include <thread>
#include <utility>

#include "daemon/bus/jetstream_dead_letters.h"
#include "daemon/bus/jetstream_inbox.h"
#include "daemon/bus/jetstream_link.h"
#include "daemon/bus/message.h"

namespace transship::bus {

JetStream::JetStream(JetStreamOptions options)
    : link_(std::make_shared<JetStreamLink>(std::move(options))),
      dead_letters_(std::make_unique<JetStreamDeadLetters>(link_)) {}

JetStream::~JetStream() { link_->stop(); }

asio::awaitable<Result<void>> JetStream::open() {
  co_return co_await answered<void>([link = link_](auto done) {
    link->call([link, d = std::move(done)]() mutable { d.complete(link->open()); });
  });
}

asio::awaitable<Result<std::vector<Published>>> JetStream::publish(std::vector<Message> messages) {
  if (auto fits = check(messages, max_message_bytes()); !fits) co_return fail(fits.error());
  if (messages.empty()) co_return std::vector<Published>();
  co_return co_await answered<std::vector<Published>>(
      [link = link_, m = std::move(messages)](auto done) mutable {
        link->publish(std::move(m), std::move(done));
      });
}

asio::awaitable<Result<std::unique_ptr<Inbox>>> JetStream::open_inbox(std::string target) {
  auto lease = co_await answered<std::chrono::milliseconds>([link = link_, target](auto done) {
    link->call([link, target, d = std::move(done)]() mutable {
      auto session = link->usable_session();
      if (!session) return d.complete(fail(session.error()));
      auto consumer = link->ensure_consumer(**session, target);
      if (!consumer) return d.complete(fail(consumer.error()));
      const std::chrono::nanoseconds wait((*consumer)->Config->AckWait);
      d.complete(std::chrono::duration_cast<std::chrono::milliseconds>(wait));
    });
  });
  if (!lease) co_return fail(lease.error());
  co_return make_jetstream_inbox(link_, std::move(target), *lease);
}

asio::awaitable<Result<void>> JetStream::check_inbox(std::string target) {
  co_return co_await answered<void>([link = link_, target](auto done) {
    link->call([link, target, d = std::move(done)]() mutable {
      auto session = link->usable_session();
      if (!session) return d.complete(fail(session.error()));
      d.complete(link->check_present_consumer(**session, target));
    });
  });
}

asio::awaitable<Result<void>> JetStream::forget_other_inboxes(std::set<std::string>) {
  co_return Result<void>();
}

std::vector<std::string> JetStream::warnings() const { return link_->warnings(); }

std::size_t JetStream::max_message_bytes() const { return link_->message_bytes_max(); }

bool JetStream::connected() const { return link_->connected(); }

std::uint64_t JetStream::times_lost() const { return link_->times_lost(); }

asio::awaitable<void> JetStream::close() {
  link_->refuse_new();
  std::thread closer;  // waits for all other threads, so it can be none of them
  std::ignore = co_await answered<void>([link = link_, &closer](auto done) {
    closer = std::thread([link, d = std::move(done)]() mutable {
      link->stop();
      d.complete({});
    });
  });
  closer.join();
}

}  // namespace transship::bus
