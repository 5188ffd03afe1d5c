#include <fmt/format.h>

#include <algorithm>

#include "daemon/intake.h"
#include "daemon/log.h"
#include "daemon/worker.h"

// What becomes work of a worker: what deliveries tell of, what reconciliation found, what an
// operator sends again.
namespace transship {

namespace {

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}
monitoring::Time in_ms(bus::Clock::time_point time) {
  return std::chrono::floor<std::chrono::milliseconds>(time);
}

// What a push event names: a tag, else the manifest that was pushed by digest alone. Docker's own
// manifests can refer to nothing, so that those that go without a tag are no one's business.
std::optional<oci::ImageName> pushed_image(const events::Event& event) {
  const bool is_docker =
      event.media_type && event.media_type->find(".docker.") != std::string::npos;
  if (!event.tag && (!event.digest || is_docker)) return std::nullopt;
  auto name = oci::ImageName::parse(event.repository +
                                    (event.tag ? ":" + *event.tag : "@" + *event.digest));
  return name ? std::optional(std::move(*name)) : std::nullopt;
}

}  // namespace

void Worker::accept(bus::Delivery delivery) {
  const config::Registry* registry =
      shared_.generations.config().find_registry(delivery.message.registry);
  auto held = std::make_shared<HeldDelivery>(HeldDelivery{std::move(delivery), 0});
  if (registry == nullptr || stopping_) {
    if (stopping_) {
      inbox_->hand_back(held->delivery, std::chrono::milliseconds(0));
    } else {
      inbox_->acknowledge(held->delivery);  // of a registry that the configuration does not know
    }
    return;
  }
  const auto dialect = events::dialect_named(to_string(registry->events.format));
  const bus::Message& message = held->delivery.message;
  // Each event is counted once a daemon: by intake, or here by the first of its targets.
  const auto from = message.headers.find(std::string(intake_header));
  const bool is_own = from != message.headers.end() && from->second == shared_.instance;
  const bool counts = !is_own && target_name_ == shared_.generations.routes().targets().front();
  const std::string host = shared_.generations.now()->fleet.registry(registry->name).host();
  for (const events::Message& part : events::parse(*dialect, message.body, message.headers)) {
    for (const events::Event& event : part.events) {
      const auto outcome = outcome_of(event, host);
      if (counts) shared_.metrics.events_seen(registry->name, outcome);
      const bool wanted = outcome == "accepted";
      if (event.action == events::Action::push && wanted) accept_push(event, held);
      if (event.action == events::Action::remove && wanted) accept_remove(event, held);
      // Old ones tell of images that have come by now.
      if (event.action == events::Action::blob_push &&
          bus::Clock::now() - held->delivery.stored_at < Prefetch::hint_life) {
        if (auto hint = BlobHint::of(registry->name, event)) prefetch_.offer(std::move(*hint));
      }
    }
  }
  if (held->open == 0) {
    inbox_->acknowledge(held->delivery);
  } else {
    held->delivery.message = {};  // said all
    keep(held);
  }
}

void Worker::accept_push(const events::Event& event, const std::shared_ptr<HeldDelivery>& held) {
  const bus::Delivery& delivery = held->delivery;
  const monitoring::Time arrived_at = in_ms(delivery.stored_at);
  const auto image = pushed_image(event);
  if (!image) return;
  const monitoring::Time pushed_at = std::min(event.time.value_or(arrived_at), now());
  shared_.two_way.note(shared_.generations.config(), delivery.message.registry, event, pushed_at);
  for (const Route& route : shared_.generations.routes().to(
           target_name_, delivery.message.registry, event.repository, image->reference.str())) {
    WorkItem* item = item_for(route, *image);
    if (item == nullptr) continue;
    Ticket ticket{held, pushed_at, arrived_at};
    ticket.ours = events::is_ours(event);
    ticket.seen_before = delivery.deliveries > 1;
    if (event.digest) {
      if (auto digest = oci::Digest::parse(*event.digest)) ticket.expected = std::move(*digest);
    }
    ++held->open;
    if (item->tickets.empty() && item->state != WorkItem::State::running) held->joined = false;
    add_ticket(*item, std::move(ticket));
  }
}

