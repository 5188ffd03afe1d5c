// CNCF distribution's notifications, and those of registries built on it.

#include <algorithm>
#include <array>

#include "daemon/events/dialects.h"

namespace transship::events {
namespace {

constexpr std::array<std::string_view, 7> manifest_types{
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.oci.artifact.manifest.v1+json"};

// Blobs are pushed with the same action, before their manifest.
bool is_manifest(const Json& target) {
  const auto type = target["mediaType"].text();
  if (type &&
      std::find(manifest_types.begin(), manifest_types.end(), *type) != manifest_types.end()) {
    return true;
  }
  const auto url = target["url"].text();
  return url && url->find("/manifests/") != std::string::npos;
}

Event of_target(Action action, const Json& target) {
  Event event = image_event(action, target["repository"].text(), name_of(target["tag"]),
                            name_of(target["digest"]));
  event.media_type = optional_text(target["mediaType"]);
  return event;
}

// A hint for prefetch. One that names no blob is of no interest, and nothing worse.
Event blob_event(const Json& target) {
  Event event = of_target(Action::push, target);
  if (event.action != Action::push || !event.digest) return ignored("a blob");
  event.action = Action::blob_push;
  event.detail = "a blob";
  event.tag.reset();
  event.size = target["size"].count();
  return event;
}

Event read_action(const Json& json, const std::string& action) {
  const Json target = json["target"];
  if (action == "push") {
    return is_manifest(target) ? of_target(Action::push, target) : blob_event(target);
  }
  if (action == "delete") return of_target(Action::remove, target);
  return ignored("action " + action);
}

Event read(const Json& json) {
  const auto action = json["action"].text();
  if (!action) return malformed("no action");
  Event event = read_action(json, *action);
  event.time = rfc3339_in(json["timestamp"]);
  event.id = optional_text(json["id"]);
  event.actor = optional_text(json["actor"]["name"]);
  event.user_agent = optional_text(json["request"]["useragent"]);
  return event;
}

}  // namespace

std::vector<Message> parse_distribution(const Source& source) {
  const Json events = source.json["events"];
  if (!events.is_array()) return whole(source.body, malformed("no list of events"));
  return each_alone(source, events, read, [](const Json& element) {
    return R"({"events":[)" + std::string(element.source()) + "]}";
  });
}

}  // namespace transship::events
