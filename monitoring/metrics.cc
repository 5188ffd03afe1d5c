#include "monitoring/metrics.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <set>

#include "monitoring/process.h"

namespace transship::monitoring {

namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Labels = prometheus::Labels;

// Seconds. Lag is interesting from a tenth of a second (a small image nearby) to a day (a target
// that was down).
const Histogram::BucketBoundaries lag_buckets{0.1, 0.25, 0.5, 1,   2,    5,    10,    20,   30,
                                              60,  120,  300, 600, 1800, 3600, 14400, 86400};
const Histogram::BucketBoundaries request_buckets{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                  1,     2.5,  5,     10,   30,  60};

const Histogram::BucketBoundaries delay_buckets{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                0.1,   0.25,   0.5,   1,    2.5,   10};

Labels labels_of(const Pair& pair) { return {{"rule", pair.rule}, {"target", pair.target}}; }
Labels with(Labels labels, const char* name, std::string_view value) {
  labels[name] = std::string(value);
  return labels;
}
double seconds_of(Time time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

// None: the series ends.
void set_end(Family<Gauge>& family, std::string_view registry, std::string_view kind,
             std::optional<Time> at) {
  const Labels labels{{"registry", std::string(registry)}, {"kind", std::string(kind)}};
  if (at) {
    family.Add(labels).Set(seconds_of(*at));
  } else if (family.Has(labels)) {
    family.Remove(&family.Add(labels));
  }
}

constexpr std::array image_outcomes{"copied", "unchanged", "superseded", "failed", "dead_lettered"};
constexpr std::array delete_outcomes{"deleted", "kept", "failed"};
constexpr std::array event_outcomes{"accepted", "ignored", "duplicate", "malformed"};
constexpr std::array blob_outcomes{"copied", "mounted", "present", "resumed"};
constexpr std::array drift_kinds{"missing", "different", "incomplete", "extra", "conflict"};

}  // namespace

struct Metrics::Families {
  prometheus::Registry registry;
  std::set<std::pair<std::string, std::string>> removed;  // pairs, by rule and target
  std::set<std::string, std::less<>> removed_targets;
  [[nodiscard]] bool is_removed(const Pair& pair) const {
    return removed.contains({pair.rule, pair.target});
  }

  Family<Counter>& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<Gauge>& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  Family<Histogram>& histogram(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
  }

