// Fills a registry for the benchmarks: bench_images URL REPOSITORIES TAGS LAYERS LAYER_BYTES
// SHARED_PERCENT Every image has LAYERS layers, of which SHARED_PERCENT are the same in all
// repositories' images of one tag number. Prints the least number of requests that any copier needs
// to bring all of it to an empty target: two a new blob, one a mount into another repository, one a
// manifest.
#include <fmt/format.h>

#include <cstdlib>
#include <set>

#include "tests/support/image.h"

int main(int argc, char** argv) {
  using namespace transship::testing;
  if (argc != 7) {
    fmt::print(stderr, "usage: {} URL REPOSITORIES TAGS LAYERS LAYER_BYTES SHARED_PERCENT\n",
               argv[0]);
    return 2;
  }
  const std::string url = argv[1];
  const auto number = [&](int at) { return std::strtoull(argv[at], nullptr, 10); };
  const std::uint64_t repositories = number(2);
  const std::uint64_t tags = number(3);
  const std::uint64_t layers = number(4);
  const std::uint64_t bytes = number(5);
  const std::uint64_t shared = layers * number(6) / 100;
  std::set<std::string> everywhere;
  std::uint64_t least = 0;
  for (std::uint64_t repository = 0; repository < repositories; ++repository) {
    std::set<std::string> here;
    for (std::uint64_t tag = 0; tag < tags; ++tag) {
      std::vector<std::string> content;
      for (std::uint64_t layer = 0; layer < layers; ++layer) {
        const std::uint64_t owner = layer < shared ? 0 : repository + 1;
        content.push_back(noise(((owner * 1000 + tag) * 100) + layer, bytes));
      }
      const TestImage image = make_image_of(std::move(content), repository * 1000 + tag);
      for (const auto& [digest, blob] : image.blobs) {
        if (!here.insert(digest).second) continue;
        least += everywhere.insert(digest).second ? 2 : 1;
      }
      ++least;
      push(url, fmt::format("bench/repository{}", repository), fmt::format("v{}", tag), image);
    }
  }
  fmt::print("{}\n", least);
  return 0;
}
