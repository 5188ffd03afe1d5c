#include "daemon/placed_tags.h"

#include <sys/stat.h>
#include <unistd.h>

#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <map>

#include "daemon/bus/sqlite.h"
#include "replicator/base/task.h"

namespace transship {

namespace {

using bus::sqlite::Database;
using bus::sqlite::Statement;

constexpr const char* file_name = "placed-tags.db";
constexpr std::int64_t version = 2;
// When a tag was seen is only of interest where there are too many: it is not written at each pass.
constexpr std::int64_t seen_again_after_days = 7;

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}
std::int64_t in_ms(monitoring::Time time) { return time.time_since_epoch().count(); }

std::int64_t today() {
  return std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now())
      .time_since_epoch()
      .count();
}

// An operator may run a command as root before the daemon, which is somebody else, needs the file.
// SQLite does the same with what it puts beside it.
void give_to_owner_of(const std::string& directory, const std::string& file) {
  struct stat owner{};
  if (::geteuid() != 0 || ::stat(directory.c_str(), &owner) != 0) return;
  static_cast<void>(::lchown(file.c_str(), owner.st_uid, owner.st_gid) == 0);
}

}  // namespace

PlacedBy PlacedBy::of(const config::Config& config, const config::Rule& rule,
                      const std::string& target) {
  return {rule.name, config::to_string(config.find_registry(rule.source)->url),
          config::to_string(config.find_registry(target)->url)};
}

// The file. Its functions are called on the thread alone, except where that is gone.
class PlacedTags::File {
 public:
  explicit File(std::filesystem::path directory) : directory_(std::move(directory)) {}

  Result<void> write(const Changes& changes);
  Result<std::optional<PlacedTag>> find(const PlacedBy& by, const std::string& source_repository,
                                        const std::string& tag);
  Result<std::vector<PlacedTag>> in_repository(const PlacedBy& by,
                                               const std::string& source_repository);
  Result<std::vector<std::string>> repositories(const PlacedBy& by);
  Result<Standing> standing(const PlacedBy& by);

 private:
  Result<void> open();
  Result<void> open_once();
  Result<void> apply(const Change& change);
  Result<void> make_room();
  Result<std::int64_t> id_of(const PlacedBy& by);
  template <class Answer, class Question>
  Result<Answer> reading(Question question);

  std::filesystem::path directory_;
  std::optional<Database> database_;
  std::map<PlacedBy, std::int64_t> ids_;
  std::int64_t tags_ = 0;
  Statement note_, forget_, stop_, find_, in_repository_, repositories_, count_, stopped_;
};

Result<void> PlacedTags::File::open() {
  if (database_) return {};
  auto opened = open_once();
  if (!opened && opened.error().kind == ErrorKind::corrupt) {
    std::error_code ignored;
    for (const char* suffix : {"", "-wal", "-shm"})
      std::filesystem::remove(directory_ / (std::string(file_name) + suffix), ignored);
    opened = open_once();
  }
  if (!opened) {
    database_.reset();
    ids_.clear();
    return fail(opened.error().with_context("the memory of placed tags in " + directory_.string()));
  }
  return {};
}

