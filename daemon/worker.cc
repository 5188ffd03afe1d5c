#include "daemon/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/post.hpp>

#include "daemon/intake.h"
#include "daemon/log.h"

namespace transship {

namespace {

constexpr std::size_t fetch_at_once = 256;
constexpr std::chrono::seconds pause_after_bus_error{1};
constexpr std::chrono::seconds same_failure_again{60};
constexpr int moves_max = 20;  // of a tag while it is copied, before others get their turn

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}
monitoring::Time in_ms(bus::Clock::time_point time) {
  return std::chrono::floor<std::chrono::milliseconds>(time);
}

std::string seconds_text(std::chrono::milliseconds duration) {
  return fmt::format("{:.3g}", std::chrono::duration<double>(duration).count());
}

}  // namespace

Worker::Worker(WorkerShared shared, std::string target, std::unique_ptr<bus::Inbox> inbox)
    : shared_(std::move(shared)),
      target_name_(std::move(target)),
      target_(shared_.fleet.target(target_name_)),
      inbox_(std::move(inbox)),
      retry_(shared_.config.retry.for_daemon()),
      delay_timer_(shared_.executor),
      changed_(shared_.executor),
      stop_keeping_(shared_.executor) {}
Worker::~Worker() = default;

// --- from the bus to work items
// -----------------------------------------------------------------------------------------

asio::awaitable<void> Worker::run() {
  asio::co_spawn(shared_.executor, keep_in_progress(), asio::detached);
  fetching_ = true;
  while (!stopping_) {
    if (in_hand_.size() >= deliveries_max) {
      co_await changed_.wait();
      continue;
    }
    auto batch = co_await inbox_->fetch(std::min(fetch_at_once, deliveries_max - in_hand_.size()));
    if (!batch) {
      if (batch.error().kind == ErrorKind::cancelled || stopping_) break;
      log::error("the bus gives no events: " + batch.error().message, {{"target", target_name_}});
      co_await changed_.wait_until(Clock::now() + pause_after_bus_error);
      continue;
    }
    for (bus::Delivery& delivery : *batch) accept(std::move(delivery));
    dispatch();
  }
  fetching_ = false;
  changed_.notify();
}

void Worker::accept(bus::Delivery delivery) {
  const config::Registry* registry = shared_.config.find_registry(delivery.message.registry);
  auto held = std::make_shared<Held>(Held{std::move(delivery), 0});
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
  const bool counts = (from == message.headers.end() || from->second != shared_.instance) &&
                      target_name_ == shared_.routes.targets().front();
  for (const events::Message& part : events::parse(*dialect, message.body, message.headers)) {
    for (const events::Event& event : part.events) {
      const bool foreign =
          event.host && *event.host != shared_.fleet.registry(registry->name).host();
      if (counts)
        shared_.metrics.events_seen(registry->name, foreign ? "ignored" : outcome_of(event.action));
      if (event.action == events::Action::push && event.tag && !foreign) accept_push(event, held);
    }
  }
  if (held->open == 0) {
    inbox_->acknowledge(held->delivery);
  } else {
    in_hand_.insert(held);
  }
}

void Worker::accept_push(const events::Event& event, const std::shared_ptr<Held>& held) {
  const bus::Delivery& delivery = held->delivery;
  const monitoring::Time arrived_at = in_ms(delivery.stored_at);
  for (const Route& route :
       shared_.routes.to(target_name_, delivery.message.registry, event.repository, *event.tag)) {
    Item* item = item_for(route, event.repository, *event.tag);
    if (item == nullptr) continue;
    Ticket ticket{held, std::min(event.time.value_or(arrived_at), now()), arrived_at, std::nullopt,
                  delivery.deliveries > 1};
    if (event.digest) {
      if (auto digest = oci::Digest::parse(*event.digest)) ticket.expected = std::move(*digest);
    }
    ++held->open;
    add_ticket(*item, std::move(ticket));
  }
}

Worker::Item* Worker::item_for(const Route& route, const std::string& repository,
                               const std::string& tag) {
  const Key key = route.rule->name + " " + repository + ":" + tag;
  if (const auto found = items_.find(key); found != items_.end()) return found->second.get();
  auto source_repository = oci::Repository::parse(repository);
  auto target_repository = oci::Repository::parse(route.target_repository);
  auto parsed_tag = oci::Tag::parse(tag);
  const monitoring::Pair names{route.rule->name, route.rule->source, target_name_};
  if (!source_repository || !target_repository || !parsed_tag) {
    log::error(fmt::format("{}:{} cannot be renamed to {}: not a repository name", repository, tag,
                           route.target_repository),
               {{"rule", names.rule}, {"target", target_name_}});
    return nullptr;
  }
  std::unique_ptr<Item> item(new Item{key,
                                      shared_.ledger.add_pair(names),
                                      names,
                                      route.rule->priority,
                                      std::move(*source_repository),
                                      std::move(*parsed_tag),
                                      std::move(*target_repository),
                                      {},
                                      0,
                                      0,
                                      false,
                                      false,
                                      0,
                                      {}});
  return items_.emplace(key, std::move(item)).first->second.get();
}

