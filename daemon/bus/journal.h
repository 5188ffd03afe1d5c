#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "daemon/bus/bus.h"

namespace transship::bus {

struct JournalOptions {
  std::filesystem::path
      directory;  // made with mode 0700 when missing; holds journal.db and journal.lock
  // The wall clock, for `stored_at` and the two minutes of the duplicate check. Leases run on the
  // steady clock.
  std::function<Clock::time_point()> clock = &Clock::now;
  std::chrono::milliseconds lease = Inbox::acknowledge_within;
  std::string vfs =
      {};  // the SQLite VFS to use: tests make the disk slow or full; empty: the system's
};

// The embedded bus: one SQLite file, no server, one daemon. One thread owns SQLite. It takes every
// request that waits into one transaction and commits once, so a thousand concurrent publishes cost
// a handful of syncs; the loop never waits for a disk. A message is kept until every consumer that
// the journal knows has acknowledged it. Leases are in memory: after a restart everything not
// acknowledged comes again.
//
// The io_context of the coroutines that call it must outlive it.
class Journal final : public Bus {
 public:
  explicit Journal(JournalOptions options);
  ~Journal() override;  // as close(), but waits for the thread

  // `conflict`: another daemon uses the journal. `corrupt`: the file is damaged. `invalid`: it was
  // made by a newer version. `transient`: the disk cannot be read or written.
  asio::awaitable<Result<void>> open() override;
  asio::awaitable<Result<std::vector<Published>>> publish(std::vector<Message> messages) override;
  asio::awaitable<Result<std::unique_ptr<Inbox>>> open_inbox(std::string target) override;
  asio::awaitable<Result<void>> forget_other_inboxes(std::set<std::string> targets_kept) override;
  DeadLetters& dead_letters() override { return *dead_letters_; }
  [[nodiscard]] std::size_t max_message_bytes() const override;
  [[nodiscard]] bool connected() const override;
  [[nodiscard]] std::string_view type() const override { return "journal"; }
  asio::awaitable<void> close() override;

  // Over all publishes that wait for the disk; one more is `throttled`.
  static constexpr std::size_t waiting_bytes_max = 32U << 20U;
  // Messages of one fetch stop once they have this many bytes together; a fetch holds at least one.
  static constexpr std::size_t fetch_bytes_max = 4U << 20U;

 private:
  std::shared_ptr<class JournalThread> thread_;
  std::unique_ptr<DeadLetters> dead_letters_;
};

}  // namespace transship::bus
