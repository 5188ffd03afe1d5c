#pragma once

#include <memory>

#include "replicator/base/budget.h"
#include "replicator/shared_reads.h"
#include "replicator/state_directory.h"

namespace transship {

// What all copies of a process share, whatever their target.
struct Commons {
  // Memory for what is read ahead, kept for slower targets or gathered before it is sent.
  static constexpr std::size_t buffer_bytes = 30UL << 20U;

  explicit Commons(asio::any_io_executor executor, std::unique_ptr<StateDirectory> its_state = {})
      : state(std::move(its_state)), reads(std::move(executor), buffers) {}

  std::unique_ptr<StateDirectory> state;  // none: nothing is kept between runs
  Budget buffers{buffer_bytes};
  SharedReads reads;
};

}  // namespace transship