Result<void> PlacedTags::File::open_once() {
  std::error_code ignored;  // that it is missing shows when it is opened
  std::filesystem::create_directories(directory_, ignored);
  const std::string file = (directory_ / file_name).string();
  auto database = Database::open(file, {});
  if (!database) return fail(database.error());
  give_to_owner_of(directory_.string(), file);
  // The daemon and commands use it side by side. What a power loss takes was not worth a wait.
  for (const char* sql :
       {"PRAGMA busy_timeout = 5000", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL",
        "CREATE TABLE IF NOT EXISTS placers (id INTEGER PRIMARY KEY, rule TEXT NOT NULL, source "
        "TEXT NOT NULL, target TEXT NOT NULL, stopped INTEGER NOT NULL DEFAULT 0, UNIQUE (rule, "
        "source, target))",
        "CREATE TABLE IF NOT EXISTS placed (placer INTEGER NOT NULL, source_repository TEXT NOT "
        "NULL, tag TEXT NOT NULL, repository TEXT NOT NULL, digest TEXT NOT NULL, seen_day INTEGER "
        "NOT NULL, pushed_ms INTEGER NOT NULL DEFAULT 0, behind TEXT NOT NULL DEFAULT '', PRIMARY "
        "KEY (placer, source_repository, tag)) WITHOUT ROWID"}) {
    if (auto done = database->execute(sql); !done) return done;
  }
  auto written_by = database->integer("PRAGMA user_version");
  if (!written_by) return fail(written_by.error());
  if (*written_by == 1) {  // it did not know yet when what was pushed
    for (const char* column :
         {"pushed_ms INTEGER NOT NULL DEFAULT 0", "behind TEXT NOT NULL DEFAULT ''"}) {
      auto done =
          database->execute(("ALTER TABLE placed ADD COLUMN " + std::string(column)).c_str());
      if (!done) return done;
    }
  }
  if (*written_by < version) {
    if (auto done = database->execute("PRAGMA user_version = 2"); !done) return done;
  } else if (*written_by != version) {
    return fail(ErrorKind::unsupported, "the file was written by a newer version");
  }
  auto tags = database->integer("SELECT count(*) FROM placed");
  if (!tags) return fail(tags.error());
  tags_ = *tags;
  const std::pair<Statement*, const char*> statements[] = {
      {&note_,
       // A time below zero is that before which it was pushed.
       "INSERT INTO placed VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?8, ?9) ON CONFLICT DO UPDATE SET "
       "repository = excluded.repository, digest = excluded.digest, seen_day = excluded.seen_day, "
       "behind = excluded.behind, pushed_ms = CASE WHEN digest <> excluded.digest THEN "
       "excluded.pushed_ms WHEN excluded.pushed_ms < 0 THEN pushed_ms ELSE max(pushed_ms, "
       "excluded.pushed_ms) END WHERE digest <> excluded.digest OR repository <> "
       "excluded.repository OR behind <> excluded.behind OR pushed_ms < excluded.pushed_ms AND "
       "excluded.pushed_ms > 0 OR seen_day < excluded.seen_day - ?7"},
      {&forget_, "DELETE FROM placed WHERE placer = ?1 AND source_repository = ?2 AND tag = ?3"},
      {&stop_, "UPDATE placers SET stopped = ?2 WHERE id = ?1"},
      {&find_,
       "SELECT source_repository, tag, repository, digest, pushed_ms, behind FROM placed WHERE "
       "placer = ?1 AND "
       "source_repository = ?2 AND tag = ?3"},
      {&in_repository_,
       "SELECT source_repository, tag, repository, digest, pushed_ms, behind FROM placed WHERE "
       "placer = ?1 AND "
       "source_repository = ?2 LIMIT ?3"},
      {&repositories_, "SELECT DISTINCT source_repository FROM placed WHERE placer = ?1"},
      {&count_, "SELECT count(*) FROM placed WHERE placer = ?1"},
      {&stopped_, "SELECT stopped FROM placers WHERE id = ?1"},
  };
  for (const auto& [statement, sql] : statements) {
    auto prepared = database->prepare(sql);
    if (!prepared) return fail(prepared.error());
    *statement = std::move(*prepared);
  }
  database_ = std::move(*database);
  return {};
}

// 0: it has placed nothing yet. Adds it in a transaction.
Result<std::int64_t> PlacedTags::File::id_of(const PlacedBy& by) {
  if (const auto known = ids_.find(by); known != ids_.end()) return known->second;
  if (database_->in_transaction()) {
    auto add = database_->prepare(
        "INSERT INTO placers (rule, source, target) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING");
    if (!add) return fail(add.error());
    if (auto added = add->bind(1, by.rule).bind(2, by.source).bind(3, by.target).run(); !added)
      return fail(added.error());
  }
  auto find =
      database_->prepare("SELECT id FROM placers WHERE rule = ?1 AND source = ?2 AND target = ?3");
  if (!find) return fail(find.error());
  auto found = find->bind(1, by.rule).bind(2, by.source).bind(3, by.target).next();
  if (!found) return fail(found.error());
  const std::int64_t id = *found ? find->integer(0) : 0;
  // One that was added in a transaction which is rolled back later is looked for again.
  if (id != 0 && !database_->in_transaction()) ids_[by] = id;
  return id;
}