void Worker::add_ticket(Item& item, Ticket ticket) {
  shared_.ledger.pushed(item.pair, item.target_image(), ticket.pushed_at);
  const bool becomes_fresh = ticket.held && !item.fresh;
  item.tickets.push_back(std::move(ticket));
  if (becomes_fresh && ready_.erase(&item) > 0) {  // its place among the ready changes
    item.fresh = true;
    ready_.insert(&item);
    return;
  }
  item.fresh = item.fresh || becomes_fresh;
  if (item.running || ready_.contains(&item)) return;
  // What waits for a registry that does not answer waits on; for everything else a new push is
  // worth a try at once.
  const auto waits = find_delayed(item);
  if (waits != delayed_.end() && item.unanswered > 0) return;
  if (waits != delayed_.end()) delayed_.erase(waits);
  make_ready(item);
}

void Worker::look_at(const Route& route, const std::string& source_repository,
                     const std::string& tag, monitoring::Time since) {
  Item* item = item_for(route, source_repository, tag);
  if (item == nullptr || !item->tickets.empty() || item->running) return;
  // It did not just arrive: no late looks, the source was read a moment ago.
  add_ticket(*item, Ticket{nullptr, since, since - std::chrono::minutes(1), std::nullopt, true});
  dispatch();
}

bool Worker::has(const std::string& rule, const std::string& image) const {
  return items_.contains(rule + " " + image);
}

// --- when
// ---------------------------------------------------------------------------------------------------------------

void Worker::make_ready(Item& item) {
  item.order = next_order_++;
  ready_.insert(&item);
}

void Worker::make_ready_at(Item& item, Clock::time_point when) {
  delayed_.emplace(when, &item);
  arm_timer();
}

std::multimap<Worker::Clock::time_point, Worker::Item*>::iterator Worker::find_delayed(
    const Item& item) {
  return std::find_if(delayed_.begin(), delayed_.end(),
                      [&](const auto& entry) { return entry.second == &item; });
}

void Worker::arm_timer() {
  if (delayed_.empty()) return;
  delay_timer_.expires_at(delayed_.begin()->first);
  delay_timer_.async_wait([this](asio::error_code error) {
    if (error) return;
    while (!delayed_.empty() && delayed_.begin()->first <= Clock::now()) {
      Item* item = delayed_.begin()->second;
      delayed_.erase(delayed_.begin());
      make_ready(*item);
    }
    dispatch();
    arm_timer();
  });
}

void Worker::dispatch() {
  const auto images_at_once = static_cast<std::size_t>(shared_.config.transfers.images);
  for (auto next = ready_.begin();
       !stopping_ && running_ < images_at_once && next != ready_.end();) {
    Item* item = *next;
    if (busy_.contains(item->target_image())) {
      ++next;  // another rule copies to this very tag: it waits for its turn
      continue;
    }
    next = ready_.erase(next);
    item->running = true;
    busy_.insert(item->target_image());
    ++running_;
    asio::co_spawn(shared_.executor, process(*item),
                   asio::bind_cancellation_slot(item->cancel.slot(),
                                                [this, item](const std::exception_ptr& thrown) {
                                                  process_ended(*item, thrown != nullptr);
                                                }));
  }
}

// --- one image
// ----------------------------------------------------------------------------------------------------------

