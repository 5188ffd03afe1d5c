// Docker Hub's webhook: pushes only.

#include "daemon/events/dialects.h"

namespace transship::events {
namespace {

Event read(const Json& json) {
  const Json push = json["push_data"];
  if (!push.is_object()) return malformed("no push_data");
  const Name tag = name_of(push["tag"]);
  if (tag.readable && tag.text.empty()) return ignored("no tag");
  const Json about = json["repository"];
  Event event = image_event(
      Action::push, repository_of(about["repo_name"], about["namespace"], about["name"]), tag, {});
  event.media_type = optional_text(push["media_type"]);
  event.time = epoch_in(push["pushed_at"]);
  event.actor = optional_text(push["pusher"]);
  return event;
}

}  // namespace

std::vector<Message> parse_dockerhub(const Source& source) {
  return whole(source.body, read(source.json));
}

}  // namespace transship::events
