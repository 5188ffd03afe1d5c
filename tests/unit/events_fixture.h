#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "daemon/events/event.h"

// What the tests of the eight dialects share.
namespace transship::events::testing {

inline constexpr std::string_view digest_d05 =
    "sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71";
inline constexpr std::string_view digest_d91 =
    "sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195";
inline constexpr std::string_view digest_b3e =
    "sha256:b3e81406e67adfbe9a633f6f2678e49e25b161b6d9843f815b1d0bd8366e807d";
inline constexpr std::string_view digest_cbb =
    "sha256:cbbb87829e81d43a89109c7b0412f1471cc72af1542ec5c49cc132ee023d0f2f";
inline constexpr std::string_view image_manifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view image_index = "application/vnd.oci.image.index.v1+json";

inline EventTime at_ms(std::int64_t ms) { return EventTime(std::chrono::milliseconds(ms)); }
// 2026-10-05T08:15:30Z, when most examples happen.
inline constexpr std::int64_t example_ms = 1'791'188'130'000;

// An event on one line, for comparing: what is absent is left out.
inline std::string shown(const Event& event) {
  std::string text;
  switch (event.action) {
    case Action::push:
      text = "push";
      break;
    case Action::remove:
      text = "remove";
      break;
    case Action::blob_push:
      text = "blob_push";
      break;
    case Action::ignored:
      return "ignored";
    case Action::malformed:
      return "malformed";
  }
  text += " " + event.repository;
  if (event.tag) text += ":" + *event.tag;
  if (event.digest) text += "@" + *event.digest;
  return text;
}

inline std::vector<Event> events_of(const std::vector<Message>& messages) {
  std::vector<Event> events;
  for (const Message& message : messages) {
    events.insert(events.end(), message.events.begin(), message.events.end());
  }
  return events;
}

inline std::vector<std::string> shown(const std::vector<Event>& events) {
  std::vector<std::string> lines;
  for (const Event& event : events) lines.push_back(shown(event));
  return lines;
}

inline std::string everything(const Event& event) {
  const auto or_none = [](const std::optional<std::string>& text) {
    return text ? *text : std::string("-");
  };
  return shown(event) + " type=" + or_none(event.media_type) +
         " time=" + (event.time ? std::to_string(event.time->time_since_epoch().count()) : "-") +
         " host=" + or_none(event.host) + " actor=" + or_none(event.actor) +
         " agent=" + or_none(event.user_agent) + " id=" + or_none(event.id) + " " + event.detail;
}

// Each message's body alone gives the same events again: what the bus carries means what was
// received.
inline void expect_carried(Dialect dialect, const std::vector<Message>& messages,
                           const Headers& headers = {}) {
  for (const Message& message : messages) {
    const auto again = parse(dialect, message.body, headers);
    ASSERT_EQ(again.size(), 1U) << message.body;
    ASSERT_EQ(again[0].events.size(), message.events.size()) << message.body;
    EXPECT_EQ(again[0].body, message.body);
    for (std::size_t i = 0; i < message.events.size(); ++i) {
      EXPECT_EQ(everything(again[0].events[i]), everything(message.events[i])) << message.body;
    }
  }
}

inline std::vector<Event> read(Dialect dialect, std::string_view body,
                               const Headers& headers = {}) {
  const auto messages = parse(dialect, body, headers);
  expect_carried(dialect, messages, headers);
  return events_of(messages);
}

inline std::vector<std::string> read_shown(Dialect dialect, std::string_view body,
                                           const Headers& headers = {}) {
  return shown(read(dialect, body, headers));
}

using Lines = std::vector<std::string>;

inline std::string name(std::string_view repository_and_tag, std::string_view digest = {}) {
  std::string text(repository_and_tag);
  if (!digest.empty()) text.append("@").append(digest);
  return text;
}

// `text` with `from` replaced by `to`, which has to be there.
inline std::string with(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

}  // namespace transship::events::testing
