#include <algorithm>

#include "daemon/worker.h"

// How a worker keeps room in its window of deliveries for what can be done now.
namespace transship {

namespace {

constexpr std::size_t fetch_at_once = 256;
constexpr std::chrono::seconds comes_again_after{30};  // what had to make room for others
constexpr std::chrono::seconds empties_soon{2};        // half of the window
// Should the window empty sooner than it seemed, what waits its turn is missed no longer.
constexpr std::chrono::seconds longest_turn{10};
constexpr std::chrono::seconds pace_measured_over{1};
constexpr std::chrono::seconds pace_holds_for{5};
// Deliveries that wait on the bus for their turn at once: what comes behind more has to wait.
constexpr std::size_t wait_their_turn_max = 10'000;

}  // namespace

// How many deliveries to fetch now. Many pushes of one image are one piece of work, and may be many
// more; but while the target does not answer, nothing would come of having them.
std::size_t Worker::room() const {
  const bool all_wait = queue_.holding().contains(target_name_);
  const std::size_t apart = in_hand_.size() - (all_wait ? 0 : joined_);
  if (apart >= apart_max || in_hand_.size() >= deliveries_max) return 0;
  return std::min({fetch_at_once, apart_max - apart, deliveries_max - in_hand_.size()});
}

void Worker::keep(const std::shared_ptr<HeldDelivery>& held) {
  in_hand_.insert(held);
  if (held->joined) ++joined_;
}

void Worker::let_go(const std::shared_ptr<HeldDelivery>& held) {
  if (in_hand_.erase(held) > 0 && held->joined) --joined_;
}

void Worker::set_more_to_come(bool more) {
  more_to_come_ = more;
  if (more || gathering_.empty()) return;
  gathering_.clear();
  for (const auto& [key, item] : queue_.items()) {
    if (!std::exchange(item->gathers, false)) continue;
    if (item->state == WorkItem::State::delayed) queue_.make_ready(*item);
  }
}

void Worker::make_room() {
  put_back_sources_that_are_out();
  put_back_what_comes_last();
}

// Images of sources that do not answer may take half of the window; what is more goes back to the
// bus for a while, so that events of other sources come through. While the target itself does not
// answer, nobody needs the room.
void Worker::put_back_sources_that_are_out() {
  std::vector<WorkItem*> held;
  for (const std::string& registry : queue_.holding()) {
    if (registry == target_name_) continue;
    for (WorkItem* item : queue_.held_for(registry)) held.push_back(item);
  }
  std::size_t waiting = 0;
  for (const WorkItem* item : held) waiting += item->tickets.size();
  for (auto item = held.rbegin(); item != held.rend() && waiting > apart_max / 2; ++item)
    waiting -= put_back(**item, comes_again_after);
}

// A flood that fills the window must not keep out what comes behind it and would go before it: of
// another repository or rule, or more urgent. The half of it whose turn is last goes back to the
// bus until about then. Where the window empties within moments nobody waits for long, and nothing
// goes back.
void Worker::put_back_what_comes_last() {
  const std::size_t apart = in_hand_.size() - joined_;
  const auto per_second = pace(apart);
  if (!per_second || queue_.holding().contains(target_name_)) return;
  const auto lasts = [&](std::size_t deliveries) {
    const double seconds = static_cast<double>(deliveries) / std::max(*per_second, 0.01);
    return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
  };
  constexpr std::size_t stays = apart_max / 2;
  if (lasts(stays) < empties_soon) return;
  const auto time = Clock::now();
  while (!waiting_their_turn_.empty() && waiting_their_turn_.front().first <= time)
    waiting_their_turn_.pop_front();
  std::size_t waiting = 0;
  for (const auto& [until, deliveries] : waiting_their_turn_) waiting += deliveries;
  std::size_t left = apart;
  for (WorkItem* item : queue_.ready_from_last()) {
    if (left <= stays || waiting >= wait_their_turn_max) break;
    if (item->attempts > 0 || item->unanswered > 0) continue;  // its pauses go on here
    const auto pause =
        std::clamp<std::chrono::milliseconds>(lasts(stays + waiting), empties_soon, longest_turn);
    const std::size_t gone = put_back(*item, pause);
    left -= std::min(left, gone);
    waiting += gone;
    if (gone > 0) waiting_their_turn_.emplace_back(time + longest_turn, gone);
  }
}

// Deliveries that are settled in a second; none unless the window is full, and was so for a moment
// lately.
std::optional<double> Worker::pace(std::size_t apart) {
  const auto time = Clock::now();
  if (apart < apart_max * 3 / 4) {
    full_since_.reset();
    return std::nullopt;
  }
  if (!full_since_) {
    full_since_ = time;
    settled_ = 0;
  }
  const auto full_for = time - *full_since_;
  if (full_for >= pace_measured_over) {
    settled_per_second_ =
        static_cast<double>(settled_) / std::chrono::duration<double>(full_for).count();
    pace_measured_ = full_since_.emplace(time);
    settled_ = 0;
  } else if (time - pace_measured_ > pace_holds_for) {
    return std::nullopt;
  }
  return settled_per_second_;
}

// Returns how many deliveries went. One that another item needs too stays, and all with it; so does
// an image of which something is known that the bus does not keep.
std::size_t Worker::put_back(WorkItem& item, std::chrono::milliseconds pause) {
  if (item.owes_referrers || item.incomplete) return 0;
  const auto is_needed = [](const Ticket& ticket) {
    return !ticket.held || ticket.held->open > 1 || ticket.copied_at;
  };
  if (std::any_of(item.tickets.begin(), item.tickets.end(), is_needed)) return 0;
  const std::size_t count = item.tickets.size();
  for (const Ticket& ticket : item.tickets) {
    const bus::Delivery& delivery = ticket.held->delivery;
    inbox_->hand_back(delivery, pause);
    let_go(ticket.held);
    if (ticket.removal) continue;
    auto& out = put_back_.try_emplace(item.pair, PutBack{ticket.pushed_at, delivery.stored_at})
                    .first->second;
    out.oldest_push = std::min(out.oldest_push, ticket.pushed_at);
    out.newest_stored = std::max(out.newest_stored, delivery.stored_at);
    shared_.ledger.let_go(item.pair, item.target_image(), ticket.pushed_at);
  }
  if (const auto out = put_back_.find(item.pair); out != put_back_.end())
    shared_.ledger.set_waiting_on_bus(item.pair, out->second.oldest_push);
  queue_.remove(item);
  changed_.notify();
  return count;
}

bool Worker::is_known_here(bus::Clock::time_point stored_at) const {
  return std::any_of(in_hand_.begin(), in_hand_.end(),
                     [&](const auto& held) { return held->delivery.stored_at == stored_at; }) ||
         std::any_of(put_back_.begin(), put_back_.end(),
                     [&](const auto& entry) { return stored_at <= entry.second.newest_stored; });
}

// What is still unacknowledged at the second look and none of ours is another daemon's, or that of
// one that died: for which rule, nobody here knows.
void Worker::set_backlog(const bus::Backlog& backlog) {
  std::erase_if(put_back_, [&](const auto& entry) {
    return !backlog.oldest || *backlog.oldest > entry.second.newest_stored;
  });
  const bool is_old = backlog.oldest && backlog.oldest == oldest_on_bus_;
  oldest_on_bus_ = backlog.oldest;
  std::optional<monitoring::Time> elsewhere;
  if (is_old && !is_known_here(*backlog.oldest))
    elsewhere = std::chrono::floor<std::chrono::milliseconds>(*backlog.oldest);
  for (const monitoring::Pair& pair : shared_.generations.routes().pairs()) {
    if (pair.target != target_name_) continue;
    const auto id = shared_.ledger.add_pair(pair);
    const auto put_back = put_back_.find(id);
    shared_.ledger.set_waiting_on_bus(
        id, put_back == put_back_.end() ? elsewhere : put_back->second.oldest_push);
  }
}

}  // namespace transship
