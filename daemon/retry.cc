#include "daemon/retry.h"

#include <algorithm>
#include <array>

namespace transship {

using std::chrono::milliseconds;

milliseconds retry_pause(const config::RetryPolicy& policy, unsigned failures,
                         std::optional<milliseconds> retry_after, Random& random) {
  milliseconds pause = policy.first_pause;
  for (unsigned i = 1; i < failures && pause < policy.longest_pause; ++i) pause *= 2;
  pause = std::min(pause, policy.longest_pause);
  std::uniform_real_distribution<double> jitter(0.75, 1.25);
  pause = milliseconds(
      static_cast<milliseconds::rep>(static_cast<double>(pause.count()) * jitter(random)));
  if (retry_after) pause = std::max(pause, *retry_after);
  return std::min(pause, policy.longest_pause);
}

bool worth_another_try(const Error& error) {
  return error.kind == ErrorKind::transient || error.kind == ErrorKind::throttled ||
         error.kind == ErrorKind::corrupt;
}

std::optional<milliseconds> next_look_with_digest(milliseconds age) {
  constexpr std::array looks{milliseconds(100), milliseconds(300), milliseconds(1000),
                             milliseconds(3000)};
  const auto next =
      std::find_if(looks.begin(), looks.end(), [&](milliseconds look) { return look > age; });
  if (next == looks.end()) return std::nullopt;
  return *next;
}

std::optional<milliseconds> next_look_without_digest(milliseconds age) {
  constexpr milliseconds late(1000);
  if (age >= late) return std::nullopt;
  return late;
}

}  // namespace transship
