#include "daemon/bus/journal_thread.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <system_error>
#include <type_traits>

namespace transship::bus {
namespace {

using namespace journal_request;
using SteadyClock = std::chrono::steady_clock;

// After a transaction that failed: when acknowledgements and fetches are tried again. Publishes try
// at once.
constexpr std::chrono::milliseconds retry_pause{250};

std::string system_error_text(int error) { return std::generic_category().message(error); }

bool must_survive_power_cut(const JournalRequest& request) {
  return std::holds_alternative<Publish>(request) || std::holds_alternative<OpenInbox>(request) ||
         std::holds_alternative<Forget>(request) || std::holds_alternative<Change>(request);
}

}  // namespace

JournalThread::JournalThread(JournalOptions options)
    : options_(std::move(options)), thread_([this] { run(); }) {}

JournalThread::~JournalThread() { stop(); }

void JournalThread::stop() {
  if (!thread_.joinable()) return;
  submit(Close{});
  thread_.join();
}

void JournalThread::submit(JournalRequest request) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = std::holds_alternative<Close>(request);
    requests_.push_back(std::move(request));
  }
  wake_.notify_one();
}

void JournalThread::submit_publish(Publish request) {
  {
    const std::lock_guard lock(mutex_);
    // One that is larger than the limit by itself goes through when it is alone.
    if (waiting_bytes_ > 0 && waiting_bytes_ + request.bytes > Journal::waiting_bytes_max) {
      request.done.complete(fail(ErrorKind::throttled, "the journal's disk does not keep up"));
      return;
    }
    waiting_bytes_ += request.bytes;
  }
  submit(std::move(request));
}

void JournalThread::run() {
  for (bool closing = false; !closing;) {
    Requests requests = wait_for_requests();
    closing = take_notes(requests);
    if (has_work(requests)) {
      std::vector<HandedOut> handed_out;
      const Result<void> outcome = transact(requests, handed_out);
      answer_all(requests, outcome);
      if (outcome) {
        for (HandedOut& out : handed_out) deliver(out);
      } else {
        wait_out(outcome.error());
      }
    }
    if (store_ && !retry_at_) shrinking_ = store_->shrink().value_or(false);
    if (closing) {
      close_store();
      for (JournalRequest& request : requests) {
        if (auto* close = std::get_if<Close>(&request)) {
          if (close->done.waits()) close->done.complete({});
        }
      }
    }
  }
}

JournalThread::Requests JournalThread::wait_for_requests() {
  const auto deadline = shrinking_ ? SteadyClock::now() : next_wake();
  std::unique_lock lock(mutex_);
  const auto something = [this] { return !requests_.empty(); };
  if (deadline) {
    wake_.wait_until(lock, *deadline, something);
  } else {
    wake_.wait(lock, something);
  }
  wake_.wait_for(lock, gathering_max, [this] { return !gathers(); });
  return std::exchange(requests_, {});
}

// Whether publishes wait and more are likely to come.
bool JournalThread::gathers() const {
  return waiting_bytes_ > 0 && waiting_bytes_ < Journal::waiting_bytes_max / 2 && !closed_ &&
         !answers_.expired();
}

std::optional<Leases::Time> JournalThread::next_wake() const {
  std::optional<Leases::Time> next;
  const auto sooner = [&next](Leases::Time time) { next = next ? std::min(*next, time) : time; };
  if (!acknowledged_.empty()) sooner(retry_at_.value_or(SteadyClock::now()));
  for (const auto& [id, consumer] : consumers_) {
    if (consumer.waiting.empty()) continue;
    if (consumer.hungry()) {
      sooner(retry_at_.value_or(SteadyClock::now()));
    } else if (const auto due = consumer.leases.next_due()) {
      sooner(*due);
    }
  }
  return next;
}

bool JournalThread::take_notes(Requests& requests) {
  bool closing = false;
  Requests left;
  for (JournalRequest& request : requests) {
    if (note(request)) continue;
    closing = std::holds_alternative<Close>(request);
    left.push_back(std::move(request));
  }
  requests = std::move(left);
  for (auto& [id, consumer] : consumers_) consumer.leases.expire(SteadyClock::now());
  return closing;
}

bool JournalThread::note(JournalRequest& request) {
  if (auto* open = std::get_if<Open>(&request)) {
    open->done.complete(open_store());
  } else if (auto* fetch = std::get_if<Fetch>(&request)) {
    const auto consumer = consumers_.find(fetch->consumer);
    // One that was forgotten: dropped, and so cancelled.
    if (consumer != consumers_.end()) consumer->second.waiting.push_back(std::move(*fetch));
  } else if (auto* done = std::get_if<Acknowledge>(&request)) {
    const auto consumer = consumers_.find(done->consumer);
    if (consumer != consumers_.end()) consumer->second.leases.acknowledge(done->sequence);
    acknowledged_.emplace(done->consumer, done->sequence);
  } else if (auto* extend = std::get_if<Extend>(&request)) {
    const auto consumer = consumers_.find(extend->consumer);
    if (consumer != consumers_.end()) {
      consumer->second.leases.extend(extend->sequence, SteadyClock::now() + extend->by);
    }
  } else if (auto* close = std::get_if<CloseInbox>(&request)) {
    cancel_fetches(close->inbox);
  } else {
    return false;
  }
  return true;
}

