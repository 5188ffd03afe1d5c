#include <fmt/format.h>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <nlohmann/json.hpp>

#include "config/reader.h"
#include "daemon/commands/commands.h"
#include "daemon/commands/load.h"
#include "daemon/commands/remote.h"

namespace transship::commands {

namespace {

std::string text_or(const nlohmann::json& value, std::string_view otherwise) {
  return value.is_string() ? value.get<std::string>() : std::string(otherwise);
}

// Nobody knows that a pair is in step before the first reconciliation has looked.
std::string behind_text(const nlohmann::json& pair) {
  const double behind = pair["oldest_pending_seconds"].get<double>();
  if (behind > 0) return fmt::format("{:.1f} s", behind);
  return pair["replicated_until"].is_null() ? "not known" : "in step";
}

// To the second: 2026-11-24T12:00:00Z.
std::string until_text(const nlohmann::json& pair) {
  const auto& until = pair["replicated_until"];
  return until.is_string() ? until.get<std::string>().substr(0, 19) + "Z" : "-";
}

void print_text(const nlohmann::json& status) {
  const auto& bus = status["bus"];
  fmt::print(
      "transship {} {}, up since {}\n", text_or(status["version"], "?"),
      status["region"].is_string() ? "in " + text_or(status["region"], "") : "for every region",
      text_or(status["started"], "?"));
  fmt::print("bus: {}, {}, {} events pending\n", text_or(bus["type"], "?"),
             bus["connected"] == true ? "connected" : "NOT CONNECTED",
             bus["pending_events"].dump());
  for (const auto& registry : status["registries"]) {
    if (registry["reachable"] != true) {
      fmt::print("registry {}: NOT REACHABLE: {}\n", text_or(registry["name"], "?"),
                 text_or(registry["error"], "not asked yet"));
    }
  }
  fmt::print("\n{:<20} {:<16} {:<16} {:>12} {:<20} {:>8} {:>10} {:>5}  {}\n", "RULE", "SOURCE",
             "TARGET", "BEHIND", "ALL THERE UNTIL", "IMAGES", "BYTES", "DEAD", "LAST ERROR");
  for (const auto& pair : status["pairs"]) {
    const std::string error =
        pair["last_error"].is_object() ? text_or(pair["last_error"]["message"], "") : "-";
    fmt::print(
        "{:<20} {:<16} {:<16} {:>12} {:<20} {:>8} {:>10} {:>5}  {}\n", text_or(pair["rule"], "?"),
        text_or(pair["source"], "?"), text_or(pair["target"], "?"), behind_text(pair),
        until_text(pair), pair["pending_images"].dump(),
        bytes_text(pair["pending_bytes"].get<std::uint64_t>()), pair["dead_letters"].dump(), error);
  }
}

}  // namespace

int status(const Common& common, const std::optional<std::string>& url) {
  auto remote = Remote::find(common, url);
  if (!remote) return 2;
  auto answer = remote->get("/api/v1/status");
  if (!answer) {
    fmt::print(stderr, "{}\n", answer.error().message);
    return answer.error().unanswered ? 3 : 1;
  }
  if (common.output == Output::json) {
    fmt::print("{}\n", answer->dump());
  } else {
    print_text(*answer);
  }
  return 0;
}

}  // namespace transship::commands