asio::awaitable<void> Worker::process(Item& item) {
  std::vector<Ticket> tickets = std::exchange(item.tickets, {});
  const auto started = Clock::now();
  monitoring::Time looked_at = now();
  // The newest push says best what the source should show.
  const auto newest = std::max_element(
      tickets.begin(), tickets.end(),
      [](const Ticket& a, const Ticket& b) { return a.arrived_at < b.arrived_at; });
  std::optional<oci::Digest> expected = newest->expected;
  Result<ImageResult> result = fail(ErrorKind::cancelled, "stopped");
  struct GiveBack {  // a copy that is broken off leaves its tickets with the item
    Item& item;
    std::vector<Ticket>& tickets;
    ~GiveBack() {
      item.tickets.insert(item.tickets.begin(), std::make_move_iterator(tickets.begin()),
                          std::make_move_iterator(tickets.end()));
    }
  } const give_back{item, tickets};
  for (int moves = 0; moves < moves_max; ++moves) {
    looked_at = now();
    result = co_await copy(item, expected);
    if (!result || result->outcome != ImageOutcome::copied) break;
    // The tag may have moved while it was copied: one more look.
    auto shown = co_await shared_.fleet.registry(item.names.source)
                     .head_manifest(item.source_repository, oci::Reference(item.tag));
    if (!shown || !*shown || (*shown)->digest == result->digest) break;
    shared_.metrics.image_done(item.names, "superseded");
    expected = (*shown)->digest;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - started).count();
  if (result) {
    concluded(item, std::exchange(tickets, {}), looked_at, *result, seconds);
  } else {
    failed(item, std::exchange(tickets, {}), result.error());
  }
}

asio::awaitable<Result<ImageResult>> Worker::copy(Item& item, std::optional<oci::Digest> expected) {
  ImageJob job{shared_.fleet.registry(item.names.source),
               item.source_repository,
               item.tag,
               target_,
               item.target_repository,
               item.tag,
               std::move(expected),
               item.priority,
               [this, &item](const oci::Digest&, std::uint64_t bytes) {
                 shared_.ledger.set_pending_bytes(item.pair, item.target_image(), bytes);
               }};
  co_return co_await copy_image(std::move(job));
}

void Worker::concluded(Item& item, std::vector<Ticket> tickets, monitoring::Time looked_at,
                       const ImageResult& result, double seconds) {
  item.attempts = 0;
  item.unanswered = 0;
  // Registries tell of a push before they serve it: tickets that the source did not bear out yet
  // get another look.
  std::optional<Clock::time_point> next_look;
  for (const Ticket& ticket : tickets) {
    const auto age = looked_at - ticket.arrived_at;
    const bool borne_out = ticket.expected && ticket.expected == result.digest;
    if (borne_out) continue;
    const auto next = ticket.expected ? next_look_with_digest(age) : next_look_without_digest(age);
    if (!next) continue;
    const auto when =
        Clock::now() + std::max(ticket.arrived_at + *next - now(), std::chrono::milliseconds(0));
    next_look = next_look ? std::min(*next_look, when) : when;
  }
  if (!next_look) return confirm(item, std::move(tickets), result, seconds);
  if (result.outcome == ImageOutcome::copied) shared_.metrics.image_done(item.names, "copied");
  // All tickets wait for it together: the image is one, and so is its lag.
  item.tickets.insert(item.tickets.begin(), std::make_move_iterator(tickets.begin()),
                      std::make_move_iterator(tickets.end()));
  make_ready_at(item, *next_look);
}

void Worker::confirm(Item& item, std::vector<Ticket> tickets, const ImageResult& result,
                     double seconds) {
  const monitoring::Time at = now();
  shared_.ledger.succeeded(item.pair, at);
  const bool stale = result.outcome == ImageOutcome::absent;
  shared_.metrics.image_done(item.names, stale ? "superseded" : to_string(result.outcome));
  if (tickets.size() > 1) {
    for (std::size_t i = 1; i < tickets.size(); ++i)
      shared_.metrics.image_done(item.names, "superseded");
  }
  std::chrono::milliseconds lag{0};
  for (const Ticket& ticket : tickets) {
    lag = std::max(lag, at - ticket.pushed_at);
    const bool measured = result.outcome == ImageOutcome::copied || (!stale && ticket.seen_before);
    if (ticket.held && measured) shared_.metrics.lag_observed(item.names, at - ticket.pushed_at);
    shared_.ledger.done(item.pair, item.target_image(), ticket.pushed_at);
    settle(ticket);
  }
  const log::Fields fields{{"rule", item.names.rule},
                           {"source", item.names.source},
                           {"target", item.names.target},
                           {"image", item.target_image()},
                           {"digest", stale ? std::string() : result.digest->str()},
                           {"bytes_sent", std::to_string(result.bytes.sent)},
                           {"blobs_copied", std::to_string(result.blobs.copied)},
                           {"blobs_mounted", std::to_string(result.blobs.mounted)},
                           {"blobs_present", std::to_string(result.blobs.present)},
                           {"seconds", fmt::format("{:.3f}", seconds)},
                           {"lag_seconds", seconds_text(lag)}};
  if (result.outcome == ImageOutcome::copied) {
    log::info("copied " + item.source_image(), fields);
  } else {
    log::debug(
        stale ? "gone from the source: " + item.source_image() : "in step: " + item.source_image(),
        fields);
  }
}

