#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace transship::events {

// Milliseconds since the epoch, as the events' own times are kept.
using EventTime = std::chrono::sys_time<std::chrono::milliseconds>;

// The dialects of registries' webhooks: the names are those of `registries.R.events.format`.
enum class Dialect { distribution, harbor, cloudevents, ecr, acr, quay, gar, dockerhub };

std::optional<Dialect> dialect_named(std::string_view name);
std::string_view to_string(Dialect dialect);

// What one event says. A push or a delete names a repository; everything else moves no image.
enum class Action {
  push,       // an image was pushed: by tag, or by digest alone
  remove,     // a tag, a manifest, or (with neither) a whole repository was deleted
  blob_push,  // a blob arrived (distribution only): counts as ignored, and is a hint for prefetch
  ignored,    // well formed and of no interest: pulls, mounts, scans
  malformed,  // breaks the dialect's rules; `detail` says where
};

struct Event {
  Action action = Action::ignored;
  std::string repository;             // OCI name grammar, at most 256 bytes
  std::optional<std::string> tag;     // the tag moved; the digest beside it is a hint
  std::optional<std::string> digest;  // sha256:… or sha512:…
  std::optional<std::string> media_type;
  std::optional<std::uint64_t> size;  // of a blob, in bytes
  std::optional<EventTime> time;      // when the registry says that it happened
  std::optional<std::string>
      host;  // the registry's own host[:port], where the event tells for which host it is (gar)
  std::optional<std::string> actor;
  std::optional<std::string> user_agent;
  // Equal for redeliveries of one event and for nothing else. Absent where the dialect has no event
  // id: then nothing tells a redelivery from a second push, and both are looked at.
  std::optional<std::string> id;
  // Where a person has to confirm that events may be sent here (ecr: Amazon SNS), before there are
  // any. An https address of the sender's own host.
  std::optional<std::string> confirm_at;
  bool over_limit = false;  // malformed because the body holds more events than Limits allows
  std::string detail;       // for ignored and malformed: why, for the log
};

// A copy of ours caused it: registries echo the user agent of whoever pushed, which begins so.
constexpr std::string_view our_user_agent = "transship/";
inline bool is_ours(const Event& event) {
  return event.user_agent && event.user_agent->starts_with(our_user_agent);
}

// Header names in lower case. Intake keeps only those that a dialect reads (see telling_headers).
using Headers = std::map<std::string, std::string>;

// One event of a body and the bytes that carry it alone, such that parse() of those bytes gives the
// same event(s). A body that holds one event is carried unchanged. Several results may share one
// message (quay's updated_tags).
struct Message {
  std::string body;
  std::vector<Event> events;
};

struct Limits {
  std::size_t events = 10'000;  // events in one body; more make the body malformed
  std::size_t depth = 512;      // nesting of JSON; deeper is malformed
};

// Reads a registry's webhook body. Pure and total: any bytes give 0..n messages, and what cannot be
// read is one message with a malformed event. Never throws.
std::vector<Message> parse(Dialect dialect, std::string_view body, const Headers& headers,
                           const Limits& limits = {});

// The headers that travel with an event of this dialect on the bus (lower case): CloudEvents'
// binary mode puts the event's type, id and time there.
bool is_telling_header(Dialect dialect, std::string_view lower_case_name);

// The answer that a subscription handshake needs, where the body is one (Event Grid's
// SubscriptionValidationEvent). The CloudEvents OPTIONS handshake has no body and is the HTTP
// layer's.
std::optional<std::string> handshake_answer(Dialect dialect, std::string_view body);

}  // namespace transship::events
