#pragma once

#include <nats/nats.h>

#include <string>
#include <string_view>
#include <vector>

#include "daemon/bus/jetstream.h"

// Whether a stream or a durable consumer that is there already can keep the bus's promises. No I/O.
namespace transship::bus {

// How long a stream that we make keeps an event.
inline constexpr std::chrono::hours stream_max_age{14 * 24};

// By how many servers of a cluster it is kept: one may be lost.
inline constexpr int stream_replicas = 3;

// True when every subject that `subject` matches is matched by `pattern`, by NATS's rules for "*"
// and ">".
bool covers(std::string_view pattern, std::string_view subject);

// The subject of a registry's events: the first of `subjects` that can name it. `invalid` where
// none can.
Result<std::string> subject_of(const std::vector<std::string>& subjects, std::string_view registry);

// `invalid`, and which setting to change, where events would be lost; adds a sentence to `warnings`
// where they might.
Result<void> check_stream(const jsStreamConfig& stream, const JetStreamOptions& options,
                          std::vector<std::string>& warnings);

// Warns of a stream of a cluster that the loss of one server would stop.
void check_replicas(const jsStreamConfig& stream, std::vector<std::string>& warnings);

// `invalid` where the consumer cannot be shared by daemons that acknowledge late, one by one, and
// try for ever.
Result<void> check_consumer(const jsConsumerConfig& consumer, const JetStreamOptions& options);

}  // namespace transship::bus
