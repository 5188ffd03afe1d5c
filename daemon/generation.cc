#include "daemon/generation.h"

#include <algorithm>

namespace transship {

Generation::Generation(config::Config its_config, http::Client& client, Observer& observer,
                       std::unique_ptr<StateDirectory> state)
    : config(std::move(its_config)),
      routes(config),
      fleet(client, config, observer, config.retry.for_daemon().longest_pause, std::move(state)) {}

Generation::Generation(config::Config its_config, const Generation& previous)
    : config(std::move(its_config)),
      routes(config),
      fleet(config, config.retry.for_daemon().longest_pause, previous.fleet) {}

std::vector<std::string> keys_that_need_a_restart(const config::Config& before,
                                                  const config::Config& after) {
  std::vector<std::string> keys;
  if (before.region != after.region) keys.emplace_back("region");
  if (before.bus != after.bus) keys.emplace_back("bus");
  if (before.http != after.http) keys.emplace_back("http");
  if (before.state != after.state) keys.emplace_back("state");
  return keys;
}

namespace {

bool has(const Generation& generation, const monitoring::Pair& pair) {
  const auto& pairs = generation.routes.pairs();
  return std::find(pairs.begin(), pairs.end(), pair) != pairs.end();
}

// What the rule brings there is the same in both.
bool is_same(const Generation& before, const Generation& after, const monitoring::Pair& pair) {
  if (!has(before, pair)) return false;
  const config::Rule& was = *before.config.find_rule(pair.rule);
  const config::Rule& is = *after.config.find_rule(pair.rule);
  const auto same_place = [&](const std::string& name) {
    return before.config.find_registry(name)->url == after.config.find_registry(name)->url;
  };
  return was.repositories == is.repositories && was.tags == is.tags && was.rename == is.rename &&
         was.referrers == is.referrers && was.deletes == is.deletes && same_place(pair.source) &&
         same_place(pair.target);
}

}  // namespace

std::vector<monitoring::Pair> pairs_that_are_new(const Generation& before,
                                                 const Generation& after) {
  std::vector<monitoring::Pair> pairs = after.routes.pairs();
  std::erase_if(pairs, [&](const monitoring::Pair& pair) { return is_same(before, after, pair); });
  return pairs;
}

std::vector<monitoring::Pair> pairs_that_are_gone(const Generation& before,
                                                  const Generation& after) {
  std::vector<monitoring::Pair> pairs = before.routes.pairs();
  std::erase_if(pairs, [&](const monitoring::Pair& pair) { return has(after, pair); });
  return pairs;
}

}  // namespace transship
