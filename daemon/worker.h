#pragma once

#include <asio/cancellation_signal.hpp>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "daemon/bus/bus.h"
#include "daemon/events/event.h"
#include "daemon/fleet.h"
#include "daemon/retry.h"
#include "daemon/routes.h"
#include "monitoring/metrics.h"
#include "replicator/image_copy.h"

namespace transship {

// What all workers of a daemon share.
struct WorkerShared {
  asio::any_io_executor executor;
  const config::Config& config;
  const Routes& routes;
  Fleet& fleet;
  monitoring::Ledger& ledger;
  monitoring::Metrics& metrics;
  std::string instance;  // marks what this daemon's own intake put on the bus
};

// Works for one target: takes deliveries from its inbox, makes work items of them, copies,
// confirms, acknowledges. What waits for one image becomes one copy; what fails waits and is tried
// again, and holds nothing else back.
class Worker {
 public:
  // Deliveries in hand at once. More wait on the bus, where they cost no memory.
  static constexpr std::size_t deliveries_max = 1000;

  Worker(WorkerShared shared, std::string target, std::unique_ptr<bus::Inbox> inbox);
  ~Worker();

  // Runs until stop() has ended it.
  asio::awaitable<void> run();
  // Takes nothing new, lets running copies finish until the deadline, breaks off the rest and hands
  // it back.
  asio::awaitable<void> stop(std::chrono::steady_clock::time_point deadline);

  // Work that no event asked for: reconciliation found the image out of step. `since`: when it was
  // in step for the last time that we know of.
  void look_at(const Route& route, const std::string& source_repository, const std::string& tag,
               monitoring::Time since);
  // Whether an image of this rule, as the source names it, waits or is copied.
  [[nodiscard]] bool has(const std::string& rule, const std::string& image) const;
  // How many images wait or are copied.
  [[nodiscard]] std::size_t waiting() const { return items_.size(); }

  [[nodiscard]] const std::string& target() const { return target_name_; }
  [[nodiscard]] bus::Inbox& inbox() { return *inbox_; }

 private:
  using Clock = std::chrono::steady_clock;
  using Key = std::string;  // rule, then the image as the source names it

  // A delivery in hand, until everything that it asked for is done.
  struct Held {
    bus::Delivery delivery;
    std::size_t open = 0;  // work items that still need it
  };
  // One push that an item stands for.
  struct Ticket {
    std::shared_ptr<Held> held;  // null: no event asked for it
    monitoring::Time pushed_at;
    monitoring::Time arrived_at;
    std::optional<oci::Digest> expected;
    bool seen_before = false;  // tried before, by us or by a daemon that died
  };
  struct Item {
    Key key;
    monitoring::Ledger::PairId pair;
    monitoring::Pair names;
    int priority;
    oci::Repository source_repository;
    oci::Tag tag;
    oci::Repository target_repository;
    std::vector<Ticket> tickets;
    unsigned attempts = 0;    // answered failures
    unsigned unanswered = 0;  // failures while nobody answered; they use up no attempt
    bool running = false;
    bool fresh = false;       // an event told of it: it goes before what reconciliation found
    std::uint64_t order = 0;  // of its place among the ready
    asio::cancellation_signal cancel;

    [[nodiscard]] std::string source_image() const {
      return source_repository.str() + ":" + tag.str();
    }
    [[nodiscard]] std::string target_image() const {
      return target_repository.str() + ":" + tag.str();
    }
  };
  struct ByPriority {
    bool operator()(const Item* a, const Item* b) const {
      if (a->priority != b->priority) return a->priority > b->priority;
      if (a->fresh != b->fresh) return a->fresh;
      return a->order < b->order;
    }
  };

  void accept(bus::Delivery delivery);
  void accept_push(const events::Event& event, const std::shared_ptr<Held>& held);
  Item* item_for(const Route& route, const std::string& repository, const std::string& tag);
  void add_ticket(Item& item, Ticket ticket);
  void make_ready(Item& item);
  void make_ready_at(Item& item, Clock::time_point when);
  std::multimap<Clock::time_point, Item*>::iterator find_delayed(const Item& item);
  void arm_timer();
  void dispatch();

  asio::awaitable<void> process(Item& item);
  asio::awaitable<Result<ImageResult>> copy(Item& item, std::optional<oci::Digest> expected);
  void concluded(Item& item, std::vector<Ticket> tickets, monitoring::Time looked_at,
                 const ImageResult& result, double seconds);
  void confirm(Item& item, std::vector<Ticket> tickets, const ImageResult& result, double seconds);
  void failed(Item& item, std::vector<Ticket> tickets, const Error& error);
  void report_failure(const Item& item, const Error& error, std::chrono::milliseconds pause);
  void settle(const Ticket& ticket);
  void process_ended(Item& item, bool broken_off);
  void finish(Item& item);
  void hand_back_everything();
  asio::awaitable<void> keep_in_progress();

  WorkerShared shared_;
  std::string target_name_;
  Target& target_;
  std::unique_ptr<bus::Inbox> inbox_;
  config::RetryPolicy retry_;
  Random random_{std::random_device{}()};
  std::map<Key, std::unique_ptr<Item>> items_;
  std::set<Item*, ByPriority> ready_;
  std::multimap<Clock::time_point, Item*> delayed_;
  std::set<std::string> busy_;  // images of the target that are being copied now
  asio::steady_timer delay_timer_;
  std::set<std::shared_ptr<Held>> in_hand_;
  Event changed_;
  Event stop_keeping_;
  std::size_t running_ = 0;
  std::uint64_t next_order_ = 0;
  bool stopping_ = false;
  bool fetching_ = false;
  bool keeping_ = false;  // deliveries in progress
  bool stopped_ = false;
  std::map<std::string, Clock::time_point>
      reported_;  // failures of registries that do not answer, lately logged
};

}  // namespace transship