  Family<Histogram>& lag =
      histogram("transship_replication_lag_seconds",
                "Time from a push at the source to its confirmation at the target.");
  Family<Gauge>& oldest_pending = gauge("transship_oldest_pending_seconds",
                                        "Age of the oldest push that is not yet at the target: "
                                        "what would be lost if the source died now. 0 when "
                                        "in step.");
  Family<Gauge>& replicated_until = gauge("transship_replicated_until_timestamp_seconds",
                                          "Every push up to this moment is at the target. 0 until "
                                          "the first reconciliation has found out.");
  Family<Gauge>& pending_images =
      gauge("transship_pending_images",
            "Images that are known to have been pushed and are not yet at the target.");
  Family<Gauge>& pending_bytes =
      gauge("transship_pending_bytes",
            "Bytes of pending images that have to be moved, as far as their manifests were read.");
  Family<Counter>& images =
      counter("transship_images_total", "Images dealt with, by how it ended.");
  Family<Counter>& deletes = counter(
      "transship_deletes_total",
      "Tags that were to go from the target, under rules whose deletes propagate, by how it "
      "ended.");
  Family<Gauge>& deletes_stopped =
      gauge("transship_deletes_stopped",
            "1 while the breaker stops this rule's deletes, until an operator allows them.");
  Family<Counter>& blobs =
      counter("transship_blobs_total", "Blobs of copied images, by how they came to the target.");
  Family<Counter>& blob_bytes =
      counter("transship_blob_bytes_total",
              "Bytes of the blobs of copied images, by how they came to the target.");
  Family<Counter>& events =
      counter("transship_events_total", "Registry events, by what became of them.");
  Family<Counter>& requests =
      counter("transship_registry_requests_total",
              "HTTP requests to registries; code 0 means that nobody answered.");
  Family<Histogram>& request_seconds =
      histogram("transship_registry_request_seconds", "Time until a registry's answer began.");
  Family<Counter>& retries =
      counter("transship_retries_total", "Requests and images that were tried again, by reason.");
  Family<Gauge>& in_flight =
      gauge("transship_transfers_in_flight", "Blobs on their way to the target now.");
  Family<Gauge>& dead_letters = gauge(
      "transship_dead_letters", "Images given up after all tries, which wait for an operator.");
  Family<Gauge>& reconcile_success = gauge(
      "transship_reconcile_last_success_timestamp_seconds",
      "When the last complete reconciliation of this rule and target ended. 0 before the first.");
  Family<Gauge>& reconcile_seconds =
      gauge("transship_reconcile_seconds", "How long the last reconciliation took.");
  Family<Gauge>& drift = gauge("transship_drift_images",
                               "Images that the last reconciliation found out of step, by kind.");
  Family<Gauge>& certificate_ends = gauge(
      "transship_certificate_expiry_timestamp_seconds",
      "When a certificate for a registry stops being valid: the client's own, the last of its "
      "authorities, or the one that the registry shows.");
  Family<Gauge>& credential_ends =
      gauge("transship_credential_expiry_timestamp_seconds",
            "When a credential that says so itself (a JSON Web Token) stops being valid.");
  Family<Histogram>& loop_delay =
      histogram("transship_loop_delay_seconds",
                "How late the event loop came to a timer, looked at four times a second.");
  Family<Gauge>& bus_connected =
      gauge("transship_bus_connected", "1 while the message bus can be reached and takes events.");
  Family<Gauge>& bus_pending =
      gauge("transship_bus_pending_events",
            "Events on the bus that a target of this daemon has not acknowledged.");
  Family<Gauge>& build =
      gauge("transship_build_info", "Version and region of this daemon; always 1.");
  Family<Gauge>& resident =
      gauge("process_resident_memory_bytes", "Resident memory of this process.");
  Family<Gauge>& virtual_memory =
      gauge("process_virtual_memory_bytes", "Virtual memory of this process.");
  Family<Counter>& cpu =
      counter("process_cpu_seconds_total", "User and system CPU time spent by this process.");
  Family<Gauge>& open_files = gauge("process_open_fds", "Open file descriptors of this process.");
  Family<Gauge>& open_files_max =
      gauge("process_max_fds", "Limit of open file descriptors of this process.");
  Family<Gauge>& start_time =
      gauge("process_start_time_seconds", "When this process started, in seconds since the epoch.");

