#include <algorithm>
#include <map>
#include <utility>

#include "daemon/certificates.h"
#include "daemon/daemon.h"
#include "daemon/log.h"

// What the daemon looks at now and then for as long as it runs.
namespace transship {

namespace {

constexpr std::chrono::seconds look_at_bus_every{2};
constexpr std::chrono::milliseconds look_at_hearing_every{250};
// Where we are disturbed time after time, missed pushes are searched for no more often than this.
constexpr std::chrono::seconds searches_apart{10};
// A registry that nothing was asked of for so long is asked whether it is still there.
constexpr std::chrono::seconds quiet_max{30};
constexpr std::chrono::seconds look_at_registries_every{5};
// Other daemons of a target may have put or removed some.
constexpr std::chrono::seconds read_dead_letters_every{10};
constexpr std::chrono::milliseconds look_at_loop_every{250};

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

}  // namespace

asio::awaitable<void> Daemon::watch_bus() {
  while (!stopping_) {
    std::uint64_t pending = 0;
    bool known = bus_->connected();
    std::vector<Worker*> workers;  // as they are now
    for (const auto& worker : workers_) workers.push_back(worker.get());
    for (Worker* worker : workers) {
      if (!known) break;
      auto backlog = co_await worker->inbox().backlog();
      known = backlog.has_value();
      if (!backlog) break;
      pending += backlog->messages;
      worker->set_backlog(*backlog);
    }
    if (known) status_.set_bus_pending(pending);
    co_await pause(look_at_bus_every);
  }
}

asio::awaitable<void> Daemon::watch_hearing() {
  std::set<std::pair<std::string, std::string>> wanted;  // rule and target
  auto next_search = std::chrono::steady_clock::now();
  while (!stopping_) {
    for (const monitoring::Pair& pair : hearing_.look(now()))
      wanted.emplace(pair.rule, pair.target);
    if (!wanted.empty() && std::chrono::steady_clock::now() >= next_search) {
      for (const auto& [rule, target] : std::exchange(wanted, {})) {
        log::info("pushes may have been missed: looking for them",
                  {{"rule", rule}, {"target", target}});
        reconciler_->request(rule, target, {});
      }
      next_search = std::chrono::steady_clock::now() + searches_apart;
    }
    co_await pause(look_at_hearing_every);
  }
}

// So that what we say of one that died while nothing was pushed does not stay true for long.
asio::awaitable<void> Daemon::watch_registries() {
  while (!stopping_) {
    co_await pause(look_at_registries_every);
    const auto generation = generations_.now();
    for (const config::Registry& registry : generation->config.registries) {
      if (stopping_ || outages_.is_out(registry.name)) continue;
      const auto answered = status_.last_answer_of(registry.name);
      if (answered && now() - *answered > quiet_max)
        outages_.suspect(registry.name, Outages::Doubt::answers);
    }
  }
}

asio::awaitable<void> Daemon::watch_dead_letters() {
  while (!stopping_) {
    co_await pause(read_dead_letters_every);
    if (stopping_ || !bus_->connected()) continue;
    if (auto read = co_await dead_letters_.refresh(); !read)
      log::warning("the dead letters cannot be read: " + read.error().message);
  }
}

asio::awaitable<void> Daemon::keep_history() {
  const auto copied = [this](const monitoring::Pair& pair) {
    return History::Copied{metrics_.images_copied(pair), metrics_.bytes_copied(pair)};
  };
  int samples = 0;
  while (!stopping_) {
    history_.sample(ledger_.report(now()), copied, now());
    if (std::exchange(samples, (samples + 1) % 4) == 0) report_ends();
    co_await pause(History::every);
  }
}

// Of what the configuration names; of the registries' own certificates their answers tell.
void Daemon::report_ends() {
  const config::Config& config = generations_.config();
  std::map<std::pair<std::string, std::string>, monitoring::Time> ends;
  for (const CertificateEnd& end : certificate_ends(config))
    ends[{end.registry, end.kind}] = end.at;
  for (const CredentialEnd& end : credential_ends(config)) ends[{end.registry, end.kind}] = end.at;
  const auto end_of = [&](const std::string& registry, const std::string& kind) {
    const auto found = ends.find({registry, kind});
    return found == ends.end() ? std::nullopt : std::optional(found->second);
  };
  for (const config::Registry& registry : config.registries) {
    for (const char* kind : {"client", "ca"})
      metrics_.set_certificate_end(registry.name, kind, end_of(registry.name, kind));
    metrics_.set_credential_end(registry.name, "password", end_of(registry.name, "password"));
    if (registry.url.scheme != config::Scheme::https)
      metrics_.set_certificate_end(registry.name, "server", std::nullopt);
  }
  metrics_.set_credential_end({}, "bus", end_of({}, "bus"));
}

// What else is to be done waits as long as this timer does.
asio::awaitable<void> Daemon::measure_loop() {
  while (!stopping_) {
    const auto due = std::chrono::steady_clock::now() + look_at_loop_every;
    co_await pause(look_at_loop_every);
    if (!stopping_) metrics_.loop_delayed(std::chrono::steady_clock::now() - due);
  }
}

}  // namespace transship