void Worker::failed(Item& item, std::vector<Ticket> tickets, const Error& error) {
  if (error.kind == ErrorKind::cancelled && stopping_) {
    item.tickets = std::move(tickets);
    return;
  }
  if (error.unanswered) {
    ++item.unanswered;
  } else {
    ++item.attempts;
  }
  for (Ticket& ticket : tickets) ticket.seen_before = true;
  item.tickets.insert(item.tickets.begin(), std::make_move_iterator(tickets.begin()),
                      std::make_move_iterator(tickets.end()));
  const auto pause =
      retry_pause(retry_, item.attempts + item.unanswered, error.retry_after, random_);
  shared_.ledger.failed(item.pair, {std::string(to_string(error.kind)), error.message, now()});
  shared_.metrics.image_done(item.names, "failed");
  shared_.metrics.request_retried(item.names.target, to_string(error.kind));
  report_failure(item, error, pause);
  make_ready_at(item, Clock::now() + pause);
}

// A dead registry fails every image in the same words: those are logged once a minute.
void Worker::report_failure(const Item& item, const Error& error, std::chrono::milliseconds pause) {
  if (error.unanswered) {
    const std::string what = error.message.substr(error.message.find(": ") + 1);
    auto& last = reported_[what];
    if (last != Clock::time_point{} && Clock::now() - last < same_failure_again) return;
    if (reported_.size() > 100) reported_.clear();
    reported_[what] = Clock::now();
  }
  log::warning(error.message, {{"rule", item.names.rule},
                               {"target", item.names.target},
                               {"image", item.target_image()},
                               {"error_kind", std::string(to_string(error.kind))},
                               {"attempt", std::to_string(item.attempts)},
                               {"next_try_in_seconds", seconds_text(pause)}});
}

void Worker::settle(const Ticket& ticket) {
  if (!ticket.held || --ticket.held->open > 0) return;
  inbox_->acknowledge(ticket.held->delivery);
  in_hand_.erase(ticket.held);
}

void Worker::process_ended(Item& item, bool broken_off) {
  --running_;
  busy_.erase(item.target_image());
  item.running = false;
  if (broken_off && !stopping_) {
    log::error("internal error while copying " + item.source_image(), {{"target", target_name_}});
    make_ready_at(item, Clock::now() + retry_.first_pause);
  }
  finish(item);
  changed_.notify();
  dispatch();
}

// Called when an item's coroutine has ended: it goes, or goes on with what came meanwhile.
void Worker::finish(Item& item) {
  if (find_delayed(item) != delayed_.end()) return;
  if (item.tickets.empty()) {
    // Not at once: the coroutine whose end this is may still refer to the item's cancellation
    // signal.
    asio::post(shared_.executor, [this, key = item.key] {
      const auto found = items_.find(key);
      if (found != items_.end() && found->second->tickets.empty() && !found->second->running)
        items_.erase(found);
    });
    return;
  }
  if (!stopping_) make_ready(item);
}

// --- the end
// ------------------------------------------------------------------------------------------------------------

asio::awaitable<void> Worker::keep_in_progress() {
  keeping_ = true;
  while (!stopped_) {
    for (const auto& held : in_hand_) inbox_->in_progress(held->delivery);
    co_await stop_keeping_.wait_until(Clock::now() + inbox_->lease() / 3);
  }
  keeping_ = false;
  changed_.notify();
}

asio::awaitable<void> Worker::stop(Clock::time_point deadline) {
  stopping_ = true;
  inbox_->close();
  changed_.notify();
  while ((running_ > 0 || fetching_) && Clock::now() < deadline)
    co_await changed_.wait_until(deadline);
  for (const auto& [key, item] : items_) {
    if (item->running) item->cancel.emit(asio::cancellation_type::terminal);
  }
  const auto patience = Clock::now() + std::chrono::seconds(5);
  while ((running_ > 0 || fetching_) && Clock::now() < patience)
    co_await changed_.wait_until(patience);
  hand_back_everything();
  delay_timer_.cancel();
  stopped_ = true;
  stop_keeping_.notify();
  while (keeping_) co_await changed_.wait();
}

void Worker::hand_back_everything() {
  for (const auto& held : in_hand_) inbox_->hand_back(held->delivery, std::chrono::milliseconds(0));
  in_hand_.clear();
}

}  // namespace transship
