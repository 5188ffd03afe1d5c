#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/closure_times.h"
#include "daemon/extras.h"
#include "daemon/worker.h"
#include "replicator/image_verify.h"

namespace transship {

// Finds what events missed: lists what the rules match at the source, compares the digests of both
// sides with at most one request a tag at each, and sends what differs down the same line as
// events, behind them. Every now and then, in a closure pass, what unchanged tags reach is checked
// as well.
class Reconciler {
 public:
  // Finds the worker of a target: null where there is none yet.
  using FindWorker = std::function<Worker*(const std::string& target)>;
  Reconciler(WorkerShared shared, FindWorker worker_of);

  // Passes at the start and at every interval, as configured, and whenever one is asked for, until
  // stop().
  asio::awaitable<void> run();
  void stop();
  // Another configuration holds: it is looked at before the next pass. `unknown`: pairs whose
  // images nobody has compared yet.
  void adopt(const std::vector<monitoring::Pair>& unknown);

  // What a pass does beyond the usual.
  struct Extent {
    bool allow_deletes = false;  // however many
    bool closure = false;        // what unchanged tags reach is checked too
  };
  // Asks for a pass over a rule, a target, or (both empty) everything; false where there is no such
  // pair.
  bool request(const std::string& rule, const std::string& target, Extent extent);
  // It answers again: what could not be compared is now.
  void registry_answers(const std::string& registry);

 private:
  using Clock = std::chrono::steady_clock;

  // One rule and target during one pass.
  struct Side {
    monitoring::Pair pair;
    Worker* worker;
    bool closure = false;        // what its tags reach is checked too
    std::set<std::string> tags;  // of the repository that is being compared, at the target
    std::uint64_t missing = 0;
    std::uint64_t different = 0;
    std::uint64_t incomplete = 0;
    std::uint64_t extra = 0;
    std::uint64_t conflict = 0;
    std::uint64_t broken = 0;      // that one of both sides answers with an error
    std::uint64_t unlisted = 0;    // repositories that the target could not list
    Proven proven;                 // in the repository that is being compared
    std::set<std::string> found;   // images that differ, as the source names them
    bool is_listed = true;         // that repository
    bool source_failed = false;    // in some repository
    std::optional<Error> failure;  // of a repository, which does not end the pass
    std::optional<Error> error;    // which does

    [[nodiscard]] bool takes_part() const { return !error && is_listed; }
  };

  // A pass may outlive what it is about.
  [[nodiscard]] bool is_served(const monitoring::Pair& pair) const;
  [[nodiscard]] std::vector<Side> sides_of(const config::Rule& rule) const;
  static bool saw_source(const std::vector<Side>& sides);
  asio::awaitable<void> pass(const config::Rule& rule, std::vector<Side> sides);
  void report(const Side& side, Clock::duration took);
  asio::awaitable<void> wait_until_repaired(monitoring::Pair pair, Worker* worker,
                                            std::set<std::string> found, monitoring::Time started);
  // reconcile_compare.cc: what a pass compares.
  asio::awaitable<Result<std::vector<std::string>>> repositories_of(const config::Rule& rule);
  asio::awaitable<Result<void>> compare_all(const config::Rule& rule, std::vector<Side>& sides,
                                            ExtraSearch* extras);
  asio::awaitable<Result<void>> compare_repository(const config::Rule& rule,
                                                   std::vector<Side>& sides,
                                                   oci::Repository repository, ExtraSearch* extras);
  asio::awaitable<void> list_target(const config::Rule& rule, Side& side,
                                    const oci::Repository& repository);
  asio::awaitable<Result<void>> compare_tag(const config::Rule& rule, std::vector<Side>& sides,
                                            oci::Repository repository, oci::Tag tag);
  asio::awaitable<bool> is_left_alone(const config::Rule& rule, Side& side,
                                      oci::Repository repository, oci::Tag tag, oci::Digest wanted,
                                      oci::Digest shown);
  // Whether an error that a registry answered may be of that one tag, or repository, alone.
  [[nodiscard]] static bool is_of_one_tag(const Error& error);
  [[nodiscard]] static bool is_of_one_repository(const Error& error);
  asio::awaitable<void> wait_for_room(const Side& side);
  asio::awaitable<void> found_broken(const config::Rule& rule, Side& side,
                                     oci::Repository repository, oci::Tag tag, Error error,
                                     bool incomplete = false);
  asio::awaitable<void> found_different(const config::Rule& rule, Side& side,
                                        const oci::Repository& repository, const oci::Tag& tag,
                                        bool incomplete = false);
  // reconcile_closure.cc: when to check what unchanged tags reach, and how.
  [[nodiscard]] Clock::time_point next_closure() const;
  void request_closures_that_are_due();
  [[nodiscard]] Clock::time_point closure_due(const monitoring::Pair& pair) const;
  void closure_ended(const Side& side, monitoring::Time started);
  asio::awaitable<bool> is_complete(const config::Rule& rule, Side& side,
                                    oci::Repository repository, oci::Tag tag, oci::Digest digest);
  asio::awaitable<void> yield_to_pushes(const Side& side);
  // reconcile_deletes.cc: what the targets have too much.
  std::unique_ptr<ExtraSearch> search_of(const config::Rule& rule, const std::vector<Side>& sides);
  void note_in_step(const config::Rule& rule, const Side& side, const oci::Repository& repository,
                    const oci::Tag& tag, const oci::Digest& digest);
  asio::awaitable<void> find_extras(const config::Rule& rule, std::vector<Side>& sides,
                                    ExtraSearch& search);
  asio::awaitable<void> remove_extras(const config::Rule& rule, Side& side, const Extras& extras);
  asio::awaitable<void> recall_stopped_deletes();

  WorkerShared shared_;
  FindWorker worker_of_;
  std::shared_ptr<Generation> generation_;  // of the pass that runs, else the present one
  Event changed_;
  bool stopping_ = false;
  std::size_t waiting_ = 0;                                  // for repairs, beside the passes
  std::set<std::pair<std::string, std::string>> requested_;  // rule and target
  std::set<std::pair<std::string, std::string>> allowed_;    // whose next pass may delete anything
  std::set<std::pair<std::string, std::string>> closures_;   // whose next pass is a closure pass
  ClosureTimes closure_times_;
  Clock::time_point started_ = Clock::now();
  // When a closure pass that could not finish is begun again.
  std::map<std::pair<std::string, std::string>, Clock::time_point> closure_again_;
  // When the last complete pass began: what it did not find out of step was in step then.
  std::map<std::pair<std::string, std::string>, monitoring::Time> last_good_;
  std::set<std::pair<std::string, std::string>> failed_;  // whose last pass was not complete
  std::set<std::pair<std::string, std::string>>
      outdated_;  // the pass that runs goes by an old rule
  std::map<std::pair<std::string, std::string>, std::pair<std::string, Clock::time_point>>
      told_;  // of which failure of a pair the log said something, and when
};

}  // namespace transship
