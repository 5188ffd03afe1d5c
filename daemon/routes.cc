#include "daemon/routes.h"

#include <algorithm>

#include "replicator/oci/referrers_tag.h"

namespace transship {

namespace {

bool is_of_its_region(const config::Config& config, const std::string& target) {
  const config::Registry* registry = config.find_registry(target);
  return !config.region || !registry->region || *registry->region == *config.region;
}

}  // namespace

bool wants(const config::Rule& rule, std::string_view repository, std::string_view reference) {
  if (!rule.repositories.matches(repository)) return false;
  const bool is_digest = reference.find(':') != std::string_view::npos;
  return is_digest || oci::ReferrersTag::parse(reference) ? rule.referrers
                                                          : rule.tags.matches(reference);
}

bool prefetches(const config::Rule& rule, std::string_view repository) {
  switch (rule.prefetch) {
    case config::Prefetch::never:
      return false;
    case config::Prefetch::automatic:
      return rule.tags.matches_everything() && rule.repositories.matches(repository);
    case config::Prefetch::always:
      return rule.repositories.matches(repository);
  }
  return false;
}

std::optional<std::string> source_of(const config::Rule& rule, std::string_view target_repository) {
  constexpr std::string_view placeholder = "{repository}";
  const std::string& rename = rule.rename;
  std::size_t times = 0;
  for (std::size_t at = rename.find(placeholder); at != std::string::npos;
       at = rename.find(placeholder, at + placeholder.size()))
    ++times;
  const std::size_t fixed = rename.size() - times * placeholder.size();
  std::string source;
  if (times == 0) {  // a rule of one repository, named in full
    const auto literal = rule.repositories.literal();
    if (literal && literal->size() == 1) source = literal->front();
  } else if (target_repository.size() > fixed) {
    source = target_repository.substr(rename.find(placeholder),
                                      (target_repository.size() - fixed) / times);
  }
  if (source.empty() || rule.target_repository(source) != target_repository ||
      !rule.repositories.matches(source))
    return std::nullopt;
  return source;
}

Routes::Routes(const config::Config& config) : config_(config) {
  for (const config::Rule& rule : config.rules) {
    for (const std::string& target : rule.targets) {
      if (!is_of_its_region(config, target)) continue;
      pairs_.push_back({rule.name, rule.source, target});
      if (std::find(targets_.begin(), targets_.end(), target) == targets_.end())
        targets_.push_back(target);
    }
  }
}

bool Routes::serves(std::string_view rule, std::string_view target) const {
  return std::any_of(pairs_.begin(), pairs_.end(), [&](const monitoring::Pair& pair) {
    return pair.rule == rule && pair.target == target;
  });
}

std::vector<Route> Routes::to(std::string_view target, std::string_view source,
                              std::string_view repository, std::string_view reference) const {
  std::vector<Route> routes;
  for (const config::Rule& rule : config_.rules) {
    if (rule.source != source || !wants(rule, repository, reference)) continue;
    if (serves(rule.name, target))
      routes.push_back({&rule, std::string(target), rule.target_repository(repository)});
  }
  return routes;
}

std::vector<Route> Routes::for_blobs(std::string_view target, std::string_view source,
                                     std::string_view repository) const {
  std::vector<Route> routes;
  for (const config::Rule& rule : config_.rules) {
    if (rule.source == source && prefetches(rule, repository) && serves(rule.name, target))
      routes.push_back({&rule, std::string(target), rule.target_repository(repository)});
  }
  return routes;
}

bool Routes::anybody_prefetches(std::string_view source, std::string_view repository) const {
  return std::any_of(config_.rules.begin(), config_.rules.end(), [&](const config::Rule& rule) {
    return rule.source == source && prefetches(rule, repository);
  });
}

}  // namespace transship
