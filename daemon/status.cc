#include "daemon/status.h"

#include <fmt/chrono.h>

namespace transship {

namespace {

using Json = nlohmann::ordered_json;

// Who asks whether we are ready before he sends events must come to send one again.
constexpr std::chrono::seconds refusal_counts_for{30};

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

Json time_or_null(const std::optional<monitoring::Time>& time) {
  return time ? Json(rfc3339(*time)) : Json();
}

Json error_or_null(const std::optional<monitoring::LastError>& error) {
  if (!error) return nullptr;
  return {{"kind", error->kind}, {"message", error->message}, {"at", rfc3339(error->at)}};
}

}  // namespace

std::string rfc3339(monitoring::Time time) {
  const auto ms = time.time_since_epoch().count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(
                         std::chrono::floor<std::chrono::seconds>(time))),
                     ms);
}

Status::Status(const Generations& generations, const bus::Bus& bus,
               const monitoring::Ledger& ledger, monitoring::Metrics& metrics)
    : generations_(generations), bus_(bus), ledger_(ledger), metrics_(metrics), started_(now()) {}

void Status::adopt() {
  const config::Config& config = generations_.config();
  std::erase_if(registries_,
                [&](const auto& entry) { return config.find_registry(entry.first) == nullptr; });
  for (const config::Registry& registry : config.registries) registries_[registry.name];
}

Json Status::registries() const {
  Json list = Json::array();
  for (const config::Registry& registry : generations_.config().registries) {
    const Reachability& seen = registries_.at(registry.name);
    list.push_back({{"name", registry.name},
                    {"reachable", seen.reachable},
                    {"error", seen.error.empty() ? Json() : Json(seen.error)}});
  }
  return list;
}

Json Status::readiness() const {
  bool ready = takes_events() && bus_works();
  for (const auto& [name, seen] : registries_) ready = ready && seen.reached;
  return {{"ready", ready},
          {"bus", {{"type", bus_.type()}, {"connected", bus_works()}}},
          {"registries", registries()}};
}

Json Status::report() const {
  const config::Config& config = generations_.config();
  Json pairs = Json::array();
  for (const monitoring::Ledger::Report& report : ledger_.report(now())) {
    pairs.push_back({{"rule", report.pair.rule},
                     {"source", report.pair.source},
                     {"target", report.pair.target},
                     {"oldest_pending_seconds", report.oldest_pending_seconds},
                     {"replicated_until", time_or_null(report.replicated_until)},
                     {"pending_images", report.pending_images},
                     {"pending_bytes", report.pending_bytes},
                     {"dead_letters", report.dead_letters},
                     {"last_success", time_or_null(report.last_success)},
                     {"last_error", error_or_null(report.last_error)},
                     {"deletes_stopped", report.deletes_stopped}});
  }
  return {{"region", config.region ? Json(*config.region) : Json()},
          {"version", TRANSSHIP_VERSION},
          {"started", rfc3339(started_)},
          {"now", rfc3339(now())},
          {"bus",
           {{"type", bus_.type()}, {"connected", bus_works()}, {"pending_events", bus_pending_}}},
          {"registries", registries()},
          {"pairs", std::move(pairs)}};
}

void Status::bus_took(bool taken) {
  bus_refused_at_.reset();
  if (!taken) bus_refused_at_ = std::chrono::steady_clock::now();
}

bool Status::bus_works() const {
  return bus_.connected() &&
         (!bus_refused_at_ ||
          std::chrono::steady_clock::now() - *bus_refused_at_ > refusal_counts_for);
}

void Status::set_reachable(const std::string& registry) {
  const auto found = registries_.find(registry);
  if (found != registries_.end()) found->second = {true, true, {}, now()};
}

void Status::set_unreachable(const std::string& registry, std::string error) {
  const auto found = registries_.find(registry);
  if (found == registries_.end()) return;
  found->second.reachable = false;
  found->second.error = std::move(error);
}

std::optional<monitoring::Time> Status::last_answer_of(const std::string& registry) const {
  const auto found = registries_.find(registry);
  return found == registries_.end() ? std::nullopt : found->second.answered;
}

void Status::request_done(std::string_view registry, std::string_view method, int code,
                          std::chrono::duration<double> seconds) {
  const auto seen = registries_.find(registry);
  if (seen != registries_.end() && code != 0) seen->second = {true, true, {}, now()};
  metrics_.request_done(registry, method, code, seconds);
}

void Status::request_unanswered(std::string_view registry, const Error& error) {
  set_unreachable(std::string(registry), error.message);
}

// What a registry that is configured no more still answers is nobody's business.
void Status::certificate_seen(std::string_view registry, std::chrono::sys_seconds end) {
  const config::Registry* known = generations_.config().find_registry(std::string(registry));
  if (known != nullptr && known->url.scheme == config::Scheme::https)
    metrics_.set_certificate_end(registry, "server", end);
}

void Status::request_retried(std::string_view registry, std::string_view reason) {
  metrics_.request_retried(registry, reason);
}

void Status::blob_done(std::string_view source, std::string_view target, BlobOutcome outcome,
                       std::uint64_t bytes) {
  metrics_.blob_done(source, target, outcome, bytes);
}

void Status::transfers_changed(std::string_view target, int by) {
  metrics_.transfers_changed(target, by);
}

}  // namespace transship
