#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "config/config.h"
#include "daemon/bus/bus.h"
#include "daemon/generation.h"
#include "monitoring/ledger.h"
#include "monitoring/metrics.h"

namespace transship {

// What the daemon says of itself: whether it is ready, and how far behind each target is. It
// listens to the engine to know which registries answer.
class Status final : public Observer {
 public:
  Status(const Generations& generations, const bus::Bus& bus, const monitoring::Ledger& ledger,
         monitoring::Metrics& metrics);

  // {ready, bus{type,connected}, registries[{name,reachable,error}]}. Ready: the bus is there, and
  // every registry has given any HTTP answer once.
  [[nodiscard]] nlohmann::ordered_json readiness() const;
  // The object of `transship status`, and when that was, `now`.
  [[nodiscard]] nlohmann::ordered_json report() const;

  // Knows the registries of the present configuration, and no others.
  void adopt();
  void set_reachable(const std::string& registry);
  void set_unreachable(const std::string& registry, std::string error);
  [[nodiscard]] bool was_reached(const std::string& registry) const {
    const auto found = registries_.find(registry);
    return found != registries_.end() && found->second.reached;
  }
  // When it last gave an answer to anything; none before the first.
  [[nodiscard]] std::optional<monitoring::Time> last_answer_of(const std::string& registry) const;
  void set_bus_pending(std::uint64_t events) { bus_pending_ = events; }
  [[nodiscard]] std::uint64_t bus_pending() const { return bus_pending_; }
  // Whether the bus took what intake brought it.
  void bus_took(bool taken);
  // It is connected, and did not refuse an event lately: its disk may be full, or its stream.
  [[nodiscard]] bool bus_works() const;
  // Every target's durable consumer is there: from now on no event can be missed.
  void set_consumers_ready() { consumers_ready_ = true; }
  [[nodiscard]] bool takes_events() const { return consumers_ready_ && bus_.connected(); }

  // The engine's side, handed on to the metrics.
  void request_done(std::string_view registry, std::string_view method, int code,
                    std::chrono::duration<double> seconds) override;
  void request_unanswered(std::string_view registry, const Error& error) override;
  void certificate_seen(std::string_view registry, std::chrono::sys_seconds end) override;
  void request_retried(std::string_view registry, std::string_view reason) override;
  void blob_done(std::string_view source, std::string_view target, BlobOutcome outcome,
                 std::uint64_t bytes) override;
  void transfers_changed(std::string_view target, int by) override;

 private:
  struct Reachability {
    bool reached = false;    // once, ever
    bool reachable = false;  // the last time
    std::string error;
    std::optional<monitoring::Time> answered;  // the last time
  };
  [[nodiscard]] nlohmann::ordered_json registries() const;

  const Generations& generations_;
  const bus::Bus& bus_;
  const monitoring::Ledger& ledger_;
  monitoring::Metrics& metrics_;
  std::map<std::string, Reachability, std::less<>> registries_;
  monitoring::Time started_;
  std::uint64_t bus_pending_ = 0;
  bool consumers_ready_ = false;
  std::optional<std::chrono::steady_clock::time_point> bus_refused_at_;
};

// RFC 3339 in UTC, with milliseconds.
std::string rfc3339(monitoring::Time time);

}  // namespace transship
