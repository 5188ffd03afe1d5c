#pragma once

#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <memory>
#include <set>
#include <vector>

#include "daemon/api.h"
#include "daemon/hearing.h"
#include "daemon/reconcile.h"
#include "daemon/why.h"
#include "daemon/worker.h"

namespace transship {

// `transship run`: puts the parts together, starts them in order, and ends them in order.
class Daemon {
 public:
  // `config_file`: where the configuration came from; SIGHUP has it read again.
  Daemon(asio::io_context& loop, const config::Config& config, std::string config_file);
  ~Daemon();

  // Runs until SIGTERM or SIGINT. Returns the exit code of the command.
  asio::awaitable<int> run();

 private:
  std::optional<int> begin();
  asio::awaitable<Result<void>> open_bus();
  asio::awaitable<Result<void>> read_dead_letters();
  asio::awaitable<Result<void>> open_workers();
  asio::awaitable<void> start_when_possible();
  asio::awaitable<void> reach_registries();
  asio::awaitable<void> reach(std::string registry);
  bool retry(const bus::DeadLetter& letter);
  bool take_hint(const BlobHint& hint);
  [[nodiscard]] Worker* worker_of(const std::string& target) const;
  asio::awaitable<Result<void>> probe(std::string registry);
  asio::awaitable<void> feed_watchdog();
  Worker& start_worker(std::string target, std::unique_ptr<bus::Inbox> inbox);

  // watches.cc: what is looked at now and then.
  asio::awaitable<void> watch_bus();
  asio::awaitable<void> watch_hearing();
  asio::awaitable<void> watch_registries();
  asio::awaitable<void> watch_dead_letters();
  asio::awaitable<void> keep_history();
  asio::awaitable<void> measure_loop();
  void report_ends();

  // reload.cc: SIGHUP.
  void reload();
  Result<void> read_again();
  void take_over(config::Config config, Api::Keys keys);
  void take_over_names(const Generation& before, const Generation& next);
  void take_over_workers();
  asio::awaitable<void> open_new_workers();
  [[nodiscard]] std::optional<std::string> target_without_worker() const;
  asio::awaitable<void> retire(Worker& worker);
  asio::awaitable<void> wait_for_signal();
  asio::awaitable<void> shut_down();
  asio::awaitable<void> pause(std::chrono::milliseconds duration);
  void spawn(asio::awaitable<void> part);
  std::string metrics();
  [[nodiscard]] WorkerShared shared();

  asio::io_context& loop_;
  std::string config_file_;
  std::string instance_;
  monitoring::Ledger ledger_;
  monitoring::Metrics metrics_;
  std::unique_ptr<bus::Bus> bus_;
  Status status_;
  http::Client client_;
  Generations generations_;
  DeadLetterBook dead_letters_;
  DeadLettersApi dead_letters_api_;
  Outages outages_;
  PlacedTags placed_;
  TwoWay two_way_;
  DeleteBreaker delete_breaker_;
  Why why_;
  History history_;
  Intake intake_;
  Hearing hearing_;
  Api api_;
  HttpServer server_;
  std::vector<std::unique_ptr<Worker>> workers_;
  // Of targets that the configuration has no more: they finish what runs, and are of no use then.
  std::vector<std::unique_ptr<Worker>> retired_;
  std::set<std::string> retiring_;  // their targets, until they have finished
  bool opening_workers_ = false;
  std::unique_ptr<Reconciler> reconciler_;
  asio::signal_set signals_;
  Event changed_;
  std::size_t parts_running_ = 0;
  bool stopping_ = false;
  bool told_ready_ = false;
  std::optional<Error> fatal_;
};

}  // namespace transship
