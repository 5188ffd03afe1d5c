// A link for the benchmarks: bench_link LISTEN_PORT TO_PORT ROUND_TRIP_MS MIB_PER_SECOND, both 0
// for no limit. MIB_PER_SECOND holds each connection. It runs until it is killed, and prints on
// SIGTERM how many bytes came back through it.
#include <fmt/format.h>

#include <csignal>
#include <cstdlib>

#include "tests/support/link.h"

int main(int argc, char** argv) {
  using transship::testing::Link;
  if (argc != 5) {
    fmt::print(stderr, "usage: {} LISTEN_PORT TO_PORT ROUND_TRIP_MS MIB_PER_SECOND\n", argv[0]);
    return 2;
  }
  const auto number = [&](int at) { return std::strtoul(argv[at], nullptr, 10); };
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  Link link(static_cast<std::uint16_t>(number(2)),
            {std::chrono::microseconds(number(3) * 500), number(4) << 20U,
             static_cast<std::uint16_t>(number(1))});
  int which = 0;
  sigwait(&signals, &which);
  fmt::print("{} {}\n", link.bytes_to(), link.bytes_from());
  return 0;
}
