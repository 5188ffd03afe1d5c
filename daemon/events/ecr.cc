// Amazon ECR's events as EventBridge delivers them: by itself, or through Amazon SNS in an
// envelope.

#include <algorithm>

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

Event read_event(const Json& json) {
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

// https://sns.REGION.amazonaws.com/…, in China with .cn: nobody else's address is shown to an
// operator as one to visit.
bool is_address_of_sns(const std::string& url) {
  constexpr std::string_view begin = "https://sns.";
  constexpr std::size_t bytes_max = 2048;
  if (!url.starts_with(begin) || url.size() > bytes_max) return false;
  const auto is_printed = [](char c) {
    return c > ' ' && c <= '~' && std::string_view("\"'\\<>`").find(c) == std::string_view::npos;
  };
  if (!std::all_of(url.begin(), url.end(), is_printed)) return false;
  std::string_view host = std::string_view(url).substr(begin.size());
  host = host.substr(0, host.find_first_of("/?#"));
  if (host.ends_with(".cn")) host.remove_suffix(3);
  constexpr std::string_view end = ".amazonaws.com";
  if (!host.ends_with(end)) return false;
  host.remove_suffix(end.size());
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

// Whoever visits the address makes the topic send here. That is the operator's to decide, not ours
// because somebody asks.
Event read_confirmation(const Json& envelope) {
  auto address = envelope["SubscribeURL"].text();
  if (!address || !is_address_of_sns(*address))
    return malformed("SubscribeURL is no https address of Amazon SNS");
  Event event = ignored("a subscription that is to be confirmed");
  event.confirm_at = std::move(address);
  return event;
}

Event read_envelope(const std::string& type, const Json& envelope, std::size_t depth_max) {
  if (type == "SubscriptionConfirmation") return read_confirmation(envelope);
  if (type != "Notification") return ignored("Type " + type);
  const auto inner = envelope["Message"].text();
  if (!inner) return malformed("no Message");
  std::string problem;
  const auto json = Json::parse(*inner, depth_max, &problem);
  return json ? read_event(*json) : malformed("Message: " + problem);
}

}  // namespace

std::vector<Message> parse_ecr(const Source& source) {
  const auto type = source.json["Type"].text();
  const bool in_envelope = type && source.json["source"].is_missing();
  return whole(source.body, in_envelope ? read_envelope(*type, source.json, source.limits.depth)
                                        : read_event(source.json));
}

}  // namespace transship::events
