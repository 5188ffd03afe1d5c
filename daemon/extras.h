#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "daemon/fleet.h"
#include "daemon/placed_tags.h"

namespace transship {

// What one target has too much by a rule.
struct Extras {
  std::string target;
  std::vector<PlacedTag> tags;  // it shows each as the rule placed it, and the source has none
  PlacedTags::Standing standing;
  struct Failure {
    std::string image;  // as the source names it; empty where nothing could be looked at
    Error error;
  };
  std::vector<Failure> failures;  // of these nobody knows

  // Whether the breaker lets none of them go, and why, for people.
  [[nodiscard]] bool are_stopped() const;
  [[nodiscard]] std::string why_stopped() const;
};

// Looks for tags that a rule, whose deletes propagate, put at its targets or found there in step,
// and that the source no longer has. That a list lacks a tag is no more than a hint: each is asked
// for by name, and only a plain 404 counts.
class ExtraSearch {
 public:
  static constexpr std::size_t candidates_max =
      100'000;  // in one pass; the next one finds the rest

  // Where `forgets`, what is no longer as the rule placed it is forgotten.
  ExtraSearch(Fleet& fleet, const config::Config& config, PlacedTags& placed,
              const config::Rule& rule, std::vector<std::string> targets, bool forgets);

  // The source lists these tags, in order, of a repository: none where it has no such repository.
  asio::awaitable<void> compare(std::string repository, const std::vector<std::string>& listed);
  // One tag, whatever a list says.
  asio::awaitable<void> compare_tag(std::string repository, std::string tag);
  // Nothing is known of it: its list could not be had.
  void skip(const std::string& repository) { seen_.insert(repository); }
  void skip_target(const std::string& target);
  // Compares the repositories that the source listed no longer: neither compared nor skipped.
  asio::awaitable<void> compare_vanished();

  // Asks the registries, at most one request for each tag at each side; one result a target.
  asio::awaitable<std::vector<Extras>> find();

 private:
  struct Side {
    std::string target;
    PlacedBy by;
    Extras found;
  };
  using Candidate = std::pair<std::string, std::string>;  // repository and tag of the source
  struct Placement {
    Side* side;
    PlacedTag tag;
  };

  asio::awaitable<Result<bool>> is_extra(const Placement& placement);
  [[nodiscard]] bool is_wanted(const PlacedTag& tag) const;
  void add(Side& side, PlacedTag tag);
  asio::awaitable<void> look(const Candidate& candidate, const std::vector<Placement>& placements);
  asio::awaitable<void> look_at_target(const Placement& placement);

  Fleet& fleet_;
  const config::Config& config_;
  PlacedTags& placed_;
  const config::Rule& rule_;
  bool forgets_;
  std::vector<Side> sides_;
  std::set<std::string> seen_;
  std::map<Candidate, std::vector<Placement>> candidates_;
};

// Whether another rule has a say: it carries another image to this very tag of the target, and its
// source has it. Costs a request only where there is such a rule. Errors: what the source says.
asio::awaitable<Result<bool>> is_claimed(Fleet& fleet, const config::Config& config,
                                         const config::Rule& rule, std::string target,
                                         PlacedTag tag);

}  // namespace transship
