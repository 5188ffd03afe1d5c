// CloudEvents 1.0 as zot sends them: binary over HTTP (attributes in headers, the body is only the
// data), structured, and in batches.

#include <algorithm>
#include <array>

#include "daemon/events/dialects.h"
#include "daemon/events/time.h"
#include "replicator/base/base64.h"

namespace transship::events {
namespace {

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Header values are percent-encoded (CloudEvents HTTP binding, 3.1.3.2); what is no such code stays
// as it is.
std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_value(text[i + 2]) : -1;
    if (low < 0) {
      decoded += text[i];
      continue;
    }
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

// What an event says about itself, wherever it says it. An attribute that is "" counts as missing.
struct Attributes {
  std::optional<std::string> specversion, id, source, type;
  std::optional<EventTime> time;
};

std::optional<Action> action_of(const std::string& type) {
  if (type == "zotregistry.image.updated") return Action::push;
  if (type == "zotregistry.image.deleted") return Action::remove;
  return std::nullopt;
}

// The event that is decided by its attributes alone, if it is.
std::optional<Event> without_data(const Attributes& attributes) {
  if (!attributes.type) return malformed("no type");
  if (!action_of(*attributes.type)) return ignored("type " + *attributes.type);
  if (!attributes.specversion || !attributes.id || !attributes.source) {
    return malformed("no specversion, id or source");
  }
  return std::nullopt;
}

void add_attributes(Event& event, const Attributes& attributes) {
  event.time = attributes.time;
  // Both together are the event's identity; "|" is in no URI.
  if (attributes.id && attributes.source) event.id = *attributes.source + "|" + *attributes.id;
}

Event of_data(const Attributes& attributes, const Json& data) {
  Name tag = name_of(data["reference"]);
  Name digest = name_of(data["digest"]);
  sort_reference(tag, digest);
  Event event = image_event(*action_of(*attributes.type), data["name"].text(), tag, digest);
  event.media_type = optional_text(data["mediaType"]);
  event.actor = optional_text(data["actor"]["name"]);
  event.user_agent = optional_text(data["request"]["useragent"]);
  return event;
}

// From `data`, or from the JSON in `data_base64`.
Event with_data(const Attributes& attributes, const Json& json, std::size_t depth_max) {
  const Json plain = json["data"];
  if (!plain.is_missing() && plain.type() != Json::Type::null) return of_data(attributes, plain);
  const auto encoded = json["data_base64"].text();
  if (!encoded) return malformed("no data");
  const auto decoded = base64_decoded(*encoded);
  if (!decoded) return malformed("data_base64 is not Base64");
  std::string problem;
  const auto data = Json::parse(*decoded, depth_max, &problem);
  return data ? of_data(attributes, *data) : malformed("data_base64: " + problem);
}

Event read_structured(const Json& json, std::size_t depth_max) {
  const Attributes attributes{optional_text(json["specversion"]), optional_text(json["id"]),
                              optional_text(json["source"]), optional_text(json["type"]),
                              rfc3339_in(json["time"])};
  auto event = without_data(attributes);
  if (!event) event = with_data(attributes, json, depth_max);
  add_attributes(*event, attributes);
  return *event;
}

std::optional<std::string> header(const Headers& headers, const std::string& name) {
  const auto found = headers.find(name);
  if (found == headers.end() || found->second.empty()) return std::nullopt;
  return percent_decoded(found->second);
}

// The attributes are in the headers, unless the content type says that the body has them.
bool is_binary(const Headers& headers) {
  const auto type = headers.find("content-type");
  if (type != headers.end() && lower_case(type->second).starts_with("application/cloudevents")) {
    return false;
  }
  constexpr std::array names{"ce-specversion", "ce-id", "ce-source", "ce-type"};
  return std::any_of(names.begin(), names.end(),
                     [&](const char* name) { return headers.contains(name); });
}

Event read_binary(std::string_view body, const Headers& headers, std::size_t depth_max) {
  const auto time = header(headers, "ce-time");
  const Attributes attributes{header(headers, "ce-specversion"), header(headers, "ce-id"),
                              header(headers, "ce-source"), header(headers, "ce-type"),
                              time ? time_of_rfc3339(*time) : std::nullopt};
  auto event = without_data(attributes);
  if (!event) {
    std::string problem;
    const auto data = Json::parse(body, depth_max, &problem);
    event = data ? of_data(attributes, *data) : malformed(problem);
  }
  add_attributes(*event, attributes);
  return *event;
}

}  // namespace

std::vector<Message> parse_cloudevents(std::string_view body, const Headers& headers,
                                       const Limits& limits) {
  if (is_binary(headers)) return whole(body, read_binary(body, headers, limits.depth));
  std::string problem;
  const auto json = Json::parse(body, limits.depth, &problem);
  if (!json) return whole(body, malformed(std::move(problem)));
  const auto read = [&limits](const Json& element) {
    return read_structured(element, limits.depth);
  };
  // A batch is known by its being a list, so that one event of it is read alike under the batch's
  // content type.
  if (!json->is_array()) return whole(body, read(*json));
  return each_alone({body, *json, headers, limits}, *json, read, [](const Json& element) {
    const std::string text(element.source());
    return element.is_object() ? text : "[" + text + "]";
  });
}

}  // namespace transship::events
