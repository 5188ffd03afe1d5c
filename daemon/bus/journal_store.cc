#include "daemon/bus/journal_store.h"

#include <fmt/format.h>

#include <utility>

#include "daemon/bus/message.h"

namespace transship::bus {
namespace {

constexpr std::int64_t schema_version = 2;
constexpr std::int64_t free_pages_max = 2048;  // then pages are given back, until so many are left:
constexpr std::int64_t free_pages_kept = 512;
constexpr std::int64_t pages_shrunk_at_once = 256;

// pending has a row for each consumer that still needs a message, so a consumer's backlog is its
// rows, and a message may go with its last row. recent outlives its messages: a redelivered webhook
// may come after the acknowledgement.
constexpr const char* schema = R"sql(
  CREATE TABLE messages(sequence INTEGER PRIMARY KEY AUTOINCREMENT, registry TEXT NOT NULL, id TEXT,
                        stored_at_us INTEGER NOT NULL, headers BLOB NOT NULL, body BLOB NOT NULL);
  CREATE TABLE consumers(consumer INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL UNIQUE);
  CREATE TABLE pending(consumer INTEGER NOT NULL, sequence INTEGER NOT NULL, deliveries INTEGER NOT NULL,
                       PRIMARY KEY(consumer, sequence)) WITHOUT ROWID;
  CREATE TABLE recent(key TEXT PRIMARY KEY, stored_at_us INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX recent_by_time ON recent(stored_at_us);
)sql";
constexpr const char* schema_since_2 = R"sql(
  CREATE TABLE dead_letters(id TEXT PRIMARY KEY, letter BLOB NOT NULL) WITHOUT ROWID;
)sql";

std::int64_t microseconds(Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

Clock::time_point time_of(std::int64_t microseconds) {
  return Clock::time_point(
      std::chrono::duration_cast<Clock::duration>(std::chrono::microseconds(microseconds)));
}

// Lines as on the wire; check() has refused what would break them.
std::string pack(const std::map<std::string, std::string>& headers) {
  std::string lines;
  for (const auto& [name, value] : headers)
    lines.append(name).append(":").append(value).append("\n");
  return lines;
}

std::map<std::string, std::string> unpack(std::string_view lines) {
  std::map<std::string, std::string> headers;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) break;
    headers.emplace(line.substr(0, colon), line.substr(colon + 1));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
  }
  return headers;
}

}  // namespace

Result<std::unique_ptr<JournalStore>> JournalStore::open(const std::filesystem::path& file,
                                                         const std::string& vfs) {
  auto database = sqlite::Database::open(file.string(), vfs);
  if (!database) return fail(database.error());
  std::unique_ptr<JournalStore> store(new JournalStore(std::move(*database)));
  Result<void> ready = store->prepare_file();
  if (ready) ready = store->prepare_statements();
  if (ready) return store;
  if (ready.error().kind != ErrorKind::corrupt)
    return fail(ready.error().with_context(file.string()));
  return fail(ErrorKind::corrupt,
              fmt::format("{} is damaged ({}): move it away and start again; reconciliation finds "
                          "the images whose events were in it",
                          file.string(), ready.error().message));
}

Result<void> JournalStore::prepare_file() {
  // auto_vacuum counts only before the first table is made.
  auto done = database_.execute(
      "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA journal_size_limit=4194304;"
      "PRAGMA temp_store=MEMORY");
  if (!done) return done;
  const auto version = database_.integer("PRAGMA user_version");
  if (!version) return fail(version.error());
  if (*version > schema_version) {
    return fail(ErrorKind::invalid,
                fmt::format("was written by a newer transship (version {} of its format, this one "
                            "knows up to {}): install that one again, or move the file away",
                            *version, schema_version));
  }
  auto check = database_.prepare("PRAGMA quick_check(1)");
  if (!check) return fail(check.error());
  auto row = check->next();
  if (!row) return fail(row.error());
  if (const std::string found = check->bytes(0); found != "ok") {
    return fail(ErrorKind::corrupt, found);
  }
  check->reset();
  if (*version == schema_version) return {};
  return database_.execute(fmt::format("BEGIN; {} {} PRAGMA user_version={}; COMMIT",
                                       *version == 0 ? schema : "", schema_since_2,
                                       schema_version));
}

