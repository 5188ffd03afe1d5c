#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "replicator/base/error.h"

// As much of SQLite as the journal needs, with errors as values.
namespace transship::bus::sqlite {

// The one place where an SQLite result code becomes a kind of error.
Error error_of(int code, std::string message);

class Database;

// A prepared statement. bind() numbers from 1; next() is true while there is a row; column numbers
// count from 0. Bound text and blobs are not copied: they must outlive the next reset().
class Statement {
 public:
  Statement() = default;

  Statement& bind(int index, std::int64_t value);
  Statement& bind(int index, std::string_view text);
  Statement& bind_blob(int index, std::string_view bytes);
  Result<bool> next();
  // next() for statements that answer no row; resets it.
  Result<void> run();
  // Makes it ready to be bound anew; every use ends with it, so that no read transaction stays
  // open.
  void reset();

  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::string bytes(int column) const;
  [[nodiscard]] bool is_null(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bind_error_ = SQLITE_OK;
};

class Database {
 public:
  static Result<Database> open(const std::string& file, const std::string& vfs);

  Result<Statement> prepare(std::string_view sql);
  Result<void> execute(const std::string& sql);
  // The first column of the first row, 0 where there is none.
  Result<std::int64_t> integer(std::string_view sql);
  [[nodiscard]] std::int64_t last_row() const { return sqlite3_last_insert_rowid(handle_.get()); }
  [[nodiscard]] int changes() const { return sqlite3_changes(handle_.get()); }
  [[nodiscard]] bool in_transaction() const { return sqlite3_get_autocommit(handle_.get()) == 0; }

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  std::unique_ptr<sqlite3, Close> handle_;
};

}  // namespace transship::bus::sqlite
