#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "daemon/bus/bus.h"

namespace transship::bus {

// What counts against max_message_bytes(): the body, and the headers as they are written on the
// wire.
std::size_t bytes_of(const Message& message);

// `invalid` where a message is over `bytes_max`, or has a header that could not be carried
// unchanged (a line break in it, a colon in its name) or a registry whose name is no single subject
// token.
Result<void> check(const std::vector<Message>& messages, std::size_t bytes_max);

// What equal messages share: the registry's name and the event's id, in at most 200 printable
// bytes; a longer or stranger id goes in as its SHA-256. Empty where the message has no id.
std::string dedup_key(const Message& message);

// Messages whose dedup_key is equal are one message for this long.
inline constexpr std::chrono::minutes duplicate_window{2};

}  // namespace transship::bus
