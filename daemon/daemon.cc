#include "daemon/daemon.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <csignal>
#include <random>

#include "daemon/bus/jetstream.h"
#include "daemon/bus/journal.h"
#include "daemon/log.h"

namespace transship {

namespace {

constexpr int exit_done = 0;
constexpr int exit_wrong_configuration = 2;
constexpr int exit_nothing_possible = 3;
constexpr std::chrono::milliseconds first_pause{250};
constexpr std::chrono::milliseconds longest_pause{10'000};
// What a daemon that died had in hand comes to another after this long; whoever lives says so three
// times as often.
constexpr std::chrono::seconds lease{10};

std::string random_instance() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

std::unique_ptr<StateDirectory> state_of(const config::Config& config) {
  if (const auto usable = StateDirectory::usable(config.state); !usable) {
    log::warning(usable.error().message + "; nothing is kept between runs, which costs time alone");
    return nullptr;
  }
  return std::make_unique<StateDirectory>(config.state);
}

std::unique_ptr<bus::Bus> make_bus(const config::Config& config) {
  if (const auto* jetstream = std::get_if<config::JetStreamBus>(&config.bus)) {
    bus::JetStreamOptions options{jetstream->servers, jetstream->stream, jetstream->subjects};
    if (jetstream->credentials_file)
      options.credentials_file = jetstream->credentials_file->string();
    options.client_name = user_agent(config.region);
    options.lease = lease;
    return std::make_unique<bus::JetStream>(std::move(options));
  }
  bus::JournalOptions options;
  options.directory = config.state;
  return std::make_unique<bus::Journal>(std::move(options));
}

}  // namespace

Daemon::Daemon(asio::io_context& loop, const config::Config& config, std::string config_file)
    : loop_(loop),
      config_file_(std::move(config_file)),
      instance_(random_instance()),
      metrics_(TRANSSHIP_VERSION, config.region.value_or("")),
      bus_(make_bus(config)),
      status_(generations_, *bus_, ledger_, metrics_),
      client_(loop.get_executor(), user_agent(config.region)),
      generations_(std::make_shared<Generation>(config, client_, status_, state_of(config))),
      dead_letters_(bus_->dead_letters(), generations_, ledger_, metrics_),
      dead_letters_api_(dead_letters_, generations_,
                        [this](const bus::DeadLetter& letter) { return retry(letter); }),
      outages_(loop.get_executor(), config.retry.for_daemon(),
               {[this](const std::string& registry) { return probe(registry); },
                [this](asio::awaitable<void> part) { spawn(std::move(part)); },
                [this](const std::string& registry, bool out) {
                  for (const auto& worker : workers_) worker->registry_changed(registry, out);
                  if (!out && reconciler_) reconciler_->registry_answers(registry);
                }}),
      placed_(loop.get_executor(), config.state,
              [](const Error& error) {
                log::warning("deletes cannot be propagated, and two-way rules go by times alone: " +
                                 error.message,
                             {{"error_kind", std::string(to_string(error.kind))}});
              }),
      two_way_(placed_),
      why_({generations_, dead_letters_, outages_, two_way_,
            [this](const std::string& target) { return worker_of(target); }}),
      intake_(*bus_, status_, metrics_, instance_,
              [this](const BlobHint& hint) { return take_hint(hint); }),
      hearing_({generations_, *bus_, intake_, outages_, status_, ledger_}),
      api_(generations_,
           {intake_, status_, dead_letters_api_, why_, history_, [this] { return metrics(); },
            [this](const std::string& rule, const std::string& target, Reconciler::Extent extent) {
              return reconciler_ && reconciler_->request(rule, target, extent);
            }}),
      server_(loop.get_executor(),
              [this](HttpRequest request) { return api_.answer(std::move(request)); }),
      signals_(loop, SIGTERM, SIGINT, SIGHUP),
      changed_(loop.get_executor()) {
  status_.adopt();
  for (const monitoring::Pair& pair : generations_.routes().pairs()) {
    ledger_.add_pair(pair);
    metrics_.add_pair(pair);
  }
  for (const config::Registry& registry : config.registries) metrics_.add_registry(registry.name);
}
Daemon::~Daemon() = default;

std::string Daemon::metrics() {
  metrics_.set_bus(status_.bus_works(), status_.bus_pending());
  return metrics_.render(ledger_, now());
}

// Counts the long-running parts, so that the end can wait for each of them.
void Daemon::spawn(asio::awaitable<void> part) {
  ++parts_running_;
  asio::co_spawn(loop_, std::move(part), [this](const std::exception_ptr& thrown) {
    --parts_running_;
    if (thrown && !stopping_) {
      fatal_ = Error{ErrorKind::transient, "internal error: a part of the daemon ended"};
      signals_.cancel();
    }
    changed_.notify();
  });
}

// The exit code where it cannot begin.
std::optional<int> Daemon::begin() {
  const config::Config& config = generations_.config();
  auto keys = Api::read_keys(config);
  if (!keys) {
    log::error(keys.error().message);
    return exit_wrong_configuration;
  }
  api_.set_keys(std::move(*keys));
  if (auto listening = server_.listen(config.http.listen.host, config.http.listen.port);
      !listening) {
    log::error(listening.error().message);
    return exit_nothing_possible;
  }
  log::info(fmt::format("transship {} listens on {}:{}", TRANSSHIP_VERSION, config.http.listen.host,
                        server_.port()),
            {{"region", config.region.value_or("")}, {"port", std::to_string(server_.port())}});
  if (generations_.routes().pairs().empty()) {
    log::warning("no rule has a target in this region: there is nothing to do",
                 {{"region", config.region.value_or("")}});
  }
  return std::nullopt;
}

asio::awaitable<int> Daemon::run() {
  if (const auto code = begin()) co_return *code;
  spawn(start_when_possible());
  spawn(reach_registries());
  spawn(feed_watchdog());
  spawn(keep_history());
  spawn(measure_loop());
  co_await wait_for_signal();
  co_await shut_down();
  if (fatal_) {
    log::error(fatal_->message, {{"error_kind", std::string(to_string(fatal_->kind))}});
    co_return exit_nothing_possible;
  }
  log::info("stopped");
  co_return exit_done;
}

asio::awaitable<void> Daemon::wait_for_signal() {
  while (!fatal_) {
    asio::error_code error;
    const int signal =
        co_await signals_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    if (signal != SIGHUP) {
      log::info(fmt::format("{}: finishing copies within {:g} s",
                            signal == SIGTERM ? "SIGTERM" : "SIGINT",
                            std::chrono::duration<double>(generations_.config().shutdown).count()));
      break;
    }
    reload();
  }
}

asio::awaitable<void> Daemon::pause(std::chrono::milliseconds duration) {
  const auto until = std::chrono::steady_clock::now() + duration;
  while (!stopping_ && std::chrono::steady_clock::now() < until)
    co_await changed_.wait_until(until);
}

// --- the start
// ----------------------------------------------------------------------------------------------------------

// While the bus does not answer we wait for it; what an operator has to mend ends the daemon.
asio::awaitable<void> Daemon::start_when_possible() {
  std::chrono::milliseconds wait = first_pause;
  bool told = false;
  while (!stopping_) {
    auto opened = co_await open_bus();
    if (opened) opened = co_await read_dead_letters();
    if (opened) opened = co_await open_workers();
    if (opened) break;
    if (opened.error().kind != ErrorKind::transient || bus_->type() == "journal") {
      fatal_ = opened.error();
      signals_.cancel();
      co_return;
    }
    if (!std::exchange(told, true))
      log::warning("waiting for the message bus: " + opened.error().message);
    co_await pause(wait);
    wait = std::min(wait * 2, longest_pause);
  }
  if (stopping_) co_return;
  for (const std::string& warning : bus_->warnings()) log::warning(warning);
  status_.set_consumers_ready();
  for (const auto& worker : workers_) spawn(worker->run());
  reconciler_ = std::make_unique<Reconciler>(
      shared(), [this](const std::string& target) { return worker_of(target); });
  spawn(reconciler_->run());
  spawn(watch_bus());
  spawn(watch_hearing());
  spawn(watch_registries());
  spawn(watch_dead_letters());
  take_over_workers();  // where the configuration changed meanwhile
  log::info(fmt::format("takes events from the {}", bus_->type()));
}

asio::awaitable<Result<void>> Daemon::open_bus() {
  auto opened = co_await bus_->open();
  if (!opened) co_return fail(opened.error().with_context("the message bus"));
  co_return Result<void>{};
}

asio::awaitable<Result<void>> Daemon::read_dead_letters() {
  auto read = co_await dead_letters_.refresh();
  if (!read) co_return fail(read.error().with_context("the dead letters"));
  co_return Result<void>{};
}

WorkerShared Daemon::shared() {
  return {loop_.get_executor(), generations_, ledger_, metrics_,
          dead_letters_,        outages_,     placed_, two_way_,
          delete_breaker_,      instance_};
}

asio::awaitable<Result<void>> Daemon::open_workers() {
  workers_.clear();
  const auto generation = generations_.now();
  for (const std::string& target : generation->routes.targets()) {
    auto inbox = co_await bus_->open_inbox(target);
    if (!inbox) co_return fail(inbox.error().with_context("the events of " + target));
    workers_.push_back(std::make_unique<Worker>(shared(), target, std::move(*inbox)));
  }
  const auto& targets = generation->routes.targets();
  co_return co_await bus_->forget_other_inboxes({targets.begin(), targets.end()});
}

asio::awaitable<void> Daemon::reach_registries() {
  for (const config::Registry& registry : generations_.config().registries)
    spawn(reach(registry.name));
  co_return;
}

// One that the configuration has no more is not asked: nobody waits for it.
asio::awaitable<Result<void>> Daemon::probe(std::string registry) {
  const auto generation = generations_.now();
  if (generation->config.find_registry(registry) == nullptr) co_return Result<void>{};
  co_return co_await generation->fleet.registry(registry).check_access();
}

// Asks until there is an answer once; later, its requests tell.
asio::awaitable<void> Daemon::reach(std::string registry) {
  std::chrono::milliseconds wait = first_pause;
  bool told = false;
  while (!stopping_ && !status_.was_reached(registry)) {
    auto reached = co_await probe(registry);
    if (reached || !reached.error().unanswered) {
      status_.set_reachable(registry);
      break;
    }
    status_.set_unreachable(registry, reached.error().message);
    if (!std::exchange(told, true)) {
      log::warning(registry + " does not answer yet: " + reached.error().message,
                   {{"registry", registry}});
    }
    co_await pause(wait);
    wait = std::min(wait * 2, longest_pause);
  }
}

// --- while it runs
// ------------------------------------------------------------------------------------------------------

// JetStream gives it to one of each target's daemons, wherever they are. On the journal, which is
// this daemon's alone, it need not wait for the disk.
bool Daemon::take_hint(const BlobHint& hint) {
  if (bus_->type() == "jetstream")
    return generations_.routes().anybody_prefetches(hint.registry, hint.repository.str());
  for (const auto& worker : workers_) worker->hint(hint);
  return false;
}

Worker* Daemon::worker_of(const std::string& target) const {
  const auto found = std::find_if(workers_.begin(), workers_.end(),
                                  [&](const auto& worker) { return worker->target() == target; });
  return found == workers_.end() ? nullptr : found->get();
}

bool Daemon::retry(const bus::DeadLetter& letter) {
  const config::Rule* rule = generations_.config().find_rule(letter.rule);
  Worker* worker = worker_of(letter.target);
  const auto image = oci::ImageName::parse(letter.image);
  if (rule == nullptr || worker == nullptr || !image) return false;
  for (const Route& route : generations_.routes().to(
           letter.target, rule->source, image->repository.str(), image->reference.str())) {
    if (route.rule != rule) continue;
    worker->retry(route, letter);
    return true;
  }
  return false;
}

// Tells systemd that we are up, and then that the loop still turns.
asio::awaitable<void> Daemon::feed_watchdog() {
  std::uint64_t interval_us = 0;
  const bool watched = ::sd_watchdog_enabled(0, &interval_us) > 0;
  while (!stopping_) {
    if (!told_ready_ && status_.readiness()["ready"].get<bool>()) {
      told_ready_ = true;
      ::sd_notify(0, "READY=1");
      log::info("ready");
    }
    if (watched) ::sd_notify(0, "WATCHDOG=1");
    std::chrono::milliseconds wait(told_ready_ ? 5000 : 100);
    if (watched) wait = std::min(wait, std::chrono::milliseconds(interval_us / 3000));
    co_await pause(wait);
  }
}

// --- the end
// ------------------------------------------------------------------------------------------------------------

asio::awaitable<void> Daemon::shut_down() {
  stopping_ = true;
  ::sd_notify(0, "STOPPING=1");
  changed_.notify();
  if (reconciler_) reconciler_->stop();
  outages_.stop();
  server_.stop();
  const auto deadline = std::chrono::steady_clock::now() + generations_.config().shutdown;
  TaskGroup group(co_await asio::this_coro::executor);
  const auto stop = [](Worker& stopped,
                       std::chrono::steady_clock::time_point by) -> asio::awaitable<Result<void>> {
    co_await stopped.stop(by);
    co_return Result<void>{};
  };
  for (const auto& worker : workers_) group.spawn(stop(*worker, deadline));
  for (const auto& worker : retired_) {
    if (retiring_.contains(worker->target())) group.spawn(stop(*worker, deadline));
  }
  static_cast<void>(co_await group.join());
  co_await bus_->close();
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (parts_running_ > 0 && std::chrono::steady_clock::now() < patience)
    co_await changed_.wait_until(patience);
}

}  // namespace transship
