#pragma once

#include <memory>

#include "daemon/bus/dead_letters.h"
#include "daemon/bus/journal_thread.h"

namespace transship::bus {

// Dead letters in the journal's file: a row each.
class JournalDeadLetters final : public DeadLetters {
 public:
  explicit JournalDeadLetters(std::shared_ptr<JournalThread> thread) : thread_(std::move(thread)) {}

  asio::awaitable<Result<Listing>> list(std::string known_version) override;
  asio::awaitable<Result<void>> put(DeadLetter letter) override;
  asio::awaitable<Result<void>> remove(std::string target, std::string id) override;

 private:
  std::shared_ptr<JournalThread> thread_;
  std::uint64_t changes_ = 0;  // a journal has one daemon, so nobody else changes it
};

}  // namespace transship::bus
