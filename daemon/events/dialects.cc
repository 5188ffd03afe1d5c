#include "daemon/events/dialects.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "daemon/events/time.h"
#include "replicator/oci/digest.h"
#include "replicator/oci/reference.h"

namespace transship::events {
namespace {

// Parts of it come from the event, and it goes to the log.
std::string printable(std::string text) {
  constexpr std::size_t bytes_max = 200;
  if (text.size() > bytes_max) text.resize(bytes_max);
  std::replace_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

Event without_image(Action action, std::string detail) {
  Event event;
  event.action = action;
  event.detail = printable(std::move(detail));
  return event;
}

std::vector<Message> too_many(const Source& source) {
  Event event = malformed(fmt::format("more than {} events in one body", source.limits.events));
  event.over_limit = true;
  return whole(source.body, std::move(event));
}

}  // namespace

Event malformed(std::string detail) { return without_image(Action::malformed, std::move(detail)); }

Event ignored(std::string detail) { return without_image(Action::ignored, std::move(detail)); }

std::vector<Message> whole(std::string_view body, std::vector<Event> events) {
  std::vector<Message> messages;
  messages.push_back({std::string(body), std::move(events)});
  return messages;
}

std::vector<Message> whole(std::string_view body, Event event) {
  std::vector<Event> events;
  events.push_back(std::move(event));
  return whole(body, std::move(events));
}

std::vector<Message> each_alone(const Source& source, const Json& list,
                                const std::function<Event(const Json&)>& read,
                                const std::function<std::string(const Json&)>& wrap) {
  const std::size_t count = list.element_count();
  if (count > source.limits.events) return too_many(source);
  std::vector<Message> messages;
  messages.reserve(count);
  list.for_each_element([&](const Json& element) {
    Message message;
    message.body = count == 1 ? std::string(source.body) : wrap(element);
    message.events.push_back(read(element));
    messages.push_back(std::move(message));
  });
  return messages;
}

std::vector<Message> all_in_one(const Source& source, const std::vector<Json>& list,
                                const std::function<Event(const Json&)>& read) {
  if (list.size() > source.limits.events) return too_many(source);
  std::vector<Event> events;
  events.reserve(list.size());
  for (const Json& element : list) events.push_back(read(element));
  return whole(source.body, std::move(events));
}

Name name_of(const Json& json) {
  if (json.is_missing() || json.type() == Json::Type::null) return {};
  auto text = json.text();
  if (!text) return {false, {}};
  return {true, std::move(*text)};
}

void sort_reference(Name& tag, Name& digest) {
  if (!tag.readable || !oci::Digest::parse(tag.text)) return;
  // Without the digest, a delete would seem to mean the whole repository.
  if (digest.readable && digest.text.empty()) digest = tag;
  tag = {};
}

Event image_event(Action action, const std::optional<std::string>& repository, const Name& tag,
                  const Name& digest) {
  if (!repository) return malformed("no repository");
  if (!oci::Repository::parse(*repository)) return malformed("not a repository's name");
  if (!tag.readable || (!tag.text.empty() && !oci::Tag::parse(tag.text))) {
    return malformed("not a tag");
  }
  if (!digest.readable || (!digest.text.empty() && !oci::Digest::parse(digest.text))) {
    return malformed("not a digest");
  }
  if (action == Action::push && tag.text.empty() && digest.text.empty()) {
    return malformed("a push of neither a tag nor a digest");
  }
  Event event;
  event.action = action;
  event.repository = *repository;
  if (!tag.text.empty()) event.tag = tag.text;
  if (!digest.text.empty()) event.digest = digest.text;
  return event;
}

std::optional<std::string> repository_of(const Json& full, const Json& space, const Json& name) {
  const Name whole_name = name_of(full);
  if (!whole_name.readable) return std::nullopt;
  if (!whole_name.text.empty()) return whole_name.text;
  const auto first = space.text();
  const auto second = name.text();
  if (!first || !second) return std::nullopt;
  return *first + "/" + *second;
}

std::optional<std::string> optional_text(const Json& json) {
  auto text = json.text();
  if (text && text->empty()) return std::nullopt;
  return text;
}

std::optional<EventTime> rfc3339_in(const Json& json) {
  const auto text = json.text();
  return text ? time_of_rfc3339(*text) : std::nullopt;
}

std::optional<EventTime> epoch_in(const Json& json) {
  return json.type() == Json::Type::number ? time_of_epoch(json.source()) : std::nullopt;
}

}  // namespace transship::events
