#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/events/event.h"
#include "daemon/events/json.h"

// What the dialects have in common. Each of them is a function from a body to messages; the rules
// that they share are here, so that a dialect only says where its fields are.
namespace transship::events {

// A body that is JSON, and how it came.
struct Source {
  std::string_view body;
  Json json;
  const Headers& headers;
  const Limits& limits;
};

std::vector<Message> parse_distribution(const Source& source);
std::vector<Message> parse_harbor(const Source& source);
// Reads the body itself: in binary mode an event that is ignored need not be JSON.
std::vector<Message> parse_cloudevents(std::string_view body, const Headers& headers,
                                       const Limits& limits);
std::vector<Message> parse_ecr(const Source& source);
std::vector<Message> parse_acr(const Source& source);
std::vector<Message> parse_quay(const Source& source);
std::vector<Message> parse_gar(const Source& source);
std::vector<Message> parse_dockerhub(const Source& source);
std::optional<std::string> acr_handshake_answer(const Json& json);

Event malformed(std::string detail);
Event ignored(std::string detail);

// A body that is carried on unchanged.
std::vector<Message> whole(std::string_view body, std::vector<Event> events);
std::vector<Message> whole(std::string_view body, Event event);

// One message for each element of a list, in order; malformed as a whole where there are more than
// the limit allows. A list of one is carried on as it came, an element of several as `wrap` writes
// it.
std::vector<Message> each_alone(const Source& source, const Json& list,
                                const std::function<Event(const Json&)>& read,
                                const std::function<std::string(const Json&)>& wrap);

// One event for each element, all of them in one message.
std::vector<Message> all_in_one(const Source& source, const std::vector<Json>& list,
                                const std::function<Event(const Json&)>& read);

// A tag or a digest as it is written: absent, null and "" are none; any other type cannot be read.
struct Name {
  bool readable = true;
  std::string text;  // empty: none
};
Name name_of(const Json& json);

// A tag that is spelled as a digest is one: harbor's `tag` and zot's `reference` are either.
void sort_reference(Name& tag, Name& digest);

// The push or delete of these, held against the rules for names (a repository; for a push a tag or
// a digest); malformed where they break one.
Event image_event(Action action, const std::optional<std::string>& repository, const Name& tag,
                  const Name& digest);

// `full`, or where it is absent `space` "/" `name`.
std::optional<std::string> repository_of(const Json& full, const Json& space, const Json& name);

// An optional text field: a wrong type or "" counts as absent.
std::optional<std::string> optional_text(const Json& json);
std::optional<EventTime> rfc3339_in(const Json& json);
std::optional<EventTime> epoch_in(const Json& json);

}  // namespace transship::events
