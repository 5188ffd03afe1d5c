#pragma once

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "daemon/attempts.h"
#include "daemon/bus/bus.h"
#include "daemon/dead_letter_book.h"
#include "daemon/delete_breaker.h"
#include "daemon/events/event.h"
#include "daemon/generation.h"
#include "daemon/outages.h"
#include "daemon/placed_tags.h"
#include "daemon/prefetch.h"
#include "daemon/retry.h"
#include "daemon/routes.h"
#include "daemon/two_way.h"
#include "daemon/work_queue.h"
#include "monitoring/metrics.h"
#include "replicator/image_copy.h"
#include "replicator/tag_removal.h"

namespace transship {

// What all workers of a daemon share.
struct WorkerShared {
  asio::any_io_executor executor;
  const Generations& generations;
  monitoring::Ledger& ledger;
  monitoring::Metrics& metrics;
  DeadLetterBook& dead_letters;
  Outages& outages;
  PlacedTags& placed;
  TwoWay& two_way;
  DeleteBreaker& delete_breaker;
  std::string instance;  // marks what this daemon's own intake put on the bus
};

// Works for one target: takes deliveries from its inbox, makes work items of them, copies,
// confirms, acknowledges. What waits for one image becomes one copy; what fails waits and is tried
// again, and holds nothing else back; what fails for good becomes a dead letter.
class Worker {
 public:
  // Deliveries in hand at once. More wait on the bus, where they cost no memory.
  static constexpr std::size_t deliveries_max = 10'000;
  // Of them, those that brought an image of their own; the others are for images that wait already.
  static constexpr std::size_t apart_max = 1000;

  Worker(WorkerShared shared, std::string target, std::unique_ptr<bus::Inbox> inbox);
  ~Worker();

  // Runs until stop() has ended it.
  asio::awaitable<void> run();
  // Takes nothing new, lets running copies finish until the deadline, breaks off the rest and hands
  // it back.
  asio::awaitable<void> stop(std::chrono::steady_clock::time_point deadline);

  // Work that no event asked for: reconciliation found the image out of step. `since`: when it was
  // in step for the last time; none where nobody knows.
  // `incomplete`: the target shows it, and lacks something that it reaches.
  void look_at(const Route& route, const std::string& source_repository, const std::string& tag,
               std::optional<monitoring::Time> since, bool incomplete = false);
  // Reconciliation found a tag gone from the source, and the breaker lets it go from the target.
  void look_at_gone(const Route& route, const PlacedTag& tag);
  // Sends a dead letter's image again, with all its tries. The letter goes with the success.
  void retry(const Route& route, const bus::DeadLetter& letter);
  // A blob arrived at a source: where a rule wants it, it is copied before its image comes.
  void hint(BlobHint hint) { prefetch_.offer(std::move(hint)); }
  // Another configuration holds: what waits is wanted as it says, or not at all and acknowledged.
  void adopt();
  // A registry does not answer: what needs it waits. Or it answers again: all that goes on.
  void registry_changed(const std::string& registry, bool out);
  // What the bus says of this target, now and then.
  void set_backlog(const bus::Backlog& backlog);
  // Null where no work waits or runs for it.
  [[nodiscard]] const WorkItem* item_of(const std::string& rule, const std::string& image) const;
  // Whether an image of this rule, as the source names it, waits or is copied.
  [[nodiscard]] bool has(const std::string& rule, const std::string& image) const;
  // How many images wait or are copied.
  [[nodiscard]] std::size_t waiting() const { return queue_.size(); }
  // Whether a push waits for a place.
  [[nodiscard]] bool pushes_wait() const { return queue_.fresh_waits(); }

  [[nodiscard]] const std::string& target() const { return target_name_; }
  [[nodiscard]] bus::Inbox& inbox() { return *inbox_; }

 private:
  using Clock = std::chrono::steady_clock;

