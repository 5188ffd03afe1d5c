#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/extras.h"
#include "daemon/worker.h"

namespace transship {

// Finds what events missed: lists what the rules match at the source, compares the digests of both
// sides with at most one request a tag at each, and sends what differs down the same line as
// events, behind them.
class Reconciler {
 public:
  Reconciler(WorkerShared shared, std::vector<Worker*> workers);

  // Passes at the start and at every interval, as configured, and whenever one is asked for, until
  // stop().
  asio::awaitable<void> run();
  void stop();

  // Asks for a pass over a rule, a target, or (both empty) everything; false where there is no such
  // pair. An operator may allow the pass its deletes, however many.
  bool request(const std::string& rule, const std::string& target, bool allow_deletes);

 private:
  using Clock = std::chrono::steady_clock;

  // One rule and target during one pass.
  struct Side {
    monitoring::Pair pair;
    Worker* worker;
    std::set<std::string> tags;  // of the repository that is being compared, at the target
    std::uint64_t missing = 0;
    std::uint64_t different = 0;
    std::uint64_t extra = 0;
    std::set<std::string> found;  // images that differ, as the source names them
    std::optional<Error> error;
  };

  [[nodiscard]] std::vector<Side> sides_of(const config::Rule& rule) const;
  asio::awaitable<void> pass(const config::Rule& rule, std::vector<Side> sides);
  asio::awaitable<Result<void>> compare_all(const config::Rule& rule, std::vector<Side>& sides,
                                            ExtraSearch* extras);
  asio::awaitable<Result<void>> compare_repository(const config::Rule& rule,
                                                   std::vector<Side>& sides,
                                                   oci::Repository repository, ExtraSearch* extras);
  asio::awaitable<void> list_target(const config::Rule& rule, Side& side,
                                    const oci::Repository& repository);
  asio::awaitable<Result<void>> compare_tag(const config::Rule& rule, std::vector<Side>& sides,
                                            oci::Repository repository, oci::Tag tag);
  asio::awaitable<void> found_different(const config::Rule& rule, Side& side,
                                        const oci::Repository& repository, const oci::Tag& tag);
  // reconcile_deletes.cc: what the targets have too much.
  std::unique_ptr<ExtraSearch> search_of(const config::Rule& rule, const std::vector<Side>& sides);
  void note_in_step(const config::Rule& rule, const Side& side, const oci::Repository& repository,
                    const oci::Tag& tag, const oci::Digest& digest);
  asio::awaitable<void> find_extras(const config::Rule& rule, std::vector<Side>& sides,
                                    ExtraSearch& search);
  asio::awaitable<void> remove_extras(const config::Rule& rule, Side& side, const Extras& extras);
  asio::awaitable<void> wait_for_room(const Side& side);
  asio::awaitable<void> recall_stopped_deletes();
  void report(const Side& side, monitoring::Time started, Clock::duration took);
  asio::awaitable<void> wait_until_repaired(monitoring::Pair pair, Worker* worker,
                                            std::set<std::string> found, monitoring::Time started);
  asio::awaitable<Result<std::vector<std::string>>> repositories_of(const config::Rule& rule);

  WorkerShared shared_;
  std::vector<Worker*> workers_;
  Event changed_;
  bool stopping_ = false;
  std::size_t waiting_ = 0;                                  // for repairs, beside the passes
  std::set<std::pair<std::string, std::string>> requested_;  // rule and target
  std::set<std::pair<std::string, std::string>> allowed_;    // whose next pass may delete anything
  std::map<std::pair<std::string, std::string>, monitoring::Time>
      last_good_;  // when the last complete pass began
};

}  // namespace transship