Result<void> PlacedTags::File::apply(const Change& change) {
  auto id = id_of(change.by);
  if (!id) return fail(id.error());
  const PlacedTag& tag = change.tag;
  switch (change.what) {
    case Change::What::note: {
      auto noted = note_.bind(1, *id)
                       .bind(2, tag.source_repository)
                       .bind(3, tag.tag)
                       .bind(4, tag.repository)
                       .bind(5, tag.digest)
                       .bind(6, today())
                       .bind(7, seen_again_after_days)
                       .bind(8, tag.pushed_at ? in_ms(*tag.pushed_at) : -in_ms(now()))
                       .bind(9, tag.behind)
                       .run();
      if (noted) tags_ += database_->changes();  // some were there: an estimate from above
      return noted;
    }
    case Change::What::forget:
      return forget_.bind(1, *id).bind(2, tag.source_repository).bind(3, tag.tag).run();
    case Change::What::stop:
    case Change::What::resume:
      return stop_.bind(1, *id)
          .bind(2, std::int64_t{change.what == Change::What::stop ? 1 : 0})
          .run();
  }
  return {};
}

Result<void> PlacedTags::File::make_room() {
  if (tags_ <= static_cast<std::int64_t>(tags_max)) return {};
  auto tags = database_->integer("SELECT count(*) FROM placed");
  if (!tags) return fail(tags.error());
  tags_ = *tags;
  const std::int64_t too_many = tags_ - static_cast<std::int64_t>(tags_max);
  if (too_many <= 0) return {};
  auto trim = database_->prepare(
      "DELETE FROM placed WHERE (placer, source_repository, tag) IN (SELECT placer, "
      "source_repository, tag FROM placed ORDER BY seen_day LIMIT ?1)");
  if (!trim) return fail(trim.error());
  return trim->bind(1, too_many).run();
}

Result<void> PlacedTags::File::write(const Changes& changes) {
  if (changes.empty()) return {};
  if (auto opened = open(); !opened) return opened;
  auto done = database_->execute("BEGIN IMMEDIATE");
  for (auto change = changes.begin(); done && change != changes.end(); ++change)
    done = apply(*change);
  if (done) done = make_room();
  if (done) done = database_->execute("COMMIT");
  if (!done) {
    if (database_->in_transaction()) static_cast<void>(database_->execute("ROLLBACK"));
    ids_.clear();
    return fail(done.error().with_context("the memory of placed tags"));
  }
  return {};
}

template <class Answer, class Question>
Result<Answer> PlacedTags::File::reading(Question question) {
  if (auto opened = open(); !opened) return fail(opened.error());
  Result<Answer> answer = question();
  for (Statement* statement : {&find_, &in_repository_, &repositories_, &count_, &stopped_})
    statement->reset();
  if (!answer) return fail(answer.error().with_context("the memory of placed tags"));
  return answer;
}

namespace {

PlacedTag placed_tag(const Statement& row) {
  PlacedTag tag{row.bytes(0), row.bytes(1), row.bytes(2), row.bytes(3)};
  if (const std::int64_t ms = row.integer(4); ms != 0)
    tag.pushed_at = monitoring::Time(std::chrono::milliseconds(std::abs(ms)));
  tag.pushed_before = row.integer(4) < 0;
  tag.behind = row.bytes(5);
  return tag;
}

}  // namespace

Result<std::optional<PlacedTag>> PlacedTags::File::find(const PlacedBy& by,
                                                        const std::string& source_repository,
                                                        const std::string& tag) {
  return reading<std::optional<PlacedTag>>([&]() -> Result<std::optional<PlacedTag>> {
    auto id = id_of(by);
    if (!id) return fail(id.error());
    auto row = find_.bind(1, *id).bind(2, source_repository).bind(3, tag).next();
    if (!row) return fail(row.error());
    return *row ? std::optional(placed_tag(find_)) : std::nullopt;
  });
}

Result<std::vector<PlacedTag>> PlacedTags::File::in_repository(
    const PlacedBy& by, const std::string& source_repository) {
  return reading<std::vector<PlacedTag>>([&]() -> Result<std::vector<PlacedTag>> {
    auto id = id_of(by);
    if (!id) return fail(id.error());
    std::vector<PlacedTag> found;
    in_repository_.bind(1, *id)
        .bind(2, source_repository)
        .bind(3, static_cast<std::int64_t>(repository_tags_max));
    for (;;) {
      auto row = in_repository_.next();
      if (!row) return fail(row.error());
      if (!*row) return found;
      found.push_back(placed_tag(in_repository_));
    }
  });
}

Result<std::vector<std::string>> PlacedTags::File::repositories(const PlacedBy& by) {
  return reading<std::vector<std::string>>([&]() -> Result<std::vector<std::string>> {
    auto id = id_of(by);
    if (!id) return fail(id.error());
    std::vector<std::string> found;
    repositories_.bind(1, *id);
    for (;;) {
      auto row = repositories_.next();
      if (!row) return fail(row.error());
      if (!*row) return found;
      found.push_back(repositories_.bytes(0));
    }
  });
}

