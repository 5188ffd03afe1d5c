#include "daemon/log.h"

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

namespace transship::log {

namespace {

using config::LogFormat;
using config::LogLevel;

LogFormat output = LogFormat::text;

spdlog::logger& sink() {
  static const auto logger = [] {
    auto made = spdlog::stderr_logger_mt("transship");
    made->set_pattern("%v");
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *logger;
}

LogFormat chosen(LogFormat format) {
  if (format != LogFormat::automatic) return format;
  if (std::getenv("JOURNAL_STREAM") != nullptr) return LogFormat::journal;
  return ::isatty(STDERR_FILENO) != 0 ? LogFormat::text : LogFormat::json;
}

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::string_view name_of(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
      return "trace";
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::warn:
      return "warning";
    case spdlog::level::err:
      return "error";
    default:
      return "info";
  }
}

std::string now_text() {
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto ms = now.time_since_epoch().count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms);
}

std::string as_json(spdlog::level::level_enum level, std::string_view message,
                    const Fields& fields) {
  nlohmann::ordered_json line{
      {"time", now_text()}, {"level", name_of(level)}, {"message", message}};
  for (const auto& [name, value] : fields) {
    if (!value.empty()) line[std::string(name)] = value;
  }
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string as_text(spdlog::level::level_enum level, std::string_view message,
                    const Fields& fields) {
  const bool colour = ::isatty(STDERR_FILENO) != 0;
  const char* start = !colour                        ? ""
                      : level == spdlog::level::err  ? "\033[31m"
                      : level == spdlog::level::warn ? "\033[33m"
                                                     : "\033[32m";
  std::string line = fmt::format("{} {}{:7}{} {}", now_text(), start, name_of(level),
                                 colour ? "\033[0m" : "", message);
  for (const auto& [name, value] : fields) {
    if (!value.empty()) line += fmt::format(" {}={}", name, value);
  }
  return line;
}

int priority_of(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::err:
      return 3;
    case spdlog::level::warn:
      return 4;
    case spdlog::level::info:
      return 6;
    default:
      return 7;
  }
}

void to_journal(spdlog::level::level_enum level, std::string_view message, const Fields& fields) {
  std::vector<std::string> lines{fmt::format("MESSAGE={}", message),
                                 fmt::format("PRIORITY={}", priority_of(level)),
                                 "SYSLOG_IDENTIFIER=transship"};
  for (const auto& [name, value] : fields) {
    if (value.empty()) continue;
    std::string upper(name);
    for (char& c : upper) {
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    }
    lines.push_back(fmt::format("TRANSSHIP_{}={}", upper, value));
  }
  std::vector<iovec> parts;
  parts.reserve(lines.size());
  for (std::string& line : lines) parts.push_back({line.data(), line.size()});
  ::sd_journal_sendv(parts.data(), static_cast<int>(parts.size()));
}

void write(spdlog::level::level_enum level, std::string_view message, const Fields& fields) {
  if (!sink().should_log(level)) return;
  switch (output) {
    case LogFormat::journal:
      to_journal(level, message, fields);
      break;
    case LogFormat::json:
      sink().log(level, as_json(level, message, fields));
      break;
    default:
      sink().log(level, as_text(level, message, fields));
      break;
  }
}

}  // namespace

void configure(const config::Log& log) {
  output = chosen(log.format);
  sink().set_level(level_of(log.level));
}

void debug(std::string_view message, Fields fields) {
  write(spdlog::level::debug, message, fields);
}
void info(std::string_view message, Fields fields) { write(spdlog::level::info, message, fields); }
void warning(std::string_view message, Fields fields) {
  write(spdlog::level::warn, message, fields);
}
void error(std::string_view message, Fields fields) { write(spdlog::level::err, message, fields); }

}  // namespace transship::log
