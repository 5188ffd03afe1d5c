#include "daemon/work_queue.h"

#include <algorithm>
#include <tuple>

namespace transship {

using State = WorkItem::State;

namespace {
// Turns of repositories with nothing to do, of one rule.
constexpr std::size_t turns_kept_min = 1000;
}  // namespace

WorkItem* WorkQueue::find(const std::string& key) const {
  const auto found = items_.find(key);
  return found == items_.end() ? nullptr : found->second.get();
}

WorkItem& WorkQueue::add(std::unique_ptr<WorkItem> item) {
  const std::string key = item->key;
  return *items_.emplace(key, std::move(item)).first->second;
}

void WorkQueue::remove(WorkItem& item) {
  leave(item);
  items_.erase(std::string(item.key));
}

// Takes the item out of the line that it is in.
void WorkQueue::leave(WorkItem& item) {
  if (item.state == State::ready) lanes_[item.names.rule].ready.erase(&item);
  if (item.state == State::delayed) delayed_.erase({item.due, &item});
  if (item.state == State::held) {
    for (auto& [registry, line] : held_) line.erase(&item);
  }
  item.state = State::idle;
}

void WorkQueue::enter_ready(WorkItem& item, bool keeps_turn) {
  leave(item);
  Lane& lane = lanes_[item.names.rule];
  if (lane.ready.empty()) lane.next = std::max(lane.next, now_);
  if (!keeps_turn) take_turn(lane, item);
  item.state = State::ready;
  lane.ready.insert(&item);
}

void WorkQueue::take_turn(Lane& lane, WorkItem& item) {
  std::uint64_t& next = lane.repositories[{item.fresh, item.source_repository.str()}];
  item.turn = std::max(next, lane.now[item.fresh]);
  next = item.turn + 1;
  if (lane.repositories.size() <= turns_kept_min + 2 * lane.ready.size()) return;
  std::erase_if(lane.repositories, [&](const auto& entry) {
    return entry.second <= lane.now[entry.first.first];  // as if it were new
  });
}

void WorkQueue::make_ready(WorkItem& item) {
  leave(item);
  item.order = next_order_++;
  enter_ready(item);
}

void WorkQueue::make_ready_at(WorkItem& item, Time when) {
  leave(item);
  item.state = State::delayed;
  item.due = when;
  delayed_.emplace(when, &item);
}

void WorkQueue::set_fresh(WorkItem& item) {
  const bool in_line = item.state == State::ready || item.state == State::held;
  if (in_line) leave(item);
  item.fresh = true;
  if (in_line) enter_ready(item);  // where it is held, the next look finds out again
}

void WorkQueue::set_priority(WorkItem& item, int priority) {
  const bool in_line = item.state == State::ready || item.state == State::held;
  if (in_line) leave(item);
  item.priority = priority;
  if (in_line) enter_ready(item, /*keeps_turn=*/true);
}

void WorkQueue::pass_time(Time now) {
  while (!delayed_.empty() && delayed_.begin()->first <= now) make_ready(*delayed_.begin()->second);
}

std::optional<WorkQueue::Time> WorkQueue::next_due() const {
  return delayed_.empty() ? std::nullopt : std::optional(delayed_.begin()->first);
}

WorkItem* WorkQueue::start_next() {
  WorkItem* best = nullptr;
  Lane* of_best = nullptr;
  const auto rank = [](const WorkItem& item, const Lane& lane) {
    return std::tuple(-static_cast<std::int64_t>(item.priority), !item.fresh, lane.next,
                      item.order);
  };
  for (auto& [rule, lane] : lanes_) {
    WorkItem* item = first_that_may_start(lane);
    if (item == nullptr) continue;
    if (best != nullptr && rank(*best, *of_best) < rank(*item, lane)) continue;
    best = item;
    of_best = &lane;
  }
  if (best == nullptr) return nullptr;
  now_ = of_best->next++;
  std::uint64_t& now = of_best->now[best->fresh];
  now = std::max(now, best->turn);
  leave(*best);
  best->state = State::running;
  busy_.insert(best->target_image());
  return best;
}

// What needs a registry that is held goes to that one's line.
WorkItem* WorkQueue::first_that_may_start(Lane& lane) {
  for (auto next = lane.ready.begin(); next != lane.ready.end();) {
    WorkItem* item = *next;
    if (holds(*item)) {
      next = lane.ready.erase(next);
      item->state = State::held;
      const bool by_source = holding_.contains(item->names.source);
      held_[by_source ? item->names.source : item->names.target].insert(item);
    } else if (busy_.contains(item->target_image())) {
      ++next;  // another rule copies to this very tag: it waits for its turn
    } else {
      return item;
    }
  }
  return nullptr;
}

bool WorkQueue::fresh_waits() const {
  for (const auto& [rule, lane] : lanes_) {
    for (const WorkItem* item : lane.ready) {
      if (!item->fresh) break;  // the rest of a rule's line is not either
      if (!holds(*item)) return true;
    }
  }
  return false;
}

void WorkQueue::ended(WorkItem& item) {
  busy_.erase(item.target_image());
  if (item.state == State::running) item.state = State::idle;
}

void WorkQueue::release(const std::string& registry) {
  holding_.erase(registry);
  for (WorkItem* item : std::exchange(held_[registry], {})) {
    item->state = State::idle;
    enter_ready(*item, /*keeps_turn=*/true);
  }
  std::vector<WorkItem*> failed;  // by the outage, and waiting for their own next try
  for (const auto& [due, item] : delayed_) {
    const bool needs_it = item->names.source == registry || item->names.target == registry;
    if (item->unanswered > 0 && needs_it) failed.push_back(item);
  }
  for (WorkItem* item : failed) {
    item->unanswered = 0;
    enter_ready(*item);
  }
}

std::vector<WorkItem*> WorkQueue::ready_from_last() const {
  struct Place {
    WorkItem* item;
    std::size_t before;  // in the line of its rule
  };
  std::vector<Place> places;
  for (const auto& [rule, lane] : lanes_) {
    std::size_t before = 0;
    for (WorkItem* item : lane.ready) places.push_back({item, before++});
  }
  const auto rank = [](const Place& place) {
    return std::tuple(static_cast<std::int64_t>(place.item->priority), place.item->fresh,
                      -static_cast<std::int64_t>(place.before));
  };
  std::sort(places.begin(), places.end(),
            [&](const Place& a, const Place& b) { return rank(a) < rank(b); });
  std::vector<WorkItem*> items;
  for (const Place& place : places) items.push_back(place.item);
  return items;
}

std::vector<WorkItem*> WorkQueue::held_for(const std::string& registry) const {
  const auto line = held_.find(registry);
  if (line == held_.end()) return {};
  return {line->second.begin(), line->second.end()};
}

}  // namespace transship