void JournalThread::cancel_fetches(std::uint64_t inbox) {
  for (auto& [id, consumer] : consumers_) {
    std::erase_if(consumer.waiting, [inbox](const Fetch& fetch) { return fetch.inbox == inbox; });
  }
}

bool JournalThread::has_work(const Requests& requests) const {
  if (!requests.empty()) return true;
  if (!store_ || (retry_at_ && SteadyClock::now() < *retry_at_)) return false;
  return !acknowledged_.empty() ||
         std::any_of(consumers_.begin(), consumers_.end(),
                     [](const auto& entry) { return entry.second.hungry(); });
}

Result<void> JournalThread::transact(Requests& requests, std::vector<HandedOut>& handed_out) {
  if (!store_) return fail(ErrorKind::transient, "the journal is not open");
  using Survives = JournalStore::Survives;
  const bool synced = std::any_of(requests.begin(), requests.end(), must_survive_power_cut);
  Result<void> done = store_->begin(synced ? Survives::power_cut : Survives::process);
  for (const auto& [consumer, sequence] : acknowledged_) {
    if (done) done = store_->acknowledge(consumer, sequence);
  }
  const Clock::time_point now = options_.clock();
  for (JournalRequest& request : requests) {
    if (done) done = apply(request, now);
  }
  for (const auto& [id, consumer] : consumers_) {
    if (!done || !consumer.hungry()) continue;
    auto collected = collect(id, consumer);
    if (collected) {
      handed_out.push_back(std::move(*collected));
    } else {
      done = fail(collected.error());
    }
  }
  if (done) done = store_->commit();
  if (!done) {
    store_->rollback();
    return fail(done.error().with_context("the journal"));
  }
  acknowledged_.clear();
  retry_at_.reset();
  return {};
}

Result<void> JournalThread::apply(JournalRequest& request, Clock::time_point now) {
  if (auto* publish = std::get_if<Publish>(&request)) {
    for (const Message& message : publish->messages) {
      auto added = store_->add(message, now);
      if (!added) return fail(added.error());
      publish->outcomes.push_back(*added);
    }
    for (auto& [id, consumer] : consumers_) consumer.may_have_fresh = true;
  } else if (auto* inbox = std::get_if<OpenInbox>(&request)) {
    auto consumer = store_->consumer(inbox->target);
    if (!consumer) return fail(consumer.error());
    inbox->consumer = *consumer;
  } else if (auto* forget = std::get_if<Forget>(&request)) {
    auto gone = store_->forget_others(forget->targets_kept);
    if (!gone) return fail(gone.error());
    forget->gone = std::move(*gone);
  } else if (auto* count = std::get_if<CountBacklog>(&request)) {
    auto backlog = store_->backlog(count->consumer);
    if (!backlog) return fail(backlog.error());
    count->backlog = *backlog;
  } else if (auto* change = std::get_if<Change>(&request)) {
    return change->work(*store_);
  }
  return {};
}

Result<JournalThread::HandedOut> JournalThread::collect(ConsumerId id, const Consumer& consumer) {
  HandedOut out{id};
  std::size_t bytes = 0;
  const std::size_t limit = std::max<std::size_t>(consumer.waiting.front().limit, 1);
  const auto full = [&] { return out.rows.size() >= limit || bytes >= Journal::fetch_bytes_max; };
  const auto take = [&](JournalStore::Row row) -> Result<void> {
    bytes += row.message.body.size();
    out.rows.push_back(std::move(row));
    return store_->count_delivery(id, out.rows.back().sequence);
  };
  for (const Sequence sequence : consumer.leases.all_ready()) {
    if (full()) return out;
    auto row = store_->at(id, sequence);
    if (!row) return fail(row.error());
    if (!*row) {
      out.gone.push_back(sequence);
      continue;
    }
    if (auto taken = take(std::move(**row)); !taken) return fail(taken.error());
  }
  Sequence after = consumer.leases.furthest();
  while (!full()) {
    auto row = store_->first_after(id, after);
    if (!row) return fail(row.error());
    out.more_fresh = row->has_value();
    if (!out.more_fresh) break;
    after = (*row)->sequence;
    if (auto taken = take(std::move(**row)); !taken) return fail(taken.error());
  }
  return out;
}

