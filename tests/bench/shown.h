#pragma once

#include <string_view>

namespace transship::testing {

// What bench_responder shows under every tag, and bench_events tells of.
inline constexpr std::string_view shown_digest =
    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

}  // namespace transship::testing
