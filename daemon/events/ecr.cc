// Amazon ECR's events as EventBridge delivers them.

#include "daemon/events/dialects.h"

namespace transship::events {
namespace {

std::optional<Action> action_of(const std::string& detail_type, const std::string& action) {
  if (detail_type == "ECR Image Action" && action == "PUSH") return Action::push;
  if (detail_type == "ECR Image Action" && action == "DELETE") return Action::remove;
  // An image has arrived in this region by ECR's own replication.
  if (detail_type == "ECR Replication Action" && action == "REPLICATE") return Action::push;
  return std::nullopt;
}

Event read_detail(const std::string& detail_type, const Json& detail) {
  if (!detail.is_object()) return malformed("detail is no object");
  const auto written = detail["action-type"].text();
  if (!written) return malformed("no action-type");
  const auto action = action_of(detail_type, *written);
  if (!action) return ignored("action-type " + *written);
  if (detail["result"].text() != "SUCCESS") return ignored("not successful");
  Event event = image_event(*action, detail["repository-name"].text(), name_of(detail["image-tag"]),
                            name_of(detail["image-digest"]));
  event.media_type = optional_text(detail["manifest-media-type"]);
  return event;
}

Event read(const Json& json) {
  const auto source = json["source"].text();
  const auto detail_type = json["detail-type"].text();
  if (!source || !detail_type) return malformed("no source or detail-type");
  if (*source != "aws.ecr") return ignored("source " + *source);
  if (*detail_type != "ECR Image Action" && *detail_type != "ECR Replication Action") {
    return ignored("detail-type " + *detail_type);
  }
  Event event = read_detail(*detail_type, json["detail"]);
  event.time = rfc3339_in(json["time"]);
  event.id = optional_text(json["id"]);
  return event;
}

}  // namespace

std::vector<Message> parse_ecr(const Source& source) {
  return whole(source.body, read(source.json));
}

}  // namespace transship::events
