#include <fmt/format.h>

#include "daemon/commands/commands.h"
#include "daemon/commands/remote.h"

namespace transship::commands {

namespace {

constexpr const char* path = "/api/v1/dead-letters";

using Json = nlohmann::ordered_json;

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto value = object.is_object() ? object.value(key, nlohmann::json()) : nlohmann::json();
  return value.is_string() ? value.get<std::string>() : value.dump();
}

int unreachable_or_refused(const Error& error) {
  fmt::print(stderr, "{}\n", error.message);
  return error.unanswered ? 3 : 1;
}

// 404: there is no such target.
int refused(const Remote::Answer& answer) {
  fmt::print(stderr, "{}\n", answer.message());
  return answer.status == 404 ? 2 : 1;
}

void print_text(const nlohmann::json& letters) {
  if (letters.empty()) {
    fmt::print("no dead letters\n");
    return;
  }
  fmt::print("{:<16}  {:<16} {:<20} {:<32} {:>8}  {:<24}  {}\n", "ID", "TARGET", "RULE", "IMAGE",
             "ATTEMPTS", "LAST FAILED", "ERROR");
  for (const auto& letter : letters) {
    fmt::print("{:<16}  {:<16} {:<20} {:<32} {:>8}  {:<24}  {}\n", text_of(letter, "id"),
               text_of(letter, "target"), text_of(letter, "rule"), text_of(letter, "image"),
               text_of(letter, "attempts"), text_of(letter, "last_failed"),
               text_of(letter.value("error", nlohmann::json()), "message"));
  }
}

void print_json(const nlohmann::json& letters) {
  for (const auto& letter : letters) {
    Json line{{"type", "dead"}};
    for (const char* key :
         {"id", "target", "rule", "image", "attempts", "first_failed", "last_failed", "error"})
      line[key] = letter.value(key, nlohmann::json());
    fmt::print("{}\n", line.dump());
  }
  fmt::print("{}\n",
             Json{{"type", "total"}, {"images", letters.size()}, {"dead", letters.size()}}.dump());
}

int list(const Common& common, const DeadRequest& request, Remote& remote) {
  auto answer =
      remote.ask("GET", request.target ? fmt::format("{}?target={}", path, escaped(*request.target))
                                       : std::string(path));
  if (!answer) return unreachable_or_refused(answer.error());
  const auto letters = answer->json.is_object()
                           ? answer->json.value("dead_letters", nlohmann::json())
                           : nlohmann::json();
  if (answer->status != 200 || !letters.is_array()) return refused(*answer);
  if (common.output == Output::json) {
    print_json(letters);
  } else {
    print_text(letters);
  }
  return 0;
}

int change(const Common& common, const DeadRequest& request, Remote& remote) {
  nlohmann::json body{{"action", request.action}};
  if (request.target) body["target"] = *request.target;
  if (request.all) {
    body["all"] = true;
  } else {
    body["ids"] = request.ids;
  }
  auto answer = remote.ask("POST", path, body.dump());
  if (!answer) return unreachable_or_refused(answer.error());
  if (!answer->json.is_object() || !answer->json.contains("done")) return refused(*answer);
  const auto unknown = answer->json.value("unknown", nlohmann::json::array());
  for (const auto& id : unknown) {
    fmt::print(stderr, "no dead letter has the id {}\n",
               id.is_string() ? id.get<std::string>() : id.dump());
  }
  const auto& done = answer->json["done"];
  if (common.output == Output::json) {
    fmt::print("{}\n", Json{{"type", "total"},
                            {"action", request.action},
                            {"done", done},
                            {"unknown", unknown.size()}}
                           .dump());
  } else {
    fmt::print("{}: {}\n", request.action == "retry" ? "sent again" : "dropped", done.dump());
  }
  return unknown.empty() ? 0 : 1;
}

}  // namespace

int dead(const Common& common, const DeadRequest& request) {
  if (request.action != "list" && request.all != request.ids.empty()) {
    fmt::print(stderr, "dead {}: give the ids of dead letters, or --all\n", request.action);
    return 2;
  }
  auto remote = Remote::find(common, request.url);
  if (!remote) return 2;
  return request.action == "list" ? list(common, request, *remote)
                                  : change(common, request, *remote);
}

}  // namespace transship::commands
