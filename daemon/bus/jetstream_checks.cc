#include "daemon/bus/jetstream_checks.h"

#include <fmt/format.h>

#include <algorithm>

#include "daemon/bus/message.h"

namespace transship::bus {
namespace {

// With "discard old", a full stream drops events that nobody has acted on. Below the first it does
// so every day.
constexpr std::int64_t messages_min = 1'000;
constexpr std::int64_t messages_wanted = 100'000;
constexpr std::int64_t bytes_min = 1 << 20;
constexpr std::int64_t bytes_wanted = 256 << 20;
constexpr std::chrono::hours age_wanted{24};

std::string_view take_token(std::string_view& rest) {
  const std::size_t dot = rest.find('.');
  const std::string_view token = rest.substr(0, dot);
  rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return token;
}

std::int64_t nanoseconds(std::chrono::nanoseconds time) { return time.count(); }

// "-1" and 0 both mean no limit.
bool limited_below(std::int64_t limit, std::int64_t least) { return limit > 0 && limit < least; }

// Whether one of the stream's limits on its size is below these.
bool is_full_below(const jsStreamConfig& stream, std::int64_t messages, std::int64_t bytes) {
  return limited_below(stream.MaxMsgs, messages) || limited_below(stream.MaxBytes, bytes) ||
         limited_below(stream.MaxMsgsPerSubject, messages);
}

std::string limits_of(const jsStreamConfig& stream) {
  return fmt::format("max_msgs {}, max_bytes {}, max_msgs_per_subject {}", stream.MaxMsgs,
                     stream.MaxBytes, stream.MaxMsgsPerSubject);
}

Result<void> refuse(const char* what, const std::string& name, const std::string& why) {
  return fail(ErrorKind::invalid, fmt::format("the {} '{}' {}", what, name, why));
}

Result<void> check_subjects(const jsStreamConfig& stream, const JetStreamOptions& options) {
  if (stream.Mirror != nullptr) return {};  // what it holds is decided at its origin
  for (const std::string& subject : options.subjects) {
    const bool found =
        std::any_of(stream.Subjects, stream.Subjects + stream.SubjectsLen,
                    [&subject](const char* pattern) { return covers(pattern, subject); });
    if (found) continue;
    return refuse("stream", options.stream,
                  fmt::format("does not take the subject {}: add it to the stream's subjects, or "
                              "name another stream",
                              subject));
  }
  return {};
}

// A full stream takes no more events. Under limits retention nothing but age makes room again.
Result<void> check_discard_new(const jsStreamConfig& stream, const JetStreamOptions& options,
                               std::vector<std::string>& warnings) {
  const bool is_limited = stream.MaxMsgs > 0 || stream.MaxBytes > 0 || stream.MaxMsgsPerSubject > 0;
  if (!is_limited || stream.Retention != js_LimitsPolicy) return {};
  if (stream.MaxAge <= 0) {
    return refuse(
        "stream", options.stream,
        fmt::format("takes no event any more once it is full, for ever ({}, discard new): "
                    "set max_age, or discard old",
                    limits_of(stream)));
  }
  if (is_full_below(stream, messages_wanted, bytes_wanted)) {
    warnings.push_back(fmt::format(
        "the stream '{}' takes no event while it is full, until the oldest are old enough ({}, "
        "discard new): registries are answered 503 then",
        options.stream, limits_of(stream)));
  }
  return {};
}

// What a limit on the number or size of messages does to events that nobody has acted on.
Result<void> check_limits(const jsStreamConfig& stream, const JetStreamOptions& options,
                          std::vector<std::string>& warnings) {
  if (stream.Discard != js_DiscardOld) return check_discard_new(stream, options, warnings);
  if (is_full_below(stream, messages_min, bytes_min)) {
    return refuse("stream", options.stream,
                  fmt::format("drops old events after a few ({}, discard old): raise the limits",
                              limits_of(stream)));
  }
  if (is_full_below(stream, messages_wanted, bytes_wanted)) {
    warnings.push_back(
        fmt::format("the stream '{}' drops old events over a small limit ({}): a target that is "
                    "down for long falls back on reconciliation",
                    options.stream, limits_of(stream)));
  }
  return {};
}

}  // namespace

bool covers(std::string_view pattern, std::string_view subject) {
  while (!pattern.empty() && !subject.empty()) {
    const std::string_view wanted = take_token(pattern);
    if (wanted == ">") return true;
    const std::string_view token = take_token(subject);
    if (token == ">") return false;
    if (wanted != "*" && wanted != token) return false;
  }
  return pattern.empty() && subject.empty();
}

Result<std::string> subject_of(const std::vector<std::string>& subjects,
                               std::string_view registry) {
  for (const std::string& subject : subjects) {
    const std::size_t dot = subject.rfind('.');
    const std::string stem = dot == std::string::npos ? "" : subject.substr(0, dot + 1);
    const std::string_view last = std::string_view(subject).substr(stem.size());
    if (stem.find('*') != std::string::npos) continue;
    if (last == ">" || last == "*" || last == registry) return stem + std::string(registry);
  }
  return fail(ErrorKind::invalid,
              fmt::format("no subject of the bus can name the registry {}: one of bus.subjects has "
                          "to end in a wildcard, as in registry.events.>",
                          registry));
}

Result<void> check_stream(const jsStreamConfig& stream, const JetStreamOptions& options,
                          std::vector<std::string>& warnings) {
  const std::string& name = options.stream;
  if (stream.Sealed) return refuse("stream", name, "is sealed and takes no events");
  if (stream.NoAck) return refuse("stream", name, "confirms nothing (no_ack): set it to false");
  if (stream.Retention == js_WorkQueuePolicy) {
    return refuse("stream", name,
                  "has work-queue retention, which gives each event to one target alone: make it "
                  "again with limits retention");
  }
  if (stream.Storage == js_MemoryStorage && stream.Replicas <= 1) {
    return refuse("stream", name,
                  "is kept in the memory of one server, whose restart loses every event: make it "
                  "again with file storage");
  }
  if (auto subjects = check_subjects(stream, options); !subjects) return subjects;
  if (auto limits = check_limits(stream, options, warnings); !limits) return limits;
  const auto warn = [&](std::string_view what) {
    warnings.push_back(fmt::format("the stream '{}' {}", name, what));
  };
  if (stream.Storage == js_MemoryStorage) warn("is kept in memory only");
  if (stream.Mirror != nullptr) warn("is a mirror: events are read from it, and taken elsewhere");
  if (stream.Retention == js_InterestPolicy) {
    warn("keeps only what a target that is known already needs (interest retention)");
  }
  if (limited_below(stream.MaxAge, nanoseconds(age_wanted))) {
    warn("drops events after less than a day: what a target misses, reconciliation has to find");
  }
  if (stream.Duplicates < nanoseconds(duplicate_window)) {
    warn("knows duplicates for less than two minutes: some events will be looked at twice");
  }
  return {};
}

void check_replicas(const jsStreamConfig& stream, std::vector<std::string>& warnings) {
  if (stream.Replicas >= stream_replicas) return;
  warnings.push_back(
      fmt::format("the stream '{0}' is kept by {1} of the cluster's servers: while one of them is "
                  "away, no event is taken. `nats stream edit {0} --replicas {2}` where there are "
                  "as many",
                  stream.Name, stream.Replicas, stream_replicas));
}

Result<void> check_consumer(const jsConsumerConfig& consumer, const JetStreamOptions& options) {
  const std::string name = consumer.Durable != nullptr ? consumer.Durable : "?";
  const auto no = [&name](const std::string& why) {
    return refuse("consumer", name, why + ": delete the consumer, it is made again");
  };
  if (consumer.DeliverSubject != nullptr && *consumer.DeliverSubject != '\0') {
    return no("is push-based");
  }
  if (consumer.AckPolicy != js_AckExplicit) return no("has another ack policy than explicit");
  if (consumer.MaxDeliver > 0) {
    return no(
        fmt::format("gives an event up after {} deliveries (max_deliver)", consumer.MaxDeliver));
  }
  std::int64_t wait = consumer.AckWait;
  for (int i = 0; i < consumer.BackOffLen; ++i) wait = std::max(wait, consumer.BackOff[i]);
  if (wait > nanoseconds(Inbox::acknowledge_within)) {
    return no(
        fmt::format("waits {} s for an acknowledgement (ack_wait, backoff), and at most {} s "
                    "are allowed",
                    wait / 1'000'000'000, Inbox::acknowledge_within.count()));
  }
  if (consumer.HeadersOnly) return no("delivers headers only");
  if (consumer.ReplayPolicy != js_ReplayInstant) return no("replays at the original pace");
  if (consumer.FilterSubject == nullptr || *consumer.FilterSubject == '\0') return {};
  for (const std::string& subject : options.subjects) {
    if (!covers(consumer.FilterSubject, subject)) {
      return no(
          fmt::format("takes only {} (filter_subject), not {}", consumer.FilterSubject, subject));
    }
  }
  return {};
}

}  // namespace transship::bus
