// Azure Container Registry: its own webhook, and Event Grid in two schemas (its own, and
// CloudEvents).

#include <nlohmann/json.hpp>

#include "daemon/events/dialects.h"

namespace transship::events {
namespace {

Event of_target(Action action, const Json& target) {
  Event event = image_event(action, target["repository"].text(), name_of(target["tag"]),
                            name_of(target["digest"]));
  event.media_type = optional_text(target["mediaType"]);
  return event;
}

Event read_webhook(const Json& json) {
  const auto action = json["action"].text();
  if (!action) return malformed("no action");
  Event event = ignored("action " + *action);
  if (*action == "push") event = of_target(Action::push, json["target"]);
  if (*action == "delete") event = of_target(Action::remove, json["target"]);
  event.time = rfc3339_in(json["timestamp"]);
  event.id = optional_text(json["id"]);
  event.user_agent = optional_text(json["request"]["useragent"]);
  return event;
}

// Event Grid's own schema says `eventType`, CloudEvents `type`.
std::optional<std::string> type_of(const Json& json) {
  const Json own = json["eventType"];
  return own.is_missing() ? json["type"].text() : own.text();
}

std::optional<Action> action_of(std::string_view type) {
  constexpr std::string_view prefix = "Microsoft.ContainerRegistry.";
  if (type.starts_with(prefix)) type.remove_prefix(prefix.size());  // older samples have none
  if (type == "ImagePushed") return Action::push;
  if (type == "ImageDeleted") return Action::remove;
  return std::nullopt;
}

Event read_grid(const Json& json) {
  const auto type = type_of(json);
  if (!type) return malformed("no event type");
  const Json data = json["data"];
  const auto action = action_of(*type);
  Event event = action ? of_target(*action, data["target"]) : ignored("type " + *type);
  // Event Grid's own times are those of publishing, which is later.
  event.time = rfc3339_in(data["timestamp"]);
  if (!event.time) event.time = rfc3339_in(json["eventTime"]);
  if (!event.time) event.time = rfc3339_in(json["time"]);
  event.id = optional_text(json["id"]);
  event.actor = optional_text(data["actor"]["name"]);
  event.user_agent = optional_text(data["request"]["useragent"]);
  return event;
}

}  // namespace

std::vector<Message> parse_acr(const Source& source) {
  const Json& json = source.json;
  if (json.is_array()) {
    return each_alone(source, json, read_grid, [](const Json& element) {
      return "[" + std::string(element.source()) + "]";
    });
  }
  if (!json["data"].is_missing()) return whole(source.body, read_grid(json));
  if (!json["action"].is_missing()) return whole(source.body, read_webhook(json));
  return whole(source.body, malformed("neither an Event Grid event nor a webhook"));
}

std::optional<std::string> acr_handshake_answer(const Json& json) {
  std::optional<std::string> answer;
  const auto look = [&answer](const Json& event) {
    if (type_of(event) != "Microsoft.EventGrid.SubscriptionValidationEvent") return;
    const auto code = event["data"]["validationCode"].text();
    if (code) answer = nlohmann::json{{"validationResponse", *code}}.dump();
  };
  if (json.is_array()) {
    json.for_each_element(look);
  } else {
    look(json);
  }
  return answer;
}

}  // namespace transship::events
