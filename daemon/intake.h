#pragma once

#include <functional>
#include <string>

#include "config/config.h"
#include "daemon/bus/bus.h"
#include "daemon/events/event.h"
#include "daemon/http_server.h"
#include "daemon/prefetch.h"
#include "daemon/status.h"
#include "monitoring/metrics.h"

namespace transship {

// The header that intake adds to what it puts on the bus, so that an event is counted once by the
// daemon that took it.
inline constexpr std::string_view intake_header = "transship-intake";

// The outcome label of transship_events_total for an event that the registry on this host[:port]
// sent. One that tells of another host's images moves none.
std::string_view outcome_of(const events::Event& event, std::string_view host);

// Takes registries' webhooks: 202 once every event of a body is durable on the bus. A body that is
// malformed or of no interest is counted, logged and answered 202 too, since a sender may repeat
// what was refused for ever; only what is wrong with us is 503.
class Intake {
 public:
  // Takes what tells of a blob to where it is wanted. True: it has to go over the bus.
  using TakeHint = std::function<bool(const BlobHint& hint)>;

  Intake(bus::Bus& bus, Status& status, monitoring::Metrics& metrics, std::string instance,
         TakeHint take_hint)
      : bus_(bus),
        status_(status),
        metrics_(metrics),
        instance_(std::move(instance)),
        take_hint_(std::move(take_hint)) {}

  // `host`: the registry's own host[:port].
  asio::awaitable<HttpResponse> take(const config::Registry& registry, std::string host,
                                     HttpRequest request);

  // How many bodies were answered with 503. Their senders may send them again, or not.
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  struct Sorted {
    std::vector<bus::Message> messages;
    std::vector<std::size_t> events;  // how many that count as accepted each message holds
    bool too_many = false;
  };
  Sorted sort(const config::Registry& registry, std::string_view host, const HttpRequest& request);

  bus::Bus& bus_;
  Status& status_;
  monitoring::Metrics& metrics_;
  std::string instance_;
  TakeHint take_hint_;
  std::uint64_t refused_ = 0;
};

}  // namespace transship