void JournalThread::answer_all(Requests& requests, const Result<void>& outcome) {
  const std::shared_ptr<void> taken(nullptr, [weak = weak_from_this()](void*) {
    const auto self = weak.lock();
    if (!self) return;
    {
      const std::lock_guard lock(self->mutex_);
    }  // so that the thread looks, or is woken
    self->wake_.notify_one();
  });
  answers_ = taken;
  for (JournalRequest& request : requests) answer(request, outcome, taken);
}

void JournalThread::answer(JournalRequest& request, const Result<void>& outcome,
                           const std::shared_ptr<void>& taken) {
  const auto reply = [&outcome](auto& done, auto value) {
    if (outcome) {
      done.complete(std::move(value));
    } else {
      done.complete(fail(outcome.error()));
    }
  };
  if (auto* publish = std::get_if<Publish>(&request)) {
    {
      const std::lock_guard lock(mutex_);
      waiting_bytes_ -= publish->bytes;
    }
    reply(publish->done, PublishAnswer{std::move(publish->outcomes), taken});
  } else if (auto* inbox = std::get_if<OpenInbox>(&request)) {
    if (outcome) consumers_.try_emplace(inbox->consumer);
    reply(inbox->done, inbox->consumer);
  } else if (auto* forget = std::get_if<Forget>(&request)) {
    if (outcome) {
      for (const ConsumerId consumer : forget->gone) consumers_.erase(consumer);
    }
    forget->done.complete(outcome);
  } else if (auto* count = std::get_if<CountBacklog>(&request)) {
    reply(count->done, count->backlog);
  } else if (auto* change = std::get_if<Change>(&request)) {
    change->done.complete(outcome);
  }
}

void JournalThread::deliver(HandedOut& out) {
  const auto found = consumers_.find(out.consumer);
  if (found == consumers_.end() || found->second.waiting.empty()) return;
  Consumer& consumer = found->second;
  consumer.may_have_fresh = out.more_fresh;
  for (const Sequence sequence : out.gone) consumer.leases.acknowledge(sequence);
  if (out.rows.empty()) return;
  Fetch fetch = std::move(consumer.waiting.front());
  consumer.waiting.pop_front();
  if (!fetch.done.claim()) {
    consumer.may_have_fresh = true;  // nobody took them: they stay where they were
    return;
  }
  std::vector<Delivery> deliveries;
  deliveries.reserve(out.rows.size());
  const Leases::Time until = SteadyClock::now() + options_.lease;
  for (JournalStore::Row& row : out.rows) {
    consumer.leases.hand_out(row.sequence, until);
    deliveries.push_back({std::move(row.message), row.stored_at, row.deliveries + 1,
                          std::make_shared<JournalReceipt>(out.consumer, row.sequence)});
  }
  fetch.done.fulfil(std::move(deliveries));
}

void JournalThread::wait_out(const Error& error) {
  retry_at_ = SteadyClock::now() + retry_pause;
  if (error.kind != ErrorKind::corrupt) return;
  for (auto& [id, consumer] : consumers_) {
    for (Fetch& fetch : consumer.waiting) fetch.done.complete(fail(error));
    consumer.waiting.clear();
  }
}

Result<void> JournalThread::open_store() {
  if (store_) return {};
  if (auto locked = lock_directory(); !locked) return locked;
  auto store = JournalStore::open(options_.directory / "journal.db", options_.vfs);
  if (!store) {
    close_store();
    return fail(store.error());
  }
  store_ = std::move(*store);
  open_ = true;
  return {};
}

Result<void> JournalThread::lock_directory() {
  const auto cannot = [this](std::string_view what, const std::string& why) {
    return fail(ErrorKind::transient,
                fmt::format("the journal in {}: {}: {}", options_.directory.string(), what, why));
  };
  std::error_code error;
  if (options_.directory.has_parent_path()) {
    std::filesystem::create_directories(options_.directory.parent_path(), error);
    if (error) return cannot("cannot make the directory", error.message());
  }
  if (::mkdir(options_.directory.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return cannot("cannot make the directory", system_error_text(errno));
  }
  const std::string file = options_.directory / "journal.lock";
  lock_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (lock_ < 0) return cannot("cannot open journal.lock", system_error_text(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) return {};
  const int why = errno;
  close_store();
  if (why != EWOULDBLOCK) return cannot("cannot lock journal.lock", system_error_text(why));
  return fail(ErrorKind::conflict,
              fmt::format("another daemon uses the journal in {} (it holds {}): a journal serves "
                          "one daemon; give this one a state directory of its own, or a NATS bus",
                          options_.directory.string(), file));
}

void JournalThread::close_store() {
  open_ = false;
  consumers_.clear();  // cancels the fetches that wait
  store_.reset();
  if (lock_ >= 0) ::close(std::exchange(lock_, -1));
}

}  // namespace transship::bus
