#pragma once

#include <optional>
#include <string_view>

#include "daemon/events/event.h"

namespace transship::events {

// RFC 3339 with 0 to 9 digits of a second's fraction, "Z" or an offset; cut to milliseconds.
// Nothing for anything else.
std::optional<EventTime> time_of_rfc3339(std::string_view text);

// Seconds since the epoch as a JSON number is written: integer, fraction, exponent; cut to
// milliseconds. Nothing outside the years 1970 to 9999.
std::optional<EventTime> time_of_epoch(std::string_view number);

}  // namespace transship::events