  // worker_accept.cc: what becomes work.
  void accept(bus::Delivery delivery);
  void accept_push(const events::Event& event, const std::shared_ptr<HeldDelivery>& held);
  void accept_remove(const events::Event& event, const std::shared_ptr<HeldDelivery>& held);
  WorkItem* item_for(const Route& route, const oci::ImageName& image);
  void add_ticket(WorkItem& item, Ticket ticket);
  void line_up(WorkItem& item);
  void make_ready_at(WorkItem& item, Clock::time_point when);
  void arm_timer();
  void dispatch();

  asio::awaitable<void> process(WorkItem& item);
  asio::awaitable<Result<ImageResult>> copy_until_it_stays(WorkItem& item,
                                                           std::optional<oci::Digest> expected,
                                                           monitoring::Time& looked_at);
  asio::awaitable<Result<ImageResult>> copy(WorkItem& item, std::optional<oci::Digest> expected);
  ImageJob job_for(WorkItem& item, std::optional<oci::Digest> expected);
  asio::awaitable<Result<void>> bring_late_referrers(WorkItem& item, ImageResult& result);
  void process_ended(WorkItem& item, bool broken_off);
  [[nodiscard]] std::optional<Route> route_of(const WorkItem& item) const;
  void reroute(WorkItem& item, const std::optional<Route>& route);
  void finish(WorkItem& item);

  // worker_deletes.cc: what the source no longer has.
  asio::awaitable<void> accept_lost(const config::Rule& rule, std::string repository,
                                    std::optional<std::string> digest, Ticket ticket);
  asio::awaitable<Result<ImageResult>> bring_in_step(WorkItem& item,
                                                     std::optional<oci::Digest> expected,
                                                     const std::vector<Ticket>& tickets,
                                                     monitoring::Time& looked_at);
  void remember(const WorkItem& item, const ImageResult& result);
  asio::awaitable<Result<bool>> remove(WorkItem& item, const config::Rule& rule, bool allowed);
  asio::awaitable<bool> breaker_allows(const PlacedBy& by, const WorkItem& item, bool allowed);
  asio::awaitable<Result<bool>> twin_may_go(const PlacedBy& by, const WorkItem& item,
                                            const PlacedTag& placed, bool allowed, oci::Tag twin,
                                            std::size_t& taken);
  void forget(const WorkItem& item, const PlacedBy& by, const PlacedTag& placed);
  bool removed(const WorkItem& item, const PlacedBy& by, const PlacedTag& placed,
               const RemovedTag& tag);
  void look_again(const std::string& rule, const oci::ImageName& image);

  // worker_two_way.cc: rules there and back.
  [[nodiscard]] std::optional<TwoWay::Way> two_way_of(const WorkItem& item) const;
  void let_newer_win(ImageJob& job, const WorkItem& item);
  void note_same(const WorkItem& item, const std::vector<Ticket>& tickets,
                 const ImageResult& result);
  asio::awaitable<Result<ImageResult>> uncover(WorkItem& item, const std::vector<Ticket>& tickets,
                                               ImageResult result);

  // worker_outcome.cc: what became of a try.
  static std::optional<Clock::time_point> next_look(const std::vector<Ticket>& tickets,
                                                    monitoring::Time looked_at,
                                                    const ImageResult& result);
  asio::awaitable<void> redeem_dead_letter(const WorkItem& item, const ImageResult& result);
  void concluded(WorkItem& item, std::vector<Ticket> tickets, monitoring::Time looked_at,
                 const ImageResult& result, double seconds);
  void confirm(WorkItem& item, std::vector<Ticket> tickets, const ImageResult& result,
               double seconds);
  void note_copied(const WorkItem& item, std::vector<Ticket>& tickets, const ImageResult& result,
                   double seconds);
  void remember_copy(const WorkItem& item, const ImageResult& result, monitoring::Time at);
  [[nodiscard]] std::optional<monitoring::Time> confirmed_at(const WorkItem& item,
                                                             const Ticket& ticket,
                                                             const ImageResult& result,
                                                             monitoring::Time at) const;
  static void report_copied(const WorkItem& item, const ImageResult& result, double seconds,
                            std::chrono::milliseconds lag);
  void note_failure(WorkItem& item, const Error& error);
  [[nodiscard]] bool is_given_up(const WorkItem& item, const Error& error) const;
  asio::awaitable<Result<void>> give_up(WorkItem& item, const std::vector<Ticket>& tickets);
  void retry_later(WorkItem& item, const Error& error);
  void report_failure(const WorkItem& item, const Error& error, std::chrono::milliseconds pause);
  void settle(const Ticket& ticket);

