#pragma once

#include <asio/cancellation_signal.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/bus/bus.h"
#include "daemon/generation.h"
#include "monitoring/ledger.h"
#include "replicator/oci/digest.h"
#include "replicator/oci/reference.h"
#include "replicator/oci/referrers_tag.h"

namespace transship {

// A delivery in hand, until everything that it asked for is done.
struct HeldDelivery {
  bus::Delivery delivery;
  std::size_t open = 0;  // work items that still need it
  bool joined = true;    // it brought no image that did not wait already
};

// One push that an item stands for.
struct Ticket {
  std::shared_ptr<HeldDelivery> held;  // null: no event asked for it
  monitoring::Time pushed_at;
  monitoring::Time arrived_at;
  std::optional<oci::Digest> expected = {};
  bool ours = false;             // a copy of ours caused it
  bool seen_before = false;      // tried before, by us or by a daemon that died
  bool removal = false;          // the tag is said to be gone: nothing was pushed
  bool deletes_allowed = false;  // reconciliation asked the breaker already
  bool pushed_before = false;    // at some time before `pushed_at`, nobody knows when
  // What was brought then may be what was pushed: should another look find no more, it was.
  std::optional<monitoring::Time> copied_at = {};

  // No event asked for it, so that there is nothing to look again for.
  static Ticket of_no_event(monitoring::Time pushed_at, bool pushed_before = false) {
    Ticket ticket{nullptr, pushed_at, pushed_at - std::chrono::minutes(1)};
    ticket.seen_before = true;
    ticket.pushed_before = pushed_before;
    return ticket;
  }
};

// One image to bring to one target by one rule, for all pushes that wait for it together.
struct WorkItem {
  using Clock = std::chrono::steady_clock;
  enum class State {
    idle,     // in no line
    ready,    // may start
    delayed,  // may start at `due`
    held,     // a registry that it needs does not answer
    running,
  };

  std::string key;  // rule, then the image as the source names it
  monitoring::Ledger::PairId pair = 0;
  monitoring::Pair names;
  int priority = 0;
  oci::Repository source_repository;
  oci::Reference reference;
  oci::Repository target_repository;
  std::vector<Ticket> tickets = {};
  unsigned attempts = 0;    // answered failures
  unsigned unanswered = 0;  // failures while nobody answered; they use up no attempt
  std::optional<monitoring::Time> first_failed = {};
  std::optional<monitoring::LastError> last_error = {};
  // When the pause after its last failure is over, where that was before a restart.
  Clock::time_point not_before = {};
  // An event or an operator asked for it: it goes before what reconciliation found.
  bool fresh = false;
  bool referrers = false;  // its rule carries them
  // It was copied, and what has come to refer to it meanwhile is still to be looked for.
  bool owes_referrers = false;
  // The target shows it, and something that it reaches is missing there: it is copied as if the
  // target did not have it.
  bool incomplete = false;
  bool gathers =
      false;  // delayed for the pushes that the bus still has, no longer than until `due`
  // The configuration by which it runs.
  std::shared_ptr<Generation> generation = {};
  asio::cancellation_signal cancel = {};

  // The queue's own.
  State state = State::idle;
  std::uint64_t order = 0;
  std::uint64_t turn = 0;  // of its repository's images, within its rule
  Clock::time_point due = {};

  [[nodiscard]] std::string source_image() const {
    return source_repository.str() + reference.suffix();
  }
  [[nodiscard]] std::string target_image() const {
    return target_repository.str() + reference.suffix();
  }
  // It stands for what refers to an image: a signature tag, or a push by digest alone.
  [[nodiscard]] bool is_referrer() const {
    return reference.tag() == nullptr || oci::ReferrersTag::parse(reference.str());
  }
  static std::string key_of(const std::string& rule, const std::string& source_image) {
    return rule + " " + source_image;
  }
};

// The work of one target and its order: by priority, then what an event told of; among equals the
// rules take turns, within a rule its repositories do, and within a repository it goes as it came.
// So a flood in one of them holds up no other.
// Two items for one tag of the target never run together, and none starts that needs a registry
// that is held. No I/O, and no clock of its own.
class WorkQueue {
 public:
  using Time = WorkItem::Clock::time_point;

  WorkItem* find(const std::string& key) const;
  // The key must be new.
  WorkItem& add(std::unique_ptr<WorkItem> item);
  void remove(WorkItem& item);
  [[nodiscard]] std::size_t size() const { return items_.size(); }
  // Whether something that an event or an operator asked for could start now.
  [[nodiscard]] bool fresh_waits() const;
  [[nodiscard]] const std::map<std::string, std::unique_ptr<WorkItem>>& items() const {
    return items_;
  }

  // To the end of its line, whatever it was waiting for; not for one that runs.
  void make_ready(WorkItem& item);
  void make_ready_at(WorkItem& item, Time when);
  // These change its place in the line.
  void set_fresh(WorkItem& item);
  void set_priority(WorkItem& item, int priority);
  // What waited until now becomes ready.
  void pass_time(Time now);
  [[nodiscard]] std::optional<Time> next_due() const;

  // The next item that may start; it counts as running until ended(). Null when there is none.
  WorkItem* start_next();
  void ended(WorkItem& item);

  // No item that reads from or writes to this registry starts until it is released; then all that
  // waited for it goes on at once, in the order that it had.
  void hold(const std::string& registry) { holding_.insert(registry); }
  void release(const std::string& registry);
  [[nodiscard]] bool holds(const WorkItem& item) const {
    return holding_.contains(item.names.source) || holding_.contains(item.names.target);
  }
  // What may start and waits for its turn, first what would wait longest.
  [[nodiscard]] std::vector<WorkItem*> ready_from_last() const;
  // Those that were held when their turn came, in order.
  [[nodiscard]] std::vector<WorkItem*> held_for(const std::string& registry) const;
  // The registries that are held.
  [[nodiscard]] const std::set<std::string>& holding() const { return holding_; }

 private:
  struct InOrder {
    bool operator()(const WorkItem* a, const WorkItem* b) const {
      if (a->priority != b->priority) return a->priority > b->priority;
      if (a->fresh != b->fresh) return a->fresh;
      if (a->turn != b->turn) return a->turn < b->turn;
      return a->order < b->order;
    }
  };
  using Line = std::set<WorkItem*, InOrder>;

  // What is ready of one rule, and its turns. A turn is a number that grows by one with each image
  // of whoever takes it, and never lags behind that of the image that was started last: whoever had
  // nothing to do for a while has no more due to him than the others.
  struct Lane {
    Line ready;
    std::uint64_t next = 0;  // turn of the rule
    // The next turn of each repository, and that of the one that was started last; for what is
    // fresh and for what is not.
    std::map<std::pair<bool, std::string>, std::uint64_t> repositories;
    std::map<bool, std::uint64_t> now;
  };
  WorkItem* first_that_may_start(Lane& lane);
  static void take_turn(Lane& lane, WorkItem& item);

  void leave(WorkItem& item);
  // One that keeps its turn had it already.
  void enter_ready(WorkItem& item, bool keeps_turn = false);

  std::map<std::string, std::unique_ptr<WorkItem>> items_;
  std::map<std::string, Lane> lanes_;  // by rule
  std::uint64_t now_ = 0;              // the turn of the rule that was started last
  std::set<std::pair<Time, WorkItem*>> delayed_;
  std::map<std::string, Line> held_;  // by the registry
  std::set<std::string> holding_;
  std::set<std::string> busy_;  // images of the target that are being copied now
  std::uint64_t next_order_ = 0;
};

}  // namespace transship
