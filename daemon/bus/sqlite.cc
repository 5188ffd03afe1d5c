#include "daemon/bus/sqlite.h"

#include <fmt/format.h>

namespace transship::bus::sqlite {
namespace {

ErrorKind kind_of(int code) {
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorKind::corrupt;
    case SQLITE_TOOBIG:
      return ErrorKind::invalid;
    default:
      return ErrorKind::transient;  // full, I/O, busy, permissions: all may pass
  }
}

Error last_error(sqlite3* handle) {
  return error_of(sqlite3_extended_errcode(handle), sqlite3_errmsg(handle));
}

}  // namespace

Error error_of(int code, std::string message) {
  if (const std::string_view name = sqlite3_errstr(code); message.find(name) == std::string::npos) {
    message = fmt::format("{} ({})", message, name);
  }
  Error error;
  error.kind = kind_of(code);
  error.message = std::move(message);
  return error;
}

Statement& Statement::bind(int index, std::int64_t value) {
  bind_error_ |= sqlite3_bind_int64(statement_.get(), index, value);
  return *this;
}

Statement& Statement::bind(int index, std::string_view text) {
  bind_error_ |= sqlite3_bind_text64(statement_.get(), index, text.data(), text.size(),
                                     nullptr /* not copied */, SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind_blob(int index, std::string_view bytes) {
  // A null pointer would bind NULL, and an empty view may hold one.
  const char* data = bytes.empty() ? "" : bytes.data();
  bind_error_ |= sqlite3_bind_blob64(statement_.get(), index, data, bytes.size(), nullptr);
  return *this;
}

Result<bool> Statement::next() {
  if (bind_error_ != SQLITE_OK) return fail(ErrorKind::transient, "SQLite could not bind a value");
  switch (sqlite3_step(statement_.get())) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return fail(last_error(sqlite3_db_handle(statement_.get())));
  }
}

Result<void> Statement::run() {
  Result<bool> row = next();
  reset();
  if (!row) return fail(row.error());
  return {};
}

void Statement::reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
  bind_error_ = SQLITE_OK;
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string Statement::bytes(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return data == nullptr ? std::string() : std::string(data, static_cast<std::size_t>(size));
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

Result<Database> Database::open(const std::string& file, const std::string& vfs) {
  sqlite3* handle = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code =
      sqlite3_open_v2(file.c_str(), &handle, flags, vfs.empty() ? nullptr : vfs.c_str());
  Database database;
  database.handle_.reset(handle);
  if (code != SQLITE_OK) return fail(error_of(code, fmt::format("cannot open {}", file)));
  sqlite3_extended_result_codes(handle, 1);
  return database;
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  if (code != SQLITE_OK) return fail(last_error(handle_.get()));
  Statement statement;
  statement.statement_.reset(raw);
  return statement;
}

Result<void> Database::execute(const std::string& sql) {
  if (sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return fail(last_error(handle_.get()));
  }
  return {};
}

Result<std::int64_t> Database::integer(std::string_view sql) {
  auto statement = prepare(sql);
  if (!statement) return fail(statement.error());
  auto row = statement->next();
  if (!row) return fail(row.error());
  return *row ? statement->integer(0) : 0;
}

}  // namespace transship::bus::sqlite