Result<void> JournalStore::prepare_statements() {
  Statements& s = statements_;
  const std::pair<sqlite::Statement*, std::string_view> all[] = {
      {&s.insert_message,
       "INSERT INTO messages(registry, id, stored_at_us, headers, body) VALUES(?,?,?,?,?)"},
      {&s.insert_pending, "INSERT INTO pending SELECT consumer, ?, 0 FROM consumers"},
      {&s.find_recent, "SELECT 1 FROM recent WHERE key=? AND stored_at_us BETWEEN ? AND ?"},
      {&s.insert_recent, "INSERT OR REPLACE INTO recent VALUES(?,?)"},
      {&s.expire_recent, "DELETE FROM recent WHERE stored_at_us < ?"},
      {&s.find_consumer, "SELECT consumer FROM consumers WHERE target=?"},
      {&s.insert_consumer, "INSERT INTO consumers(target) VALUES(?)"},
      {&s.backfill, "INSERT INTO pending SELECT ?, sequence, 0 FROM messages"},
      {&s.first_after,
       "SELECT sequence, deliveries, stored_at_us, registry, id, headers, body FROM pending JOIN "
       "messages USING(sequence) WHERE consumer=? AND sequence>? ORDER BY sequence LIMIT 1"},
      {&s.at,
       "SELECT sequence, deliveries, stored_at_us, registry, id, headers, body FROM pending JOIN "
       "messages USING(sequence) WHERE consumer=? AND sequence=?"},
      {&s.count_delivery,
       "UPDATE pending SET deliveries=deliveries+1 WHERE consumer=? AND sequence=?"},
      {&s.remove_pending, "DELETE FROM pending WHERE consumer=? AND sequence=?"},
      // CROSS JOIN keeps the few consumers outside, so that pending is asked by its key and never
      // scanned.
      {&s.remove_message,
       "DELETE FROM messages WHERE sequence=?1 AND NOT EXISTS (SELECT 1 FROM consumers CROSS JOIN "
       "pending USING(consumer) WHERE pending.sequence=?1)"},
      {&s.count_pending, "SELECT count(*) FROM pending WHERE consumer=?"},
      {&s.oldest_pending,
       "SELECT stored_at_us FROM messages WHERE sequence="
       "(SELECT min(sequence) FROM pending WHERE consumer=?)"},
      {&s.put_dead_letter, "INSERT OR REPLACE INTO dead_letters VALUES(?,?)"},
      {&s.remove_dead_letter, "DELETE FROM dead_letters WHERE id=?"},
      {&s.dead_letters, "SELECT letter FROM dead_letters ORDER BY id"},
  };
  for (const auto& [statement, sql] : all) {
    auto prepared = database_.prepare(sql);
    if (!prepared) return fail(prepared.error());
    *statement = std::move(*prepared);
  }
  return {};
}

Result<void> JournalStore::begin(Survives survives) {
  if (synchronous_ != survives) {
    // NORMAL syncs nothing at a commit; the next FULL commit syncs the whole write-ahead log, those
    // before it too.
    auto set = database_.execute(survives == Survives::power_cut ? "PRAGMA synchronous=FULL"
                                                                 : "PRAGMA synchronous=NORMAL");
    if (!set) return set;
    synchronous_ = survives;
  }
  return database_.execute("BEGIN IMMEDIATE");
}

Result<void> JournalStore::commit() { return database_.execute("COMMIT"); }

void JournalStore::rollback() {
  // After some errors SQLite has rolled back already.
  if (database_.in_transaction()) std::ignore = database_.execute("ROLLBACK");
}

Result<bool> JournalStore::is_duplicate(const std::string& key, Clock::time_point now) {
  const std::int64_t since = microseconds(now - duplicate_window) + 1;
  const std::int64_t until = microseconds(now + duplicate_window);  // a clock that was set back
  statements_.find_recent.bind(1, key).bind(2, since).bind(3, until);
  auto found = statements_.find_recent.next();
  statements_.find_recent.reset();
  if (!found || *found) return found;
  auto remembered = statements_.insert_recent.bind(1, key).bind(2, microseconds(now)).run();
  if (!remembered) return fail(remembered.error());
  auto expired = statements_.expire_recent.bind(1, since).run();
  if (!expired) return fail(expired.error());
  return false;
}

Result<Published> JournalStore::add(const Message& message, Clock::time_point now) {
  if (const std::string key = dedup_key(message); !key.empty()) {
    auto duplicate = is_duplicate(key, now);
    if (!duplicate) return fail(duplicate.error());
    if (*duplicate) return Published::duplicate;
  }
  const std::string headers = pack(message.headers);
  sqlite::Statement& insert = statements_.insert_message;
  insert.bind(1, message.registry).bind(3, microseconds(now));
  if (message.id) insert.bind(2, *message.id);
  auto stored = insert.bind_blob(4, headers).bind_blob(5, message.body).run();
  if (!stored) return fail(stored.error());
  auto owed = statements_.insert_pending.bind(1, database_.last_row()).run();
  if (!owed) return fail(owed.error());
  return Published::stored;
}

Result<ConsumerId> JournalStore::consumer(const std::string& target) {
  sqlite::Statement& find = statements_.find_consumer;
  auto found = find.bind(1, target).next();
  const std::int64_t known = found && *found ? find.integer(0) : 0;
  find.reset();
  if (!found) return fail(found.error());
  if (*found) return ConsumerId{known};
  auto made = statements_.insert_consumer.bind(1, target).run();
  if (!made) return fail(made.error());
  const std::int64_t consumer = database_.last_row();
  auto owed = statements_.backfill.bind(1, consumer).run();
  if (!owed) return fail(owed.error());
  return ConsumerId{consumer};
}

