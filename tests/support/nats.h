#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace transship::testing {

// A request to NATS, on a connection of its own, and its answer; null where none comes within 2 s.
// JetStream's API takes and gives JSON: "$JS.API.STREAM.INFO.REGISTRY_EVENTS".
nlohmann::json nats_request(const std::string& url, const std::string& subject,
                            const std::string& body = {});

// The events that a target's consumer has not acknowledged yet; nullopt where nobody says.
std::optional<std::uint64_t> unacknowledged(const std::string& url, const std::string& target,
                                            const std::string& stream = "REGISTRY_EVENTS");

}  // namespace transship::testing
