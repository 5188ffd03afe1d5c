#pragma once

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "daemon/bus/bus.h"

namespace transship::bus {

struct JetStreamOptions {
  std::vector<std::string> servers;  // nats://host:port, tls://host:port; any of them
  std::string stream;  // made when missing: file storage, on three servers of a cluster, kept 14
                       // days, duplicates known for 2 minutes
  // An event of registry R is published on the first subject with R in place of its last token, a
  // wildcard
  // ("registry.events.>" → "registry.events.R"). Every subject must belong to the stream.
  std::vector<std::string> subjects;
  std::string credentials_file = {};      // a NATS .creds file; empty: none
  std::string client_name = "transship";  // how the server lists this connection
  std::chrono::milliseconds lease =
      Inbox::acknowledge_within;  // the ack wait of consumers that are made
  // A cluster of fewer than three servers may still grow: for so long no stream is made.
  std::chrono::milliseconds peers_patience = std::chrono::minutes(1);
};

// The bus on NATS JetStream: any number of daemons share the durable consumer `transship-<target>`
// of a target. All calls into libnats that can wait happen on threads of its own. A server that
// goes away is waited for, for ever; meanwhile publishing fails at once as `transient` and fetches
// wait.
//
// The io_context of the coroutines that call it must outlive it.
class JetStream final : public Bus {
 public:
  explicit JetStream(JetStreamOptions options);
  ~JetStream() override;  // as close(), but waits for the threads

  // `transient` while no server answers; `unauthorized`: credentials refused; `invalid`: the stream
  // that is there cannot keep the promises (the message says which setting); `unsupported`: a
  // server without JetStream.
  asio::awaitable<Result<void>> open() override;
  asio::awaitable<Result<std::vector<Published>>> publish(std::vector<Message> messages) override;
  // `invalid`: the consumer that is there cannot keep the promises.
  asio::awaitable<Result<std::unique_ptr<Inbox>>> open_inbox(std::string target) override;
  // The consumer that is there is looked at, and none is made. Errors: as open_inbox().
  asio::awaitable<Result<void>> check_inbox(std::string target);
  asio::awaitable<Result<void>> forget_other_inboxes(std::set<std::string> targets_kept) override;
  DeadLetters& dead_letters() override { return *dead_letters_; }
  [[nodiscard]] std::vector<std::string> warnings() const override;
  // The server's max_payload (1 MiB until one was reached) less room for our own headers.
  [[nodiscard]] std::size_t max_message_bytes() const override;
  [[nodiscard]] bool connected() const override;
  [[nodiscard]] std::uint64_t times_lost() const override;
  [[nodiscard]] std::string_view type() const override { return "jetstream"; }
  asio::awaitable<void> close() override;

  // Over all publishes that wait for their acknowledgement; one more is `throttled`.
  static constexpr std::size_t waiting_bytes_max = 32U << 20U;
  static constexpr std::size_t fetch_bytes_max = 4U << 20U;

 private:
  std::shared_ptr<class JetStreamLink> link_;
  std::unique_ptr<DeadLetters> dead_letters_;
};

}  // namespace transship::bus
