#include <algorithm>

#include "daemon/log.h"
#include "daemon/worker.h"

// What a worker does when the configuration was taken over anew: its work goes by the new rules.
namespace transship {

std::optional<Route> Worker::route_of(const WorkItem& item) const {
  for (Route& route : shared_.generations.routes().to(
           target_name_, item.names.source, item.source_repository.str(), item.reference.str())) {
    if (route.rule->name == item.names.rule) return std::move(route);
  }
  return std::nullopt;
}

// What runs goes on by what it began with, and comes here once it has ended.
void Worker::adopt() {
  if (stopping_) return;
  retry_ = shared_.generations.config().retry.for_daemon();
  forget_unwanted_tries();
  std::vector<WorkItem*> waiting;
  for (const auto& [key, item] : queue_.items()) {
    if (item->state != WorkItem::State::running && !item->tickets.empty())
      waiting.push_back(item.get());
  }
  for (WorkItem* item : waiting) {
    const auto route = route_of(*item);
    if (!route || route->target_repository != item->target_repository.str()) {
      reroute(*item, route);
      continue;
    }
    item->referrers = route->rule->referrers;
    queue_.set_priority(*item, route->rule->priority);
  }
  dispatch();
  changed_.notify();
}

// Its tickets go to the image's new name, or have nothing to wait for any more.
void Worker::reroute(WorkItem& item, const std::optional<Route>& route) {
  const oci::ImageName image{item.source_repository, item.reference};
  std::vector<Ticket> tickets = std::exchange(item.tickets, {});
  for (const Ticket& ticket : tickets) {
    if (!ticket.removal) shared_.ledger.done(item.pair, item.target_image(), ticket.pushed_at);
  }
  queue_.remove(item);
  WorkItem* next = route ? item_for(*route, image) : nullptr;
  for (Ticket& ticket : tickets) {
    if (next != nullptr) {
      add_ticket(*next, std::move(ticket));
    } else {
      settle(ticket);
    }
  }
}

}  // namespace transship
