#pragma once

#include "daemon/extras.h"
#include "daemon/retry.h"

namespace transship::commands {

// What became of a tag that was to go: with an error it was kept.
struct DeletedTag {
  PlacedTag tag;
  std::optional<Error> error = {};
};

// What a pass of deletes needs.
struct DeletePass {
  Fleet& fleet;
  PlacedTags& placed;
  const config::Config& config;
  const config::Rule& rule;
  config::RetryPolicy retry;
  Random& random;
  Semaphore& places;  // how many at once
};

// Deletes what a target has too much by a rule, all of it or, where the breaker stops it, nothing:
// then the rule's deletes stay stopped until an operator allows them.
asio::awaitable<std::vector<DeletedTag>> delete_extras(DeletePass pass, Extras extras,
                                                       bool allowed);

}  // namespace transship::commands
