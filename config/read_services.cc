#include <fmt/format.h>

#include "config/address.h"
#include "config/read_sections.h"

namespace transship::config {

using std::chrono::hours;
using std::chrono::seconds;
using Days = std::chrono::duration<int, std::ratio<86400>>;

namespace {

// Checks what needs a whole list: an event of registry R goes where the first subject has its
// wildcard.
void check_first_subject(Section& section, const JetStreamBus& bus) {
  const Node* subjects = section.find("subjects");
  if (subjects == nullptr || bus.subjects.empty() || ends_with_wildcard(bus.subjects.front())) {
    return;
  }
  const Node& first = subjects->list.empty() ? *subjects : *subjects->list.front();
  section.report("subjects", first,
                 fmt::format("the first must end with a wildcard, in whose place the registry's "
                             "name is put, such as {}.>",
                             bus.subjects.front()));
}

void read_jetstream(Section& section, JetStreamBus& bus) {
  if (section.require("servers")) section.list("servers", bus.servers, parse_bus_server);
  section.optional("stream", bus.stream, parse_stream);
  section.optional("credentials_file", bus.credentials_file, parse_path);
  if (section.find("subjects") == nullptr) return;
  bus.subjects.clear();
  section.list("subjects", bus.subjects, parse_subject);
  check_first_subject(section, bus);
}

}  // namespace

void read_bus(Reading& reading, const Node& node, Bus& bus) {
  Section section(reading, node, "bus", keys::bus);
  std::string type;
  if (!section.required("type", type, WordOf{bus_types})) return;
  if (type == "jetstream") {
    read_jetstream(section, bus.emplace<JetStreamBus>());
  } else {
    bus = JournalBus{};
    section.only(std::to_array<std::string_view>({"type"}), "bus of type journal");
  }
}

void read_http(Reading& reading, const Node& node, Http& http) {
  Section section(reading, node, "http", keys::http);
  const bool listen_known = section.optional("listen", http.listen, parse_listen_address);
  section.optional("token_file", http.token_file, parse_path);
  if (!listen_known || is_loopback(http.listen.host) || section.find("token_file") != nullptr) {
    return;
  }
  reading.report(section.position(),
                 fmt::format("http: token_file is missing; it is needed because {} can be reached "
                             "from other machines",
                             to_string(http.listen)));
}

void read_transfers(Reading& reading, const Node& node, Transfers& transfers) {
  Section section(reading, node, "transfers", keys::transfers);
  section.optional("images", transfers.images, IntegerIn{1, 1000});
  section.optional("blobs", transfers.blobs, IntegerIn{1, 1000});
  section.optional("stall", transfers.stall, DurationIn{seconds(1), hours(1)});
}

void read_retry(Reading& reading, const Node& node, Retry& retry) {
  Section section(reading, node, "retry", keys::retry);
  section.optional("attempts", retry.attempts, IntegerIn{1, 10000});
  const DurationIn pause{Milliseconds(10), hours(1)};
  const Node* first = section.find("first_pause");
  const Node* longest = section.find("longest_pause");
  const bool first_sound = section.optional("first_pause", retry.first_pause, pause);
  const bool longest_sound = section.optional("longest_pause", retry.longest_pause, pause);
  const RetryPolicy policy = retry.for_daemon();
  if (policy.first_pause <= policy.longest_pause) return;
  if (longest_sound && (first == nullptr || first_sound)) {
    section.report(
        "longest_pause", *longest,
        fmt::format("{} is shorter than first_pause, {}{}", format_duration(policy.longest_pause),
                    format_duration(policy.first_pause),
                    first == nullptr ? " where it is left out" : ""));
  } else if (first_sound && longest == nullptr) {
    section.report(
        "first_pause", *first,
        fmt::format("{} is longer than longest_pause, {} where it is left out",
                    format_duration(policy.first_pause), format_duration(policy.longest_pause)));
  }
}

void read_reconcile(Reading& reading, const Node& node, Reconcile& reconcile) {
  Section section(reading, node, "reconcile", keys::reconcile);
  section.optional("interval", reconcile.interval, DurationIn{seconds(1), Days(7)});
  section.optional("at_start", reconcile.at_start, parse_boolean);
  section.optional("closure", reconcile.closure, DurationIn{seconds(1), Days(90)});
}

void read_log(Reading& reading, const Node& node, Log& log) {
  Section section(reading, node, "log", keys::log);
  section.optional("level", log.level, parse_enum<LogLevel>);
  section.optional("format", log.format, parse_enum<LogFormat>);
}

}  // namespace transship::config
