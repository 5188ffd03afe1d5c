#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "monitoring/ledger.h"

// Where a push has to go: pure decisions about names.
namespace transship {

struct Route {
  const config::Rule* rule;  // lives as long as the configuration
  std::string target;        // a registry's name
  std::string target_repository;
};

// Whether a rule wants what a push names, a tag or a digest: a tag that it matches, or, where it
// carries referrers, what may refer to an image of its repositories: a signature tag, a manifest
// that was pushed by digest alone.
bool wants(const config::Rule& rule, std::string_view repository, std::string_view reference);

// The repository of the source that a rule would carry to this one of its targets, where there is
// one: rename, undone.
std::optional<std::string> source_of(const config::Rule& rule, std::string_view target_repository);

// Whether a rule has the blobs of this repository copied while a push still goes on.
bool prefetches(const config::Rule& rule, std::string_view repository);

class Routes {
 public:
  // Keeps to the targets that a daemon of the configuration's region works for: those of its
  // region, and those that name none; all of them where it has no region.
  explicit Routes(const config::Config& config);

  // The pairs of rule and target that this daemon works for, in the configuration's order.
  [[nodiscard]] const std::vector<monitoring::Pair>& pairs() const { return pairs_; }
  // Whether this rule and target are one of them.
  [[nodiscard]] bool serves(std::string_view rule, std::string_view target) const;
  // The targets among them, each once.
  [[nodiscard]] const std::vector<std::string>& targets() const { return targets_; }

  // The ways to one target for a tag, or a digest, of the source.
  [[nodiscard]] std::vector<Route> to(std::string_view target, std::string_view source,
                                      std::string_view repository,
                                      std::string_view reference) const;
  // The ways to one target for a blob that was pushed to the source.
  [[nodiscard]] std::vector<Route> for_blobs(std::string_view target, std::string_view source,
                                             std::string_view repository) const;
  // Whether a target of any region wants it.
  [[nodiscard]] bool anybody_prefetches(std::string_view source, std::string_view repository) const;

 private:
  const config::Config& config_;
  std::vector<monitoring::Pair> pairs_;
  std::vector<std::string> targets_;
};

}  // namespace transship
