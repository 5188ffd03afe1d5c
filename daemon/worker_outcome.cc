#include <fmt/format.h>

#include <algorithm>

#include "daemon/log.h"
#include "daemon/worker.h"

// What became of one try of an image: confirmed, looked at again, tried again later, or given up.
namespace transship {

namespace {

constexpr std::chrono::seconds same_failure_again{60};

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

std::string seconds_text(std::chrono::milliseconds duration) {
  return fmt::format("{:.3g}", std::chrono::duration<double>(duration).count());
}

using Log = void (*)(std::string_view message, log::Fields fields);

void tell(Log log, const std::string& what, const WorkItem& item, const ImageResult& result,
          double seconds, std::chrono::milliseconds lag) {
  log(what + item.source_image(), {{"rule", item.names.rule},
                                   {"source", item.names.source},
                                   {"target", item.names.target},
                                   {"image", item.target_image()},
                                   {"digest", result.digest ? result.digest->str() : std::string()},
                                   {"bytes_sent", std::to_string(result.bytes.sent)},
                                   {"blobs_copied", std::to_string(result.blobs.copied)},
                                   {"blobs_mounted", std::to_string(result.blobs.mounted)},
                                   {"blobs_present", std::to_string(result.blobs.present)},
                                   {"referrers", std::to_string(result.referrers)},
                                   {"seconds", fmt::format("{:.3f}", seconds)},
                                   {"lag_seconds", seconds_text(lag)}});
}

}  // namespace

// The image is at the target, or gone from the source: its dead letter has done its work.
asio::awaitable<void> Worker::redeem_dead_letter(const WorkItem& item, const ImageResult& result) {
  const bus::DeadLetter* letter =
      shared_.dead_letters.find(item.names.rule, target_name_, item.source_image());
  if (letter == nullptr) co_return;
  if (result.outcome != ImageOutcome::absent && result.outcome != ImageOutcome::kept) {
    for (const bus::LetterTime push : letter->pushes)
      shared_.metrics.lag_observed(item.names, now() - push);
  }
  auto removed = co_await shared_.dead_letters.remove(letter->id);
  if (!removed) {
    log::warning(
        "a dead letter that is settled could not be removed yet: " + removed.error().message,
        {{"target", target_name_}, {"image", item.source_image()}});
  }
}

void Worker::note_failure(WorkItem& item, const Error& error) {
  if (error.unanswered) {
    ++item.unanswered;
  } else {
    ++item.attempts;
  }
  if (!item.first_failed) item.first_failed = now();
  item.last_error = {std::string(to_string(error.kind)), error.message, now()};
  keep_tries(item);
  shared_.ledger.failed(item.pair, *item.last_error);
  shared_.metrics.image_done(item.names, "failed");
  shared_.metrics.request_retried(item.names.target, to_string(error.kind));
}

// What is a dead letter already and was only found again by reconciliation has one try.
bool Worker::is_given_up(const WorkItem& item, const Error& error) const {
  if (item.attempts == 0 || error.unanswered) return false;
  const bool known =
      shared_.dead_letters.find(item.names.rule, target_name_, item.source_image()) != nullptr;
  if (known && !item.fresh) return true;
  if (item.attempts < static_cast<unsigned>(retry_.attempts)) return false;
  return known || !shared_.dead_letters.full(target_name_);
}

// Once this returns without an error, the dead letter is durable and stands for the tickets.
asio::awaitable<Result<void>> Worker::give_up(WorkItem& item, const std::vector<Ticket>& tickets) {
  bus::DeadLetter letter;
  letter.id = bus::dead_letter_id(item.names.rule, target_name_, item.source_image());
  const bus::DeadLetter* known = shared_.dead_letters.find(letter.id);
  const bool counts = known == nullptr || item.fresh;
  if (known != nullptr) letter = *known;
  letter.target = target_name_;
  letter.rule = item.names.rule;
  letter.image = item.source_image();
  letter.attempts += item.attempts;
  if (known == nullptr) letter.first_failed = *item.first_failed;
  letter.last_failed = item.last_error->at;
  letter.error_kind = item.last_error->kind;
  letter.error_message = item.last_error->message;
  for (const Ticket& ticket : tickets) {
    // When reconciliation finds it again, that is no other push.
    if (ticket.removal || (!ticket.held && !letter.pushes.empty())) continue;
    letter.pushes.push_back(ticket.pushed_at);
    letter.pushed_before = letter.pushed_before || ticket.pushed_before;
  }
  letter.pushes = bus::pushes_kept(std::move(letter.pushes));
  auto kept = co_await shared_.dead_letters.put(letter);
  if (!kept) co_return fail(kept.error().with_context("keep a dead letter"));
  for (const Ticket& ticket : tickets) {
    if (!ticket.removal &&
        !std::binary_search(letter.pushes.begin(), letter.pushes.end(), ticket.pushed_at))
      shared_.ledger.done(item.pair, item.target_image(), ticket.pushed_at);
  }
  item.attempts = 0;
  item.first_failed.reset();
  item.fresh = false;
  attempts_.forget(item.key);
  if (counts) shared_.metrics.image_done(item.names, "dead_lettered");
  log::error("given up, see `transship dead list`: " + letter.error_message,
             {{"rule", letter.rule},
              {"target", letter.target},
              {"image", letter.image},
              {"error_kind", letter.error_kind},
              {"attempt", std::to_string(letter.attempts)},
              {"dead_letter", letter.id}});
  co_return Result<void>{};
}

void Worker::retry_later(WorkItem& item, const Error& error) {
  const auto pause = retry_pause(retry_, std::max(1U, item.attempts + item.unanswered),
                                 error.retry_after, random_);
  report_failure(item, error, pause);
  if (error.unanswered) {  // by which of them, a probe finds out
    shared_.outages.suspect(item.names.source);
    shared_.outages.suspect(item.names.target);
  }
  make_ready_at(item, Clock::now() + pause);
}

// Registries tell of a push before they serve it: tickets that the source did not bear out yet get
// another look.
std::optional<Worker::Clock::time_point> Worker::next_look(const std::vector<Ticket>& tickets,
                                                           monitoring::Time looked_at,
                                                           const ImageResult& result) {
  std::optional<Clock::time_point> next_look;
  for (const Ticket& ticket : tickets) {
    const auto age = looked_at - ticket.arrived_at;
    const bool borne_out = ticket.removal ? result.outcome == ImageOutcome::absent
                                          : ticket.expected && ticket.expected == result.digest;
    if (borne_out) continue;
    const auto next = ticket.expected ? next_look_with_digest(age) : next_look_without_digest(age);
    if (!next) continue;
    const auto when =
        Clock::now() + std::max(ticket.arrived_at + *next - now(), std::chrono::milliseconds(0));
    next_look = next_look ? std::min(*next_look, when) : when;
  }
  return next_look;
}

void Worker::concluded(WorkItem& item, std::vector<Ticket> tickets, monitoring::Time looked_at,
                       const ImageResult& result, double seconds) {
  item.attempts = 0;
  item.unanswered = 0;
  item.first_failed.reset();
  item.last_error.reset();
  attempts_.forget(item.key);
  const auto next = next_look(tickets, looked_at, result);
  if (!next) return confirm(item, std::move(tickets), result, seconds);
  if (result.outcome == ImageOutcome::copied) note_copied(item, tickets, result, seconds);
  // All tickets wait for it together: the image is one, and so is its lag.
  item.tickets.insert(item.tickets.begin(), std::make_move_iterator(tickets.begin()),
                      std::make_move_iterator(tickets.end()));
  make_ready_at(item, *next);
}

// Copied, and soon looked at again: whether that was what was pushed is not certain yet.
void Worker::note_copied(const WorkItem& item, std::vector<Ticket>& tickets,
                         const ImageResult& result, double seconds) {
  const monitoring::Time at = now();
  std::chrono::milliseconds lag{0};
  for (Ticket& ticket : tickets) {
    ticket.copied_at = at;
    if (!ticket.removal) lag = std::max(lag, at - ticket.pushed_at);
  }
  shared_.metrics.image_done(item.names, "copied");
  remember_copy(item, result, at);
  report_copied(item, result, seconds, lag);
}

void Worker::confirm(WorkItem& item, std::vector<Ticket> tickets, const ImageResult& result,
                     double seconds) {
  const monitoring::Time at = now();
  shared_.ledger.succeeded(item.pair, at);
  const bool stale = result.outcome == ImageOutcome::absent;
  const bool wanted = result.outcome != ImageOutcome::not_wanted;
  const bool kept = result.outcome == ImageOutcome::kept;  // there is a newer push at the target
  if (wanted)
    shared_.metrics.image_done(item.names,
                               stale || kept ? "superseded" : to_string(result.outcome));
  if (tickets.size() > 1) {
    for (std::size_t i = 1; i < tickets.size(); ++i)
      shared_.metrics.image_done(item.names, "superseded");
  }
  if (result.outcome == ImageOutcome::copied) remember_copy(item, result, at);
  std::chrono::milliseconds lag{0};
  for (const Ticket& ticket : tickets) {
    if (!ticket.removal) {
      const auto confirmed = confirmed_at(item, ticket, result, at);
      lag = std::max(lag, confirmed.value_or(at) - ticket.pushed_at);
      if (ticket.held && confirmed)
        shared_.metrics.lag_observed(item.names, *confirmed - ticket.pushed_at);
      shared_.ledger.done(item.pair, item.target_image(), ticket.pushed_at);
    }
    settle(ticket);
  }
  if (result.outcome == ImageOutcome::copied) return report_copied(item, result, seconds, lag);
  tell(log::debug,
       !wanted ? "refers to nothing that the target holds: "
       : kept  ? "left alone, the target has a newer push: "
       : stale ? "gone from the source: "
               : "in step: ",
       item, result, seconds, lag);
}

void Worker::report_copied(const WorkItem& item, const ImageResult& result, double seconds,
                           std::chrono::milliseconds lag) {
  for (const std::string& what : result.left_out) {
    log::warning(item.source_image() + " went without a referrer: " + what,
                 {{"rule", item.names.rule}, {"target", item.names.target}});
  }
  tell(log::info, "copied ", item, result, seconds, lag);
}

void Worker::remember_copy(const WorkItem& item, const ImageResult& result, monitoring::Time at) {
  if (!result.digest) return;
  if (copied_lately_.insert_or_assign(item.key, Copied{*result.digest, at}).second)
    copied_order_.push_back(item.key);
  if (copied_order_.size() <= copied_lately_max) return;
  copied_lately_.erase(copied_order_.front());
  copied_order_.pop_front();
}

// When this push was seen at the target for the first time; none where it came by other means than
// ours, nobody knows when.
std::optional<monitoring::Time> Worker::confirmed_at(const WorkItem& item, const Ticket& ticket,
                                                     const ImageResult& result,
                                                     monitoring::Time at) const {
  if (result.outcome == ImageOutcome::copied) return at;
  if (result.outcome != ImageOutcome::unchanged) return std::nullopt;
  if (ticket.copied_at) return ticket.copied_at;
  // An earlier push's copy may have brought this one, before its event came.
  const auto lately = copied_lately_.find(item.key);
  if (lately != copied_lately_.end() && lately->second.digest == result.digest &&
      lately->second.at >= ticket.pushed_at)
    return lately->second.at;
  return ticket.seen_before ? std::optional(at) : std::nullopt;
}

// A dead registry fails every image in the same words: those are logged once a minute.
void Worker::report_failure(const WorkItem& item, const Error& error,
                            std::chrono::milliseconds pause) {
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
  if (!ticket.held || --ticket.held->open > 0 || stopped_) return;
  inbox_->acknowledge(ticket.held->delivery);
  let_go(ticket.held);
  ++settled_;
}

}  // namespace transship
