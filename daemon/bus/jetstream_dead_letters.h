#pragma once

#include <memory>
#include <string>

#include "daemon/bus/dead_letters.h"
#include "daemon/bus/jetstream_link.h"

namespace transship::bus {

// Dead letters in a stream of their own, `<STREAM>_DEAD`, made when missing: a message each, on the
// subject transship.dead.<STREAM>.<target>.<id>, of which the stream keeps the newest. Every daemon
// of the stream sees them.
class JetStreamDeadLetters final : public DeadLetters {
 public:
  explicit JetStreamDeadLetters(std::shared_ptr<JetStreamLink> link) : link_(std::move(link)) {}

  asio::awaitable<Result<Listing>> list(std::string known_version) override;
  asio::awaitable<Result<void>> put(DeadLetter letter) override;
  asio::awaitable<Result<void>> remove(std::string target, std::string id) override;

 private:
  std::shared_ptr<JetStreamLink> link_;
};

}  // namespace transship::bus
