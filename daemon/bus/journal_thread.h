#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "daemon/bus/completion.h"
#include "daemon/bus/journal.h"
#include "daemon/bus/journal_store.h"
#include "daemon/bus/leases.h"

namespace transship::bus {

// What the loop asks of the journal's thread, and where the thread keeps the answer until it is
// committed.
namespace journal_request {
struct Open {
  Completion<void> done;
};
// `taken` is shared by all answers of a round, and gone once the loop has come to each of them.
struct PublishAnswer {
  std::vector<Published> outcomes;
  std::shared_ptr<void> taken;
};
struct Publish {
  std::vector<Message> messages;
  std::size_t bytes = 0;
  Completion<PublishAnswer> done;
  std::vector<Published> outcomes = {};
};
struct OpenInbox {
  std::string target;
  Completion<ConsumerId> done;
  ConsumerId consumer = {};
};
struct Forget {
  std::set<std::string> targets_kept;
  Completion<void> done;
  std::vector<ConsumerId> gone = {};
};
struct CountBacklog {
  ConsumerId consumer;
  Completion<Backlog> done;
  Backlog backlog = {};
};
// Anything else that is done in a transaction of the file, durably.
struct Change {
  std::function<Result<void>(JournalStore&)> work;
  Completion<void> done;
};
struct Fetch {
  ConsumerId consumer;
  std::uint64_t inbox = 0;
  std::size_t limit = 0;
  Completion<std::vector<Delivery>> done;
};
struct Acknowledge {
  ConsumerId consumer;
  Sequence sequence = 0;
};
// Reported in progress (a lease from now), or handed back (ready again after a pause).
struct Extend {
  ConsumerId consumer;
  Sequence sequence = 0;
  std::chrono::milliseconds by;
};
struct CloseInbox {
  std::uint64_t inbox = 0;
};
struct Close {
  Completion<void> done;
};
}  // namespace journal_request

using JournalRequest =
    std::variant<journal_request::Open, journal_request::Publish, journal_request::OpenInbox,
                 journal_request::Forget, journal_request::CountBacklog, journal_request::Fetch,
                 journal_request::Acknowledge, journal_request::Extend, journal_request::CloseInbox,
                 journal_request::Change, journal_request::Close>;

// How a delivery is known to the journal.
struct JournalReceipt final : Delivery::Receipt {
  JournalReceipt(ConsumerId c, Sequence s) : consumer(c), sequence(s) {}
  ConsumerId consumer;
  Sequence sequence;
};

// The one thread that touches the journal's file. Each round takes every request that waits, does
// them and the fetches that they make possible in one transaction, commits, and only then answers.
//
// A round with publishes begins once the loop has come to the answers of the last one. Until then
// it is at something else, most likely at more publishes, and would take no answer sooner. So many
// publishes at once share a few syncs on a fast disk too, and one who publishes when he has the
// answer to his last waits for nobody.
class JournalThread : public std::enable_shared_from_this<JournalThread> {
 public:
  // No longer than that is the loop waited for.
  static constexpr std::chrono::milliseconds gathering_max{100};

  explicit JournalThread(JournalOptions options);
  ~JournalThread();
  JournalThread(const JournalThread&) = delete;
  JournalThread& operator=(const JournalThread&) = delete;

  // From any thread; never waits. After Close, requests are dropped, which answers them with
  // `cancelled`.
  void submit(JournalRequest request);
  // submit(), or the answer `throttled` where too many bytes wait to be written already.
  void submit_publish(journal_request::Publish request);
  // Closes the journal and waits for the thread, once.
  void stop();

  [[nodiscard]] bool is_open() const { return open_; }
  [[nodiscard]] std::chrono::milliseconds lease() const { return options_.lease; }

 private:
  using Requests = std::deque<JournalRequest>;
  struct Consumer {
    Leases leases;
    bool may_have_fresh = true;  // messages after leases.furthest()
    std::deque<journal_request::Fetch> waiting;

    // A fetch waits, and the file may hold something for it.
    [[nodiscard]] bool hungry() const {
      return !waiting.empty() && (may_have_fresh || leases.ready().has_value());
    }
  };
  // What the first waiting fetch of a consumer gets once the transaction is through.
  struct HandedOut {
    ConsumerId consumer;
    std::vector<JournalStore::Row> rows = {};
    std::vector<Sequence> gone = {};  // ready, and no longer in the file
    bool more_fresh = true;
  };

  void run();
  Requests wait_for_requests();
  [[nodiscard]] bool gathers() const;
  [[nodiscard]] std::optional<Leases::Time> next_wake() const;

  // Does what needs no transaction and leaves the rest; true when the journal is to be closed after
  // it.
  bool take_notes(Requests& requests);
  bool note(JournalRequest& request);
  void cancel_fetches(std::uint64_t inbox);

  [[nodiscard]] bool has_work(const Requests& requests) const;
  Result<void> transact(Requests& requests, std::vector<HandedOut>& handed_out);
  Result<void> apply(JournalRequest& request, Clock::time_point now);
  Result<HandedOut> collect(ConsumerId id, const Consumer& consumer);
  void answer_all(Requests& requests, const Result<void>& outcome);
  void answer(JournalRequest& request, const Result<void>& outcome,
              const std::shared_ptr<void>& taken);
  void deliver(HandedOut& out);
  void wait_out(const Error& error);

  Result<void> open_store();
  Result<void> lock_directory();
  void close_store();

  const JournalOptions options_;
  std::atomic<bool> open_{false};

  std::mutex mutex_;  // of the three below
  std::condition_variable wake_;
  Requests requests_;
  std::size_t waiting_bytes_ = 0;
  bool closed_ = false;

  // The thread's own.
  std::unique_ptr<JournalStore> store_;
  int lock_ = -1;
  std::map<ConsumerId, Consumer> consumers_;
  std::set<std::pair<ConsumerId, Sequence>> acknowledged_;  // not yet written
  std::optional<Leases::Time> retry_at_;                    // after a round that failed
  bool shrinking_ = false;
  std::weak_ptr<void> answers_;  // of the last round's publishes, until the loop has come to them

  std::thread thread_;
};

}  // namespace transship::bus