  // worker_attempts.cc: what was tried before.
  void take_up_tries(WorkItem& item);
  void keep_tries(const WorkItem& item);
  void forget_unwanted_tries();

  // worker_room.cc: what is in hand.
  [[nodiscard]] std::size_t room() const;
  void keep(const std::shared_ptr<HeldDelivery>& held);
  void let_go(const std::shared_ptr<HeldDelivery>& held);
  void set_more_to_come(bool more);
  [[nodiscard]] bool is_known_here(bus::Clock::time_point stored_at) const;
  void make_room();
  void put_back_sources_that_are_out();
  void put_back_what_comes_last();
  std::size_t put_back(WorkItem& item, std::chrono::milliseconds pause);
  [[nodiscard]] std::optional<double> pace(std::size_t apart);
  void hand_back_everything();
  asio::awaitable<void> keep_in_progress();

  WorkerShared shared_;
  std::string target_name_;
  std::unique_ptr<bus::Inbox> inbox_;
  config::RetryPolicy retry_;
  Random random_{std::random_device{}()};
  Attempts attempts_;
  WorkQueue queue_;
  Prefetch prefetch_;
  asio::steady_timer delay_timer_;
  std::set<std::shared_ptr<HeldDelivery>> in_hand_;
  std::size_t joined_ = 0;  // of them, those for images that waited already
  // The bus has more, and there is room for it. Images that were looked at meanwhile for several
  // pushes then gather what comes for them.
  bool more_to_come_ = false;
  std::set<std::string> gathering_;  // their keys
  Event changed_;
  Event stop_keeping_;
  std::size_t running_ = 0;
  bool stopping_ = false;
  bool fetching_ = false;
  bool keeping_ = false;     // deliveries in progress
  std::size_t lookups_ = 0;  // of what events say is gone
  // A manifest that is being deleted by its digest, and what was confirmed in its repository
  // meanwhile: it may have been tagged with that very manifest.
  struct ManifestDelete {
    oci::Repository repository;
    std::vector<std::pair<std::string, oci::ImageName>> confirmed = {};  // rule and image
  };
  std::list<ManifestDelete> manifest_deletes_;
  bool stopped_ = false;
  // What was handed back for a while: until the bus has nothing so old, it counts as pending.
  // Images that were copied lately, by their items' keys.
  struct Copied {
    oci::Digest digest;
    monitoring::Time at;
  };
  static constexpr std::size_t copied_lately_max = 1000;
  std::map<std::string, Copied> copied_lately_;
  std::deque<std::string> copied_order_;  // oldest first
  struct PutBack {
    monitoring::Time oldest_push;
    bus::Clock::time_point newest_stored;
  };
  std::map<monitoring::Ledger::PairId, PutBack> put_back_;
  std::optional<bus::Clock::time_point> oldest_on_bus_;  // when it was looked at last
  // How fast a window that is full empties.
  std::size_t settled_ = 0;  // deliveries, since it was measured
  std::optional<Clock::time_point> full_since_;
  double settled_per_second_ = 0;
  Clock::time_point pace_measured_;
  // Deliveries that went back to make room for what comes behind them, until when.
  std::deque<std::pair<Clock::time_point, std::size_t>> waiting_their_turn_;
  std::map<std::string, Clock::time_point>
      reported_;  // failures of registries that do not answer, lately logged
};

}  // namespace transship
