#pragma once

#include <chrono>
#include <optional>
#include <random>

#include "config/config.h"
#include "replicator/base/error.h"

// When to try or to look again: pure decisions about time.
namespace transship {

using Random = std::mt19937_64;

// The pause before the next try, after `failures` (at least 1) in a row: doubling from first_pause
// to longest_pause, a quarter more or less so that what failed together does not come back
// together. A Retry-After is obeyed up to longest_pause.
std::chrono::milliseconds retry_pause(const config::RetryPolicy& policy, unsigned failures,
                                      std::optional<std::chrono::milliseconds> retry_after,
                                      Random& random);

// Whether a one-shot command should try again: what an operator has to mend, or what is not there,
// stays so.
bool worth_another_try(const Error& error);

// Registries tell of a push before they serve it. After a look at the source that began `age` after
// the event arrived and did not show what the event said, this is the age at which to look again;
// nullopt: the push is stale, believe the source.
std::optional<std::chrono::milliseconds> next_look_with_digest(std::chrono::milliseconds age);
// The same for an event that names no digest: one late look, whatever the first one showed.
std::optional<std::chrono::milliseconds> next_look_without_digest(std::chrono::milliseconds age);

}  // namespace transship
