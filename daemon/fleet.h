#pragma once

#include <map>
#include <memory>
#include <string>

#include "config/config.h"
#include "replicator/registry/registry.h"
#include "replicator/target.h"

namespace transship {

// The registries of the configuration as the engine uses them, and its targets. Everything that
// copies shares one fleet, so that limits and what was learnt hold for all.
class Fleet {
 public:
  // `state`: what may be kept between runs; none where nothing is.
  Fleet(http::Client& client, const config::Config& config, Observer& observer,
        std::chrono::milliseconds longest_wait, std::unique_ptr<StateDirectory> state = {});
  // What another configuration makes of it. Registries and targets that it leaves as they were are
  // the same objects in both; what all copies share is shared as well.
  Fleet(const config::Config& config, std::chrono::milliseconds longest_wait,
        const Fleet& previous);

  // The name must be one of the configuration's.
  registry::Registry& registry(const std::string& name) { return *registries_.at(name).registry; }
  Target& target(const std::string& name);
  // Null where nothing is kept between runs.
  [[nodiscard]] StateDirectory* state() { return commons_->state.get(); }
  [[nodiscard]] asio::any_io_executor executor() const { return client_.executor(); }

 private:
  // What a registry was made of.
  struct Making {
    config::Registry configured;
    std::chrono::milliseconds stall;
    std::chrono::milliseconds longest_wait;
    [[nodiscard]] bool makes_the_same_as(const Making& other) const;
  };
  struct Entry {
    Making making;
    std::shared_ptr<registry::Registry> registry;
  };
  [[nodiscard]] std::shared_ptr<registry::Registry> make(const Making& making) const;

  http::Client& client_;
  Observer& observer_;
  std::size_t blobs_at_once_;
  std::shared_ptr<Commons> commons_;
  std::map<std::string, Entry> registries_;
  std::map<std::string, std::shared_ptr<Target>> targets_;
};

// How we present ourselves to registries: "transship/<version> (<region>)". Several of them echo it
// in their events.
std::string user_agent(const std::optional<std::string>& region);

}  // namespace transship
