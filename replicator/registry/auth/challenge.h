#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace transship::registry {

// One challenge of a WWW-Authenticate header (RFC 9110 section 11.6.1). Names are in lower case.
struct Challenge {
  std::string scheme;
  std::map<std::string, std::string> parameters;
};

// Reads all challenges of the header's value; what breaks the grammar ends the list.
std::vector<Challenge> parse_challenges(std::string_view value);

// Seconds or an HTTP date (RFC 9110 section 10.2.3), as seconds from `now` (seconds since the
// epoch), not negative.
std::optional<long> parse_retry_after(std::string_view value, long now);

}  // namespace transship::registry
