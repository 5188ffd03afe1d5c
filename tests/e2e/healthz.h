#pragma once

#include <algorithm>
#include <chrono>
#include <string>

#include "tests/support/http.h"

namespace transship::testing {

struct HealthzFigures {
  std::chrono::milliseconds slowest{0};
  int samples = 0;
};

// How long /healthz takes at the most, asked again and again. `control` is another server, asked
// right before and after: where it is slow too, the machine is busy and the sample says nothing
// about the daemon.
inline HealthzFigures measure_healthz(const std::string& daemon, const std::string& control,
                                      std::chrono::seconds duration) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds undisturbed{15};
  const auto time = [](const std::string& url) {
    const auto asked = Clock::now();
    if (http("GET", url).status != 200) return std::chrono::milliseconds::max();
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - asked);
  };
  HealthzFigures figures;
  const auto until = Clock::now() + duration;
  while (Clock::now() < until) {
    const auto before = time(control);
    const auto taken = time(daemon + "/healthz");
    const auto after = time(control);
    if (before > undisturbed || after > undisturbed) continue;
    ++figures.samples;
    figures.slowest = std::max(figures.slowest, taken);
  }
  return figures;
}

}  // namespace transship::testing
