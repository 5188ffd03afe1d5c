#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/bus/bus.h"
#include "daemon/bus/sqlite.h"

namespace transship::bus {

// Of a consumer in the journal's file. Never used again for another one.
enum class ConsumerId : std::int64_t {};
// Of a message; grows with the order of arrival.
using Sequence = std::int64_t;

// The journal's file: what is in it and how it is read and written. Every change happens between
// begin() and commit(); after an error only rollback() is allowed. One thread.
class JournalStore {
 public:
  // Opens or makes the file, checks it (`corrupt`) and its version (`invalid` where a newer
  // transship made it).
  static Result<std::unique_ptr<JournalStore>> open(const std::filesystem::path& file,
                                                    const std::string& vfs);

  // What a commit has to survive: a power cut, or only the end of the process. What costs no more
  // than a redelivery when it is lost (acknowledgements, counts) needs no sync of its own.
  enum class Survives { process, power_cut };
  Result<void> begin(Survives survives);
  Result<void> commit();
  void rollback();

  Result<Published> add(const Message& message, Clock::time_point now);
  // Made when missing, with everything in the journal before it.
  Result<ConsumerId> consumer(const std::string& target);
  // Removes the consumers of all other targets, and the messages that then nobody waits for;
  // returns who went.
  Result<std::vector<ConsumerId>> forget_others(const std::set<std::string>& targets_kept);

  struct Row {
    Sequence sequence = 0;
    std::uint64_t deliveries = 0;  // before this one
    Clock::time_point stored_at;
    Message message;
  };
  // The oldest message after `after` that the consumer has not acknowledged.
  Result<std::optional<Row>> first_after(ConsumerId consumer, Sequence after);
  // That very message, where the consumer has not acknowledged it.
  Result<std::optional<Row>> at(ConsumerId consumer, Sequence sequence);
  Result<void> count_delivery(ConsumerId consumer, Sequence sequence);
  // Removes the message with the last acknowledgement. One that is not there is no error.
  Result<void> acknowledge(ConsumerId consumer, Sequence sequence);
  Result<Backlog> backlog(ConsumerId consumer);

  // Dead letters, as texts by their ids.
  Result<void> put_dead_letter(const std::string& id, const std::string& text);
  Result<void> remove_dead_letter(const std::string& id);
  Result<std::vector<std::string>> dead_letters();

  // Gives some free pages back to the file system where many are free; outside a transaction, for
  // idle moments. True while there are more.
  Result<bool> shrink();

 private:
  struct Statements {
    sqlite::Statement insert_message, insert_pending, find_recent, insert_recent, expire_recent;
    sqlite::Statement find_consumer, insert_consumer, backfill;
    sqlite::Statement first_after, at, count_delivery, remove_pending, remove_message;
    sqlite::Statement count_pending, oldest_pending;
    sqlite::Statement put_dead_letter, remove_dead_letter, dead_letters;
  };
  explicit JournalStore(sqlite::Database database) : database_(std::move(database)) {}
  Result<void> prepare_file();
  Result<void> prepare_statements();
  Result<bool> is_duplicate(const std::string& key, Clock::time_point now);
  Result<std::optional<Row>> read_row(sqlite::Statement& statement);

  sqlite::Database database_;
  Statements statements_;
  std::optional<Survives> synchronous_;
  bool shrinking_ = false;
};

}  // namespace transship::bus