  void report_process() {
    const ProcessFigures figures = read_process_figures();
    resident.Add({}).Set(figures.resident_bytes);
    virtual_memory.Add({}).Set(figures.virtual_bytes);
    Counter& seconds = cpu.Add({});
    seconds.Increment(std::max(0.0, figures.cpu_seconds - seconds.Value()));
    open_files.Add({}).Set(figures.open_files);
    open_files_max.Add({}).Set(figures.open_files_max);
    start_time.Add({}).Set(figures.start_time_seconds);
  }
};

Metrics::Metrics(std::string version, std::string region)
    : families_(std::make_unique<Families>()) {
  families_->build.Add({{"version", std::move(version)}, {"region", std::move(region)}}).Set(1);
  families_->bus_connected.Add({}).Set(0);
  families_->bus_pending.Add({}).Set(0);
  families_->loop_delay.Add({}, delay_buckets);
}
Metrics::~Metrics() = default;

void Metrics::add_pair(const Pair& pair) {
  const Labels labels = labels_of(pair);
  families_->removed.erase({pair.rule, pair.target});
  families_->removed_targets.erase(pair.target);
  families_->lag.Add(labels, lag_buckets);
  families_->oldest_pending.Add(labels);
  families_->replicated_until.Add(labels);
  families_->pending_images.Add(labels);
  families_->pending_bytes.Add(labels);
  families_->reconcile_success.Add(labels);
  families_->reconcile_seconds.Add(labels);
  for (const char* outcome : image_outcomes)
    families_->images.Add(with(labels, "outcome", outcome));
  families_->deletes_stopped.Add(labels);
  for (const char* outcome : delete_outcomes)
    families_->deletes.Add(with(labels, "outcome", outcome));
  for (const char* kind : drift_kinds) families_->drift.Add(with(labels, "kind", kind));
  families_->in_flight.Add({{"target", pair.target}});
  families_->dead_letters.Add({{"target", pair.target}});
  for (const char* outcome : blob_outcomes) {
    const Labels blob{{"source", pair.source}, {"target", pair.target}, {"outcome", outcome}};
    families_->blobs.Add(blob);
    families_->blob_bytes.Add(blob);
  }
}

void Metrics::remove_pair(const Pair& pair, const std::vector<Pair>& pairs_left) {
  const bool has_twin = std::any_of(pairs_left.begin(), pairs_left.end(), [&](const Pair& other) {
    return other.rule == pair.rule && other.target == pair.target;
  });
  if (!has_twin) remove_rule_and_target(pair);
  bool target_stays = false;
  bool way_stays = false;
  for (const Pair& other : pairs_left) {
    target_stays = target_stays || other.target == pair.target;
    way_stays = way_stays || (other.target == pair.target && other.source == pair.source);
  }
  if (!target_stays) {
    families_->removed_targets.insert(pair.target);
    for (Family<Gauge>* family : {&families_->in_flight, &families_->dead_letters})
      family->Remove(&family->Add({{"target", pair.target}}));
  }
  for (const char* outcome : blob_outcomes) {
    if (way_stays) break;
    const Labels blob{{"source", pair.source}, {"target", pair.target}, {"outcome", outcome}};
    families_->blobs.Remove(&families_->blobs.Add(blob));
    families_->blob_bytes.Remove(&families_->blob_bytes.Add(blob));
  }
}

void Metrics::remove_rule_and_target(const Pair& pair) {
  const Labels labels = labels_of(pair);
  families_->removed.emplace(pair.rule, pair.target);
  families_->lag.Remove(&families_->lag.Add(labels, lag_buckets));
  for (Family<Gauge>* family :
       {&families_->oldest_pending, &families_->replicated_until, &families_->pending_images,
        &families_->pending_bytes, &families_->deletes_stopped, &families_->reconcile_success,
        &families_->reconcile_seconds}) {
    family->Remove(&family->Add(labels));
  }
  for (const char* outcome : image_outcomes) {
    families_->images.Remove(&families_->images.Add(with(labels, "outcome", outcome)));
  }
  for (const char* outcome : delete_outcomes) {
    families_->deletes.Remove(&families_->deletes.Add(with(labels, "outcome", outcome)));
  }
  for (const char* kind : drift_kinds) {
    families_->drift.Remove(&families_->drift.Add(with(labels, "kind", kind)));
  }
}

void Metrics::add_registry(std::string_view registry) {
  for (const char* outcome : event_outcomes) {
    families_->events.Add({{"registry", std::string(registry)}, {"outcome", outcome}});
  }
}

void Metrics::remove_registry(std::string_view registry) {
  for (const char* outcome : event_outcomes) {
    const Labels labels{{"registry", std::string(registry)}, {"outcome", outcome}};
    families_->events.Remove(&families_->events.Add(labels));
  }
  for (const char* kind : {"client", "ca", "server"})
    set_certificate_end(registry, kind, std::nullopt);
  set_credential_end(registry, "password", std::nullopt);
}

void Metrics::request_done(std::string_view registry, std::string_view method, int code,
                           std::chrono::duration<double> seconds) {
  const Labels labels{{"registry", std::string(registry)}, {"method", std::string(method)}};
  families_->requests.Add(with(labels, "code", std::to_string(code))).Increment();
  families_->request_seconds.Add(labels, request_buckets).Observe(seconds.count());
}

void Metrics::request_retried(std::string_view registry, std::string_view reason) {
  families_->retries.Add({{"registry", std::string(registry)}, {"reason", std::string(reason)}})
      .Increment();
}

void Metrics::blob_done(std::string_view source, std::string_view target, BlobOutcome outcome,
                        std::uint64_t bytes) {
  if (families_->removed_targets.contains(target)) return;
  const Labels labels{{"source", std::string(source)},
                      {"target", std::string(target)},
                      {"outcome", std::string(to_string(outcome))}};
  families_->blobs.Add(labels).Increment();
  families_->blob_bytes.Add(labels).Increment(static_cast<double>(bytes));
}

void Metrics::transfers_changed(std::string_view target, int by) {
  if (families_->removed_targets.contains(target)) return;
  Gauge& in_flight = families_->in_flight.Add({{"target", std::string(target)}});
  // What began before its target was taken out and in again ends here uncounted.
  in_flight.Set(std::max(0.0, in_flight.Value() + by));
}

void Metrics::image_done(const Pair& pair, std::string_view outcome) {
  if (families_->is_removed(pair)) return;
  families_->images.Add(with(labels_of(pair), "outcome", outcome)).Increment();
}

void Metrics::tags_deleted(const Pair& pair, std::string_view outcome, std::uint64_t count) {
  if (families_->is_removed(pair)) return;
  families_->deletes.Add(with(labels_of(pair), "outcome", outcome))
      .Increment(static_cast<double>(count));
}

void Metrics::lag_observed(const Pair& pair, std::chrono::duration<double> lag) {
  if (families_->is_removed(pair)) return;
  families_->lag.Add(labels_of(pair), lag_buckets).Observe(std::max(0.0, lag.count()));
}

void Metrics::events_seen(std::string_view registry, std::string_view outcome,
                          std::uint64_t count) {
  families_->events.Add({{"registry", std::string(registry)}, {"outcome", std::string(outcome)}})
      .Increment(static_cast<double>(count));
}

void Metrics::set_bus(bool connected, std::uint64_t pending_events) {
  families_->bus_connected.Add({}).Set(connected ? 1 : 0);
  families_->bus_pending.Add({}).Set(static_cast<double>(pending_events));
}

void Metrics::set_dead_letters(std::string_view target, std::uint64_t count) {
  families_->dead_letters.Add({{"target", std::string(target)}}).Set(static_cast<double>(count));
}

void Metrics::reconciled(const Pair& pair, Time at, std::chrono::duration<double> took) {
  if (families_->is_removed(pair)) return;
  families_->reconcile_success.Add(labels_of(pair)).Set(seconds_of(at));
  families_->reconcile_seconds.Add(labels_of(pair)).Set(took.count());
}

void Metrics::set_certificate_end(std::string_view registry, std::string_view kind,
                                  std::optional<Time> at) {
  set_end(families_->certificate_ends, registry, kind, at);
}

void Metrics::set_credential_end(std::string_view registry, std::string_view kind,
                                 std::optional<Time> at) {
  set_end(families_->credential_ends, registry, kind, at);
}

void Metrics::loop_delayed(std::chrono::duration<double> by) {
  families_->loop_delay.Add({}, delay_buckets).Observe(std::max(0.0, by.count()));
}

void Metrics::set_drift(const Pair& pair, std::string_view kind, std::uint64_t images) {
  if (families_->is_removed(pair)) return;
  families_->drift.Add(with(labels_of(pair), "kind", kind)).Set(static_cast<double>(images));
}

double Metrics::images_copied(const Pair& pair) const {
  return families_->images.Add(with(labels_of(pair), "outcome", "copied")).Value();
}

double Metrics::bytes_copied(const Pair& pair) const {
  double sum = 0;
  for (const char* outcome : {"copied", "resumed"}) {
    sum += families_->blob_bytes
               .Add({{"source", pair.source}, {"target", pair.target}, {"outcome", outcome}})
               .Value();
  }
  return sum;
}

std::string Metrics::render(const Ledger& ledger, Time now) {
  for (const Ledger::Report& report : ledger.report(now)) {
    const Labels labels = labels_of(report.pair);
    families_->oldest_pending.Add(labels).Set(report.oldest_pending_seconds);
    families_->replicated_until.Add(labels).Set(
        report.replicated_until ? seconds_of(*report.replicated_until) : 0);
    families_->pending_images.Add(labels).Set(static_cast<double>(report.pending_images));
    families_->pending_bytes.Add(labels).Set(static_cast<double>(report.pending_bytes));
    families_->deletes_stopped.Add(labels).Set(report.deletes_stopped ? 1 : 0);
  }
  families_->report_process();
  return prometheus::TextSerializer().Serialize(families_->registry.Collect());
}

}  // namespace transship::monitoring