Result<std::vector<ConsumerId>> JournalStore::forget_others(
    const std::set<std::string>& targets_kept) {
  std::vector<ConsumerId> gone;
  auto all = database_.prepare("SELECT consumer, target FROM consumers");
  if (!all) return fail(all.error());
  for (;;) {
    auto row = all->next();
    if (!row) return fail(row.error());
    if (!*row) break;
    if (!targets_kept.contains(all->bytes(1))) gone.push_back(ConsumerId{all->integer(0)});
  }
  all->reset();
  for (const ConsumerId consumer : gone) {
    const auto id = static_cast<std::int64_t>(consumer);
    auto removed = database_.execute(fmt::format(
        "DELETE FROM pending WHERE consumer={}; DELETE FROM consumers WHERE consumer={}", id, id));
    if (!removed) return fail(removed.error());
  }
  if (gone.empty()) return gone;
  auto unneeded = database_.execute(
      "DELETE FROM messages WHERE sequence NOT IN (SELECT sequence FROM pending)");
  if (!unneeded) return fail(unneeded.error());
  return gone;
}

Result<std::optional<JournalStore::Row>> JournalStore::read_row(sqlite::Statement& statement) {
  auto found = statement.next();
  std::optional<Row> row;
  if (found && *found) {
    row.emplace();
    row->sequence = statement.integer(0);
    row->deliveries = static_cast<std::uint64_t>(statement.integer(1));
    row->stored_at = time_of(statement.integer(2));
    row->message.registry = statement.bytes(3);
    if (!statement.is_null(4)) row->message.id = statement.bytes(4);
    row->message.headers = unpack(statement.bytes(5));
    row->message.body = statement.bytes(6);
  }
  statement.reset();
  if (!found) return fail(found.error());
  return row;
}

Result<std::optional<JournalStore::Row>> JournalStore::first_after(ConsumerId consumer,
                                                                   Sequence after) {
  statements_.first_after.bind(1, static_cast<std::int64_t>(consumer)).bind(2, after);
  return read_row(statements_.first_after);
}

Result<std::optional<JournalStore::Row>> JournalStore::at(ConsumerId consumer, Sequence sequence) {
  statements_.at.bind(1, static_cast<std::int64_t>(consumer)).bind(2, sequence);
  return read_row(statements_.at);
}

Result<void> JournalStore::count_delivery(ConsumerId consumer, Sequence sequence) {
  return statements_.count_delivery.bind(1, static_cast<std::int64_t>(consumer))
      .bind(2, sequence)
      .run();
}

Result<void> JournalStore::acknowledge(ConsumerId consumer, Sequence sequence) {
  auto removed = statements_.remove_pending.bind(1, static_cast<std::int64_t>(consumer))
                     .bind(2, sequence)
                     .run();
  if (!removed) return removed;
  if (database_.changes() == 0) return {};
  return statements_.remove_message.bind(1, sequence).run();
}

Result<Backlog> JournalStore::backlog(ConsumerId consumer) {
  Backlog backlog;
  const auto id = static_cast<std::int64_t>(consumer);
  auto counted = statements_.count_pending.bind(1, id).next();
  if (counted && *counted) {
    backlog.messages = static_cast<std::uint64_t>(statements_.count_pending.integer(0));
  }
  statements_.count_pending.reset();
  if (!counted) return fail(counted.error());
  auto oldest = statements_.oldest_pending.bind(1, id).next();
  if (oldest && *oldest) backlog.oldest = time_of(statements_.oldest_pending.integer(0));
  statements_.oldest_pending.reset();
  if (!oldest) return fail(oldest.error());
  return backlog;
}

Result<void> JournalStore::put_dead_letter(const std::string& id, const std::string& text) {
  return statements_.put_dead_letter.bind(1, id).bind_blob(2, text).run();
}

Result<void> JournalStore::remove_dead_letter(const std::string& id) {
  return statements_.remove_dead_letter.bind(1, id).run();
}

Result<std::vector<std::string>> JournalStore::dead_letters() {
  std::vector<std::string> texts;
  Result<bool> more = statements_.dead_letters.next();
  for (; more && *more; more = statements_.dead_letters.next()) {
    texts.push_back(statements_.dead_letters.bytes(0));
  }
  statements_.dead_letters.reset();
  if (!more) return fail(more.error());
  return texts;
}

Result<bool> JournalStore::shrink() {
  const auto free_pages = database_.integer("PRAGMA freelist_count");
  if (!free_pages) return fail(free_pages.error());
  if (*free_pages <= (shrinking_ ? free_pages_kept : free_pages_max)) return false;
  auto shrunk =
      database_.execute(fmt::format("PRAGMA incremental_vacuum({})", pages_shrunk_at_once));
  if (!shrunk) return fail(shrunk.error());
  shrinking_ = *free_pages - pages_shrunk_at_once > free_pages_kept;
  if (shrinking_) return true;
  // The file itself gets shorter only by a checkpoint.
  auto shortened = database_.execute("PRAGMA wal_checkpoint(TRUNCATE)");
  if (!shortened) return fail(shortened.error());
  return false;
}

}  // namespace transship::bus
