#include "daemon/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/post.hpp>

#include "daemon/intake.h"
#include "daemon/log.h"
#include "replicator/image_referrers.h"

namespace transship {

namespace {

constexpr std::chrono::seconds pause_after_bus_error{1};
constexpr int moves_max = 20;  // of a tag while it is copied, before others get their turn
constexpr std::chrono::milliseconds gathers_for{500};

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

Worker::Worker(WorkerShared shared, std::string target, std::unique_ptr<bus::Inbox> inbox)
    : shared_(std::move(shared)),
      target_name_(std::move(target)),
      inbox_(std::move(inbox)),
      retry_(shared_.generations.config().retry.for_daemon()),
      prefetch_(
          shared_.executor, shared_.generations, target_name_,
          {[this] { return !queue_.fresh_waits(); },
           [this](const std::string& registry) { return !shared_.outages.is_out(registry); }}),
      delay_timer_(shared_.executor),
      changed_(shared_.executor),
      stop_keeping_(shared_.executor) {}
Worker::~Worker() = default;

// --- from the bus to work items
// -----------------------------------------------------------------------------------------

asio::awaitable<void> Worker::run() {
  asio::co_spawn(shared_.executor, keep_in_progress(), asio::detached);
  asio::co_spawn(shared_.executor, prefetch_.run(), asio::detached);
  fetching_ = true;
  while (!stopping_) {
    const std::size_t wanted = room();
    if (wanted == 0) {
      // The outage that fills the window may have been noticed only after it was full.
      make_room();
      if (room() == 0) co_await changed_.wait();
      continue;
    }
    auto batch = co_await inbox_->fetch(wanted);
    if (!batch) {
      if (batch.error().kind == ErrorKind::cancelled || stopping_) break;
      log::error("the bus gives no events: " + batch.error().message, {{"target", target_name_}});
      co_await changed_.wait_until(Clock::now() + pause_after_bus_error);
      continue;
    }
    for (bus::Delivery& delivery : *batch) accept(std::move(delivery));
    set_more_to_come(batch->size() == wanted && room() > 0);
    dispatch();
    make_room();
  }
  fetching_ = false;
  changed_.notify();
}

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
  for (const events::Message& part : events::parse(*dialect, message.body, message.headers)) {
    for (const events::Event& event : part.events) {
      const bool foreign =
          event.host &&
          *event.host != shared_.generations.now()->fleet.registry(registry->name).host();
      if (counts)
        shared_.metrics.events_seen(registry->name, foreign ? "ignored" : outcome_of(event.action));
      if (event.action == events::Action::push && !foreign) accept_push(event, held);
      if (event.action == events::Action::remove && !foreign) accept_remove(event, held);
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
  return &item;
}

void Worker::add_ticket(WorkItem& item, Ticket ticket) {
  if (!ticket.removal) shared_.ledger.pushed(item.pair, item.target_image(), ticket.pushed_at);
  if (ticket.held) queue_.set_fresh(item);
  item.tickets.push_back(std::move(ticket));
  // What waits for a registry that does not answer waits on; for everything else a new push is
  // worth a try at once.
  const bool waits_for_registry = item.state == WorkItem::State::delayed && item.unanswered > 0;
  if (item.state == WorkItem::State::idle ||
      (item.state == WorkItem::State::delayed && !waits_for_registry && !item.gathers))
    line_up(item);
}

void Worker::look_at(const Route& route, const std::string& source_repository,
                     const std::string& tag, monitoring::Time since, bool incomplete) {
  const auto image = oci::ImageName::parse(source_repository + ":" + tag);
  WorkItem* item = image ? item_for(route, *image) : nullptr;
  if (item == nullptr || stopping_) return;
  const bool is_known = !item->tickets.empty() || item->state == WorkItem::State::running;
  if (incomplete) item->incomplete = true;
  // One that waits will be copied whole; one that runs may be past what is missing.
  if (is_known && !(incomplete && item->tickets.empty())) return;
  // It did not just arrive: no late looks, the source was read a moment ago.
  add_ticket(*item, Ticket::of_no_event(since));
  dispatch();
}

void Worker::retry(const Route& route, const bus::DeadLetter& letter) {
  const auto image = oci::ImageName::parse(letter.image);
  WorkItem* item = image ? item_for(route, *image) : nullptr;
  if (item == nullptr || item->state == WorkItem::State::running) return;
  item->attempts = 0;
  queue_.set_fresh(*item);
  const monitoring::Time pushed_at = letter.pushes.empty() ? now() : letter.pushes.front();
  add_ticket(*item, Ticket::of_no_event(pushed_at));
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

// --- when
// ---------------------------------------------------------------------------------------------------------------

// What was just looked at for many pushes, of which the bus has more, waits for them: a thousand
// pushes of one tag are one look.
void Worker::line_up(WorkItem& item) {
  item.gathers = more_to_come_ && gathering_.contains(item.key);
  if (!item.gathers) return queue_.make_ready(item);
  make_ready_at(item, Clock::now() + gathers_for);
}

void Worker::make_ready_at(WorkItem& item, Clock::time_point when) {
  queue_.make_ready_at(item, when);
  arm_timer();
}

void Worker::arm_timer() {
  const auto due = queue_.next_due();
  if (!due) return;
  delay_timer_.expires_at(*due);
  delay_timer_.async_wait([this](asio::error_code error) {
    if (error) return;
    queue_.pass_time(Clock::now());
    dispatch();
    arm_timer();
  });
}

void Worker::dispatch() {
  const auto images_at_once =
      static_cast<std::size_t>(shared_.generations.config().transfers.images);
  while (!stopping_ && running_ < images_at_once) {
    WorkItem* item = queue_.start_next();
    if (item == nullptr) break;
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

asio::awaitable<void> Worker::process(WorkItem& item) {
  // All that this try uses stays for as long as it lasts.
  const std::shared_ptr<Generation> generation = item.generation = shared_.generations.now();
  std::vector<Ticket> tickets = std::exchange(item.tickets, {});
  item.gathers = false;
  if (more_to_come_ && tickets.size() > 1 && gathering_.size() < apart_max)
    gathering_.insert(item.key);
  const auto started = Clock::now();
  monitoring::Time looked_at = now();
  struct GiveBack {  // what is not settled stays with the item, also where a copy is broken off
    WorkItem& item;
    std::vector<Ticket>& tickets;
    ~GiveBack() {
      item.tickets.insert(item.tickets.begin(), std::make_move_iterator(tickets.begin()),
                          std::make_move_iterator(tickets.end()));
    }
  } const give_back{item, tickets};
  // The newest push says best what the source should show.
  const auto newest = std::max_element(
      tickets.begin(), tickets.end(),
      [](const Ticket& a, const Ticket& b) { return a.arrived_at < b.arrived_at; });
  auto result = co_await bring_in_step(item, newest->expected, tickets, looked_at);
  if (result && !next_look(tickets, looked_at, *result))
    result = co_await uncover(item, tickets, std::move(*result));
  const double seconds = std::chrono::duration<double>(Clock::now() - started).count();
  if (result) {
    co_await redeem_dead_letter(item, *result);
    concluded(item, std::exchange(tickets, {}), looked_at, *result, seconds);
    co_return;
  }
  if (result.error().kind == ErrorKind::cancelled && stopping_) co_return;
  for (Ticket& ticket : tickets) ticket.seen_before = true;
  note_failure(item, result.error());
  if (!is_given_up(item)) co_return retry_later(item, result.error());
  auto given_up = co_await give_up(item, tickets);
  if (!given_up) co_return retry_later(item, given_up.error());
  for (const Ticket& ticket : std::exchange(tickets, {})) settle(ticket);
}

asio::awaitable<Result<ImageResult>> Worker::copy_until_it_stays(
    WorkItem& item, std::optional<oci::Digest> expected, monitoring::Time& looked_at) {
  Result<ImageResult> result = fail(ErrorKind::cancelled, "stopped");
  for (int moves = 0; moves < moves_max; ++moves) {
    looked_at = now();
    result = co_await copy(item, expected);
    if (result && item.owes_referrers) {
      if (auto late = co_await bring_late_referrers(item, *result); !late)
        result = fail(late.error());
    }
    if (!result || result->outcome != ImageOutcome::copied) break;
    // The tag may have moved while it was copied: one more look.
    auto shown = co_await item.generation->fleet.registry(item.names.source)
                     .head_manifest(item.source_repository, item.reference);
    if (!shown || !*shown || (*shown)->digest == result->digest) break;
    shared_.metrics.image_done(item.names, "superseded");
    expected = (*shown)->digest;
  }
  co_return result;
}

asio::awaitable<Result<ImageResult>> Worker::copy(WorkItem& item,
                                                  std::optional<oci::Digest> expected) {
  ImageJob job = job_for(item, std::move(expected));
  if (item.is_referrer()) co_return co_await copy_referrer(std::move(job));
  const bool incomplete = std::exchange(item.incomplete, false);
  if (incomplete) {
    job.target_seen = ImageJob::Seen{};
  } else {
    let_newer_win(job, item);
  }
  auto result = co_await copy_image(std::move(job));
  if (!result && incomplete) item.incomplete = true;
  if (result && result->outcome == ImageOutcome::copied) item.owes_referrers = item.referrers;
  co_return result;
}

ImageJob Worker::job_for(WorkItem& item, std::optional<oci::Digest> expected) {
  const auto* tag = item.reference.tag();
  ImageJob job{item.generation->fleet.registry(item.names.source),
               item.source_repository,
               item.reference,
               item.generation->fleet.target(target_name_),
               item.target_repository,
               tag == nullptr ? std::nullopt : std::optional(*tag),
               std::move(expected),
               item.priority,
               [this, &item](const oci::Digest&, std::uint64_t bytes) {
                 shared_.ledger.set_pending_bytes(item.pair, item.target_image(), bytes);
               }};
  job.referrers = item.referrers;
  return job;
}

// The event of a signature that was pushed while its image was on the way came to nothing, since
// the target did not hold the image yet. Now it does.
asio::awaitable<Result<void>> Worker::bring_late_referrers(WorkItem& item, ImageResult& result) {
  auto late = co_await copy_referrers(job_for(item, std::nullopt));
  if (!late) co_return fail(late.error());
  item.owes_referrers = false;
  if (late->outcome != ImageOutcome::copied) co_return Result<void>{};
  result.referrers += late->referrers;
  result.blobs.copied += late->blobs.copied;
  result.blobs.mounted += late->blobs.mounted;
  result.blobs.present += late->blobs.present;
  result.bytes.sent += late->bytes.sent;
  result.bytes.mounted += late->bytes.mounted;
  result.bytes.present += late->bytes.present;
  co_return Result<void>{};
}

void Worker::process_ended(WorkItem& item, bool broken_off) {
  --running_;
  queue_.ended(item);
  const bool is_outdated = std::exchange(item.generation, {}) != shared_.generations.now();
  if (is_outdated && !stopping_) asio::post(shared_.executor, [this] { adopt(); });
  if (broken_off && !stopping_) {
    log::error("internal error while copying " + item.source_image(), {{"target", target_name_}});
    make_ready_at(item, Clock::now() + retry_.first_pause);
  }
  finish(item);
  changed_.notify();
  dispatch();
}

// Called when an item's coroutine has ended: it goes, or goes on with what came meanwhile.
void Worker::finish(WorkItem& item) {
  if (item.state != WorkItem::State::idle) return;
  if (item.tickets.empty()) {
    // Not at once: the coroutine whose end this is may still refer to the item's cancellation
    // signal.
    asio::post(shared_.executor, [this, key = item.key] {
      WorkItem* found = queue_.find(key);
      if (found != nullptr && found->tickets.empty() && found->state == WorkItem::State::idle)
        queue_.remove(*found);
    });
    return;
  }
  if (!stopping_) line_up(item);
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
  co_await prefetch_.stop();
  while ((running_ > 0 || fetching_ || lookups_ > 0) && Clock::now() < deadline)
    co_await changed_.wait_until(deadline);
  for (const auto& [key, item] : queue_.items()) {
    if (item->state == WorkItem::State::running)
      item->cancel.emit(asio::cancellation_type::terminal);
  }
  const auto patience = Clock::now() + std::chrono::seconds(5);
  while ((running_ > 0 || fetching_ || lookups_ > 0) && Clock::now() < patience)
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
  joined_ = 0;
}

}  // namespace transship
