// Harbor's webhooks, in its own format and as structured CloudEvents; 1.x names too.

#include "daemon/events/dialects.h"

namespace transship::events {
namespace {

std::optional<Action> action_of(const std::string& type) {
  if (type == "PUSH_ARTIFACT" || type == "pushImage" || type == "harbor.artifact.pushed") {
    return Action::push;
  }
  if (type == "DELETE_ARTIFACT" || type == "deleteImage" || type == "harbor.artifact.deleted") {
    return Action::remove;
  }
  return std::nullopt;
}

}  // namespace

std::vector<Message> parse_harbor(const Source& source) {
  const Json& json = source.json;
  const auto type = json["type"].text();
  if (!type) return whole(source.body, malformed("no type"));
  const auto action = action_of(*type);
  if (!action) return whole(source.body, ignored("type " + *type));

  const bool cloud_event = type->starts_with("harbor.");
  const Json data = json[cloud_event ? "data" : "event_data"];
  const Json about = data["repository"];
  const auto repository = repository_of(about["repo_full_name"], about["namespace"], about["name"]);
  std::vector<Json> resources;
  data["resources"].for_each_element([&](const Json& each) { resources.push_back(each); });
  if (resources.empty()) return whole(source.body, malformed("no resources"));

  return all_in_one(source, resources, [&](const Json& resource) {
    // What was pushed by digest, or has no tag, has the digest for a tag.
    Name tag = name_of(resource["tag"]);
    Name digest = name_of(resource["digest"]);
    sort_reference(tag, digest);
    Event event = resource.is_object() ? image_event(*action, repository, tag, digest)
                                       : malformed("a resource that is no object");
    event.time = cloud_event ? rfc3339_in(json["time"]) : epoch_in(json["occur_at"]);
    if (cloud_event) event.id = optional_text(json["id"]);
    event.actor = optional_text(json["operator"]);
    return event;
  });
}

}  // namespace transship::events