Result<PlacedTags::Standing> PlacedTags::File::standing(const PlacedBy& by) {
  return reading<Standing>([&]() -> Result<Standing> {
    auto id = id_of(by);
    if (!id) return fail(id.error());
    Standing standing;
    auto row = count_.bind(1, *id).next();
    if (!row) return fail(row.error());
    standing.tags = static_cast<std::uint64_t>(count_.integer(0));
    row = stopped_.bind(1, *id).next();
    if (!row) return fail(row.error());
    standing.stopped = *row && stopped_.integer(0) != 0;
    return standing;
  });
}

// --- between the loop and the thread

struct PlacedTags::Thread {
  explicit Thread(std::filesystem::path directory) : file(std::move(directory)) {}
  File file;
  asio::thread_pool pool{1};
};

PlacedTags::PlacedTags(asio::any_io_executor executor, std::filesystem::path directory,
                       std::function<void(const Error&)> on_trouble)
    : executor_(std::move(executor)),
      on_trouble_(std::move(on_trouble)),
      directory_(std::move(directory)),
      self_(std::make_shared<PlacedTags*>(this)) {}

PlacedTags::~PlacedTags() {
  *self_ = nullptr;
  if (!thread_) return;
  thread_->pool.join();
  tell(thread_->file.write(changes_));
}

PlacedTags::Thread& PlacedTags::thread() {
  if (!thread_) thread_ = std::make_unique<Thread>(directory_);
  return *thread_;
}

void PlacedTags::tell(const Result<void>& written) {
  if (written || std::exchange(told_, true)) return;
  on_trouble_(written.error());
}

void PlacedTags::note(const PlacedBy& by, PlacedTag tag) {
  add({Change::What::note, by, std::move(tag)});
}
void PlacedTags::forget(const PlacedBy& by, const PlacedTag& tag) {
  add({Change::What::forget, by, tag});
}
void PlacedTags::set_stopped(const PlacedBy& by, bool stopped) {
  add({stopped ? Change::What::stop : Change::What::resume, by, {}});
}

void PlacedTags::add(Change change) {
  if (changes_.size() >= notes_max) return;
  changes_.push_back(std::move(change));
  write_soon();
}

// While one batch is being written, the next one gathers.
void PlacedTags::write_soon() {
  if (writing_ || changes_.empty()) return;
  writing_ = true;
  asio::post(thread().pool, [file = &thread().file, batch = std::exchange(changes_, {}),
                             executor = executor_, self = self_] {
    auto written = file->write(batch);
    asio::post(executor, [self, written = std::move(written)] {
      if (*self == nullptr) return;
      (*self)->writing_ = false;
      (*self)->tell(written);
      (*self)->write_soon();
    });
  });
}

// What was noted before is written first, so that the answer knows of it.
template <class Answer>
asio::awaitable<Answer> PlacedTags::ask(std::function<Result<Answer>(File&)> question) {
  auto answer = co_await offload(thread().pool,
                                 [file = &thread().file, batch = std::exchange(changes_, {}),
                                  question = std::move(question)]() -> Result<Answer> {
                                   if (auto written = file->write(batch); !written)
                                     return fail(written.error());
                                   return question(*file);
                                 });
  if (answer) co_return std::move(*answer);
  tell(fail(answer.error()));
  co_return Answer{};
}

asio::awaitable<std::optional<PlacedTag>> PlacedTags::find(PlacedBy by,
                                                           std::string source_repository,
                                                           std::string tag) {
  return ask<std::optional<PlacedTag>>(
      [by = std::move(by), source_repository = std::move(source_repository),
       tag = std::move(tag)](File& file) { return file.find(by, source_repository, tag); });
}

asio::awaitable<std::vector<PlacedTag>> PlacedTags::in_repository(PlacedBy by,
                                                                  std::string source_repository) {
  return ask<std::vector<PlacedTag>>(
      [by = std::move(by), source_repository = std::move(source_repository)](File& file) {
        return file.in_repository(by, source_repository);
      });
}

asio::awaitable<std::vector<std::string>> PlacedTags::repositories(PlacedBy by) {
  return ask<std::vector<std::string>>(
      [by = std::move(by)](File& file) { return file.repositories(by); });
}

asio::awaitable<PlacedTags::Standing> PlacedTags::standing(PlacedBy by) {
  return ask<Standing>([by = std::move(by)](File& file) { return file.standing(by); });
}

}  // namespace transship
