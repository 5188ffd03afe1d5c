// How long one push takes over a short and over a long link: bench_push SOURCE_URL TARGET_URL NEAR
// FAR PUSHES. NEAR and FAR are a daemon's intake (http://…/intake/REGISTRY), or commands that are
// run with a tag as their argument: what a peer needs. Each push is a new image of four layers of
// 16 KiB, near and far in turn, from the moment that its event was accepted (that the command
// begins) until the target shows the tag. Prints the medians of the milliseconds near, far, and of
// the difference.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/support/http.h"
#include "tests/support/image.h"

namespace {

using namespace transship::testing;
using Clock = std::chrono::steady_clock;

constexpr std::size_t layer_bytes = 16UL << 10U;
constexpr const char* repository = "bench/push";

std::string event_of(const TestImage& image, const std::string& tag) {
  return fmt::format(
      R"({{"events":[{{"id":"{}","timestamp":"2026-01-01T00:00:00Z","action":"push",)"
      R"("target":{{"mediaType":"{}","digest":"{}","repository":"{}","tag":"{}"}}}}]}})",
      image.digest(), image.media_type, image.digest(), repository, tag);
}

void tell(const std::string& whom, const TestImage& image, const std::string& tag) {
  if (!whom.starts_with("http://")) {
    if (std::system((whom + " " + tag).c_str()) != 0) std::exit(1);
    return;
  }
  const auto answer = http("POST", whom, event_of(image, tag));
  if (answer.status == 202) return;
  fmt::print(stderr, "intake: {} {}\n", answer.status, answer.body);
  std::exit(1);
}

double push_once(char** argv, const std::string& whom, std::uint64_t seed) {
  const TestImage image = make_image(seed, {layer_bytes, layer_bytes, layer_bytes, layer_bytes});
  const std::string tag = fmt::format("v{}", seed);
  push(argv[1], repository, tag, image);
  const auto begun = Clock::now();
  tell(whom, image, tag);
  const auto from = whom.starts_with("http://") ? Clock::now() : begun;
  while (digest_at(argv[2], repository, tag) != image.digest()) {
    if (Clock::now() - from > std::chrono::seconds(30)) {
      fmt::print(stderr, "the target does not show {}\n", tag);
      std::exit(1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return std::chrono::duration<double, std::milli>(Clock::now() - from).count();
}

double median(std::vector<double> all) {
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    fmt::print(stderr, "usage: {} SOURCE_URL TARGET_URL NEAR FAR PUSHES\n", argv[0]);
    return 2;
  }
  const std::uint64_t pushes = std::strtoull(argv[5], nullptr, 10);
  constexpr std::uint64_t warm_up = 2;  // the first ones make the connections
  auto seed = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
  std::vector<double> near;
  std::vector<double> far;
  std::vector<double> difference;
  for (std::uint64_t i = 0; i < pushes + warm_up; ++i) {
    const double near_ms = push_once(argv, argv[3], seed++);
    const double far_ms = push_once(argv, argv[4], seed++);
    if (i < warm_up) continue;
    near.push_back(near_ms);
    far.push_back(far_ms);
    difference.push_back(far_ms - near_ms);
  }
  fmt::print("{:.1f} {:.1f} {:.1f}\n", median(near), median(far), median(difference));
  return 0;
}