WorkItem* Worker::item_for(const Route& route, const oci::ImageName& image) {
  const std::string key = WorkItem::key_of(route.rule->name, image.str());
  if (WorkItem* found = queue_.find(key)) return found;
  // A pass of reconciliation may have a route that holds no more.
  const config::Rule* rule = shared_.generations.config().find_rule(route.rule->name);
  if (rule == nullptr || rule->source != route.rule->source ||
      rule->target_repository(image.repository.str()) != route.target_repository ||
      !shared_.generations.routes().serves(rule->name, target_name_))
    return nullptr;
  auto target_repository = oci::Repository::parse(route.target_repository);
  const monitoring::Pair names{route.rule->name, route.rule->source, target_name_};
  if (!target_repository) {
    log::error(fmt::format("{} cannot be renamed to {}: not a repository name", image.str(),
                           route.target_repository),
               {{"rule", names.rule}, {"target", target_name_}});
    return nullptr;
  }
  WorkItem& item = queue_.add(std::unique_ptr<WorkItem>(
      new WorkItem{key, shared_.ledger.add_pair(names), names, route.rule->priority,
                   image.repository, image.reference, std::move(*target_repository)}));
  item.referrers = route.rule->referrers;
  take_up_tries(item);
  return &item;
}

void Worker::add_ticket(WorkItem& item, Ticket ticket) {
  if (!ticket.removal)
    shared_.ledger.pushed(item.pair, item.target_image(), ticket.pushed_at, ticket.pushed_before);
  if (ticket.held) queue_.set_fresh(item);
  const bool pause_goes_on = ticket.seen_before && item.not_before > Clock::now();
  item.tickets.push_back(std::move(ticket));
  const bool delayed = item.state == WorkItem::State::delayed;
  if (item.state != WorkItem::State::idle && !delayed) return;
  if (pause_goes_on) {
    if (!delayed) make_ready_at(item, item.not_before);
    return;
  }
  // What waits for a registry that does not answer waits on; for everything else a new push is
  // worth a try at once.
  if (!delayed || (item.unanswered == 0 && !item.gathers)) line_up(item);
}

void Worker::look_at(const Route& route, const std::string& source_repository,
                     const std::string& tag, std::optional<monitoring::Time> since,
                     bool incomplete) {
  const auto image = oci::ImageName::parse(source_repository + ":" + tag);
  WorkItem* item = image ? item_for(route, *image) : nullptr;
  if (item == nullptr || stopping_) return;
  const bool is_known = !item->tickets.empty() || item->state == WorkItem::State::running;
  if (incomplete) item->incomplete = true;
  // One that waits will be copied whole; one that runs may be past what is missing.
  if (is_known && !(incomplete && item->tickets.empty())) return;
  // It did not just arrive: no late looks, the source was read a moment ago.
  add_ticket(*item, Ticket::of_no_event(since.value_or(now()), !since));
  dispatch();
}

void Worker::retry(const Route& route, const bus::DeadLetter& letter) {
  const auto image = oci::ImageName::parse(letter.image);
  WorkItem* item = image ? item_for(route, *image) : nullptr;
  if (item == nullptr || item->state == WorkItem::State::running) return;
  item->attempts = 0;
  item->not_before = {};
  attempts_.forget(item->key);
  queue_.set_fresh(*item);
  const monitoring::Time pushed_at = letter.pushes.empty() ? now() : letter.pushes.front();
  add_ticket(*item, Ticket::of_no_event(pushed_at, letter.pushed_before));
  dispatch();
}

void Worker::registry_changed(const std::string& registry, bool out) {
  if (out) return queue_.hold(registry);
  queue_.release(registry);
  dispatch();
}

const WorkItem* Worker::item_of(const std::string& rule, const std::string& image) const {
  return queue_.find(WorkItem::key_of(rule, image));
}

bool Worker::has(const std::string& rule, const std::string& image) const {
  return queue_.find(WorkItem::key_of(rule, image)) != nullptr;
}

}  // namespace transship
