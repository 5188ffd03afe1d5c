// Quay's repository notification "Push to Repository". It has no type field: its keys tell it from
// other events.

#include "daemon/events/dialects.h"

namespace transship::events {

std::vector<Message> parse_quay(const Source& source) {
  const Json& json = source.json;
  const Json updated = json["updated_tags"];
  if (updated.is_missing() || updated.type() == Json::Type::null) {
    if (json["repository"].is_missing() && json["namespace"].is_missing()) {
      return whole(source.body, malformed("no repository or namespace"));
    }
    return whole(source.body, ignored("no updated_tags"));
  }
  std::vector<Json> tags;
  if (updated.is_array()) {
    updated.for_each_element([&tags](const Json& tag) { tags.push_back(tag); });
  } else if (updated.is_object()) {
    // Until 2013: tags with the ids of their images, which are no digests.
    updated.for_each_member([&tags](const Json& tag, const Json&) { tags.push_back(tag); });
  } else {
    return whole(source.body, malformed("updated_tags is no list"));
  }
  if (tags.empty()) return whole(source.body, ignored("no updated_tags"));
  const auto repository = repository_of(json["repository"], json["namespace"], json["name"]);
  return all_in_one(source, tags, [&repository](const Json& tag) {
    return image_event(Action::push, repository, name_of(tag), {});
  });
}

}  // namespace transship::events
