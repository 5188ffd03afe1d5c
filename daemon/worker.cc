#include "daemon/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/post.hpp>

#include "daemon/log.h"
#include "replicator/image_referrers.h"

namespace transship {

namespace {

constexpr std::chrono::seconds pause_after_bus_error{1};
constexpr int moves_max = 20;  // of a tag while it is copied, before others get their turn
constexpr std::chrono::milliseconds gathers_for{500};
constexpr std::chrono::seconds look_for_room_again{1};

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

}  // namespace

Worker::Worker(WorkerShared shared, std::string target, std::unique_ptr<bus::Inbox> inbox)
    : shared_(std::move(shared)),
      target_name_(std::move(target)),
      inbox_(std::move(inbox)),
      retry_(shared_.generations.config().retry.for_daemon()),
      attempts_(shared_.executor, shared_.generations.now()->fleet.state(), target_name_, now()),
      prefetch_(
          shared_.executor, shared_.generations, target_name_,
          {[this] { return !queue_.fresh_waits(); },
           [this](const std::string& registry) { return !shared_.outages.is_out(registry); }}),
      delay_timer_(shared_.executor),
      changed_(shared_.executor),
      stop_keeping_(shared_.executor) {
  forget_unwanted_tries();
}
Worker::~Worker() = default;

// --- from the bus
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
      if (room() == 0) co_await changed_.wait_until(Clock::now() + look_for_room_again);
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
  Error error = std::move(result.error());
  // The image is not to blame where nothing is served at all.
  if (!error.unanswered && may_be_outage(error))
    error.unanswered = co_await shared_.outages.confirm(item.names.source) ||
                       co_await shared_.outages.confirm(item.names.target);
  note_failure(item, error);
  if (!is_given_up(item, error)) co_return retry_later(item, error);
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
  if (result && result->outcome == ImageOutcome::copied) {
    item.owes_referrers = item.referrers;
    remember(item, *result);
  }
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
  attempts_.flush();
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
