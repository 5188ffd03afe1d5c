#include <fmt/format.h>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <nlohmann/json.hpp>

#include "config/reader.h"
#include "daemon/bus/jetstream.h"
#include "daemon/commands/commands.h"
#include "daemon/fleet.h"
#include "daemon/routes.h"

namespace transship::commands {

namespace {

// One thing that was reached, or not.
struct Reached {
  std::string what;
  std::optional<Error> error;
  std::vector<std::string> warnings = {};
};

// The stream, and the consumers that this configuration's daemon would use.
asio::awaitable<Reached> reach_bus(bus::JetStream& bus, const config::Config& config) {
  Reached reached{"bus jetstream", std::nullopt};
  auto good = co_await bus.open();
  const Routes routes(config);
  for (const std::string& target : routes.targets()) {
    if (good) good = co_await bus.check_inbox(target);
  }
  if (!good) reached.error = good.error();
  reached.warnings = bus.warnings();
  co_return reached;
}

// Where an operator should look.
std::string with_hint(const config::Registry& registry, const Error& error) {
  if (error.unanswered && error.message.find("certificate") != std::string::npos)
    return fmt::format("{} (see registries.{}.tls)", error.message, registry.name);
  if (error.kind != ErrorKind::unauthorized) return error.message;
  const bool anonymous = std::holds_alternative<config::AnonymousAuth>(registry.auth);
  return fmt::format("{} ({} registries.{}.auth)", error.message,
                     anonymous ? "no credentials are configured: see" : "see", registry.name);
}

asio::awaitable<std::vector<Reached>> reach_all(http::Client& client,
                                                const config::Config& config) {
  std::vector<Reached> all;
  Observer observer;
  Fleet fleet(client, config, observer, std::chrono::seconds(5));
  for (const config::Registry& registry : config.registries) {
    auto answered = co_await fleet.registry(registry.name).check_access();
    Reached reached{"registry " + registry.name, std::nullopt};
    if (!answered) {
      reached.error = answered.error();
      reached.error->message = with_hint(registry, answered.error());
    }
    all.push_back(std::move(reached));
  }
  if (const auto* jetstream = std::get_if<config::JetStreamBus>(&config.bus)) {
    bus::JetStreamOptions options{jetstream->servers, jetstream->stream, jetstream->subjects};
    if (jetstream->credentials_file)
      options.credentials_file = jetstream->credentials_file->string();
    bus::JetStream bus(std::move(options));
    all.push_back(co_await reach_bus(bus, config));
    co_await bus.close();
  }
  co_return all;
}

void print(const Common& common, const std::vector<Reached>& all) {
  for (const Reached& reached : all) {
    if (common.output == Output::json) {
      nlohmann::ordered_json line{
          {"type", "reached"}, {"what", reached.what}, {"reachable", !reached.error}};
      line["error"] = nullptr;
      if (reached.error) {
        line["error"] = {{"kind", to_string(reached.error->kind)},
                         {"message", reached.error->message}};
      }
      if (!reached.warnings.empty()) line["warnings"] = reached.warnings;
      fmt::print("{}\n", line.dump());
      continue;
    }
    fmt::print("{}: {}\n", reached.what, reached.error ? reached.error->message : "ok");
    for (const std::string& warning : reached.warnings)
      fmt::print("{}: warning: {}\n", reached.what, warning);
  }
}

int check_online(const Common& common, const config::Config& config) {
  asio::io_context loop(1);
  http::Client client(loop.get_executor(), user_agent(config.region));
  std::vector<Reached> all;
  asio::co_spawn(loop, reach_all(client, config),
                 [&](const std::exception_ptr&, std::vector<Reached> found) {
                   all = std::move(found);
                   loop.stop();
                 });
  loop.run();
  print(common, all);
  std::size_t failed = 0;
  std::size_t unanswered = 0;
  for (const Reached& reached : all) {
    failed += reached.error ? 1 : 0;
    unanswered +=
        reached.error && (reached.error->unanswered || reached.what.starts_with("bus")) ? 1 : 0;
  }
  if (failed == 0) return 0;
  return unanswered == all.size() ? 3 : 1;
}

}  // namespace

int check(const Common& common, bool online) {
  const auto config = config::read_file(common.config_file);
  if (!config) {
    for (const config::Mistake& mistake : config.error()) fmt::print("{}\n", to_string(mistake));
    return 2;
  }
  if (common.output == Output::text) {
    fmt::print("{}: valid ({} registries, {} rules; this daemon works for {} targets)\n",
               common.config_file, config->registries.size(), config->rules.size(),
               Routes(*config).targets().size());
  }
  return online ? check_online(common, *config) : 0;
}

}  // namespace transship::commands
