// Google Artifact Registry through Pub/Sub: the bare message, or Pub/Sub's envelope around it.

#include "daemon/events/dialects.h"
#include "replicator/base/base64.h"

namespace transship::events {
namespace {

// "host/path@digest" or "host/path:tag".
struct FullName {
  std::string host;
  std::string repository;
  std::string end;
};

std::optional<FullName> full_name(const std::string& text, char before_end) {
  const std::size_t slash = text.find('/');
  const std::size_t last_slash = text.rfind('/');
  const std::size_t end = before_end == '@' ? text.find('@') : text.rfind(':');
  if (slash == std::string::npos || slash == 0 || end == std::string::npos) return std::nullopt;
  if (before_end == ':' && end < last_slash) return std::nullopt;
  if (end <= slash + 1) return std::nullopt;
  return FullName{text.substr(0, slash), text.substr(slash + 1, end - slash - 1),
                  text.substr(end + 1)};
}

Event read_names(Action action, const Json& json) {
  const Name digest_name = name_of(json["digest"]);
  const Name tag_name = name_of(json["tag"]);
  if (!digest_name.readable || !tag_name.readable) return malformed("not a reference");
  if (digest_name.text.empty() && tag_name.text.empty()) return malformed("no tag and no digest");
  std::optional<FullName> digest;
  std::optional<FullName> tag;
  if (!digest_name.text.empty() && !(digest = full_name(digest_name.text, '@'))) {
    return malformed("digest is no full reference");
  }
  if (!tag_name.text.empty() && !(tag = full_name(tag_name.text, ':'))) {
    return malformed("tag is no full reference");
  }
  // An end that is empty is no name.
  if ((digest && digest->end.empty()) || (tag && tag->end.empty())) {
    return malformed("a reference without its end");
  }
  const FullName& named = digest ? *digest : *tag;
  Event event = image_event(action, named.repository, {true, tag ? tag->end : std::string()},
                            {true, digest ? digest->end : std::string()});
  event.host = named.host;
  return event;
}

Event read_bare(const Json& json) {
  const auto action = json["action"].text();
  if (!action) return malformed("no action");
  if (*action == "INSERT") return read_names(Action::push, json);
  if (*action == "DELETE") return read_names(Action::remove, json);
  return ignored("action " + *action);
}

Event read_data(const Json& message, std::size_t depth_max) {
  const auto encoded = message["data"].text();
  const auto decoded = encoded ? base64_decoded(*encoded) : std::nullopt;
  if (!decoded) return malformed("no data in Base64");
  std::string problem;
  const auto json = Json::parse(*decoded, depth_max, &problem);
  return json ? read_bare(*json) : malformed("data: " + problem);
}

// The first of two spellings that can be read.
Json either(const Json& message, std::string_view one, std::string_view other) {
  return message[one].text() ? message[one] : message[other];
}

Event read_envelope(const Json& message, std::size_t depth_max) {
  Event event = read_data(message, depth_max);
  event.time = rfc3339_in(either(message, "publishTime", "publish_time"));
  event.id = optional_text(either(message, "messageId", "message_id"));
  return event;
}

}  // namespace

std::vector<Message> parse_gar(const Source& source) {
  const Json message = source.json["message"];
  return whole(source.body, message.is_missing() ? read_bare(source.json)
                                                 : read_envelope(message, source.limits.depth));
}

}  // namespace transship::events
