#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/bus/completion.h"
#include "daemon/bus/jetstream.h"
#include "daemon/bus/nats_handles.h"

namespace transship::bus {

// The messages of one publish() on their way: answered once the server has confirmed each, or
// failed one.
class PublishJob {
 public:
  // `finished` is called just before the answer.
  PublishJob(std::vector<Message> messages, Completion<std::vector<Published>> done,
             std::function<void()> finished);

  [[nodiscard]] const std::vector<Message>& messages() const { return messages_; }
  // Of the message with this index, once each; the last one answers. Any thread.
  void settle(std::size_t index, const Result<Published>& outcome);

 private:
  std::vector<Message> messages_;
  std::mutex mutex_;
  std::vector<Published> outcomes_;
  std::optional<Error> error_;
  std::size_t missing_ = 0;
  Completion<std::vector<Published>> done_;
  std::function<void()> finished_;
};

// What the callbacks of libnats tell of a connection: acknowledgements, and whether a server is
// there. Asking libnats itself can wait behind a write to a server that hangs, so the loop asks
// here. Callbacks may still run for a moment after the connection is gone, so they find their state
// by number.
class NatsState {
 public:
  static std::shared_ptr<NatsState> make();
  ~NatsState();

  // A message on its way, by the handle that comes back with its acknowledgement.
  void add(const natsMsg* message, std::shared_ptr<PublishJob> job, std::size_t index);
  // Does nothing for a message that is no longer there.
  void settle(const natsMsg* message, const Result<Published>& outcome);
  void fail_all(const Error& error);

  void listen(natsOptions* options) const;
  void listen(jsOptions& options) const;
  void take(natsConnection* connection);

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] std::uint64_t times_lost() const { return times_lost_; }
  [[nodiscard]] bool gave_up() const { return gave_up_; }
  [[nodiscard]] std::size_t payload_bytes_max() const { return payload_bytes_max_; }

 private:
  struct Waiting {
    std::shared_ptr<PublishJob> job;
    std::size_t index = 0;
  };
  NatsState() = default;
  static std::shared_ptr<NatsState> find(void* number);
  static void on_change(natsConnection* connection, void* number);
  static void on_ack(jsCtx* context, natsMsg* message, jsPubAck* ack, jsPubAckErr* error,
                     void* number);

  std::mutex mutex_;
  std::unordered_map<const natsMsg*, Waiting> waiting_;
  void* number_ = nullptr;
  std::atomic<bool> connected_{false};
  std::atomic<std::uint64_t> times_lost_{0};
  std::atomic<bool> gave_up_{false};
  std::atomic<std::size_t> payload_bytes_max_{0};
};

// One connection to the NATS servers, which reconnects by itself for ever. All calls may wait:
// never on the loop.
class NatsSession {
 public:
  static Result<std::shared_ptr<NatsSession>> connect(const JetStreamOptions& options);
  ~NatsSession();
  NatsSession(const NatsSession&) = delete;
  NatsSession& operator=(const NatsSession&) = delete;

  [[nodiscard]] jsCtx* context() const { return context_.get(); }
  // These three never wait.
  [[nodiscard]] bool connected() const { return state_->connected(); }
  [[nodiscard]] std::uint64_t times_lost() const { return state_->times_lost(); }
  // libnats has given up (it does after repeated refusals of the credentials): only a new session
  // helps.
  [[nodiscard]] bool gave_up() const { return state_->gave_up(); }
  // Of the server last connected to.
  [[nodiscard]] std::size_t payload_bytes_max() const { return state_->payload_bytes_max(); }

  // Sends them all; the job is answered when their acknowledgements are in.
  void publish(const std::shared_ptr<PublishJob>& job, const std::vector<std::string>& subjects);
  // Sends an answer to a delivery. One that cannot be sent is lost, which costs a redelivery.
  void answer(const std::string& reply, const std::string& text);
  // Waits for acknowledgements and for what was written to be sent, each for a moment.
  void drain();

 private:
  NatsSession() = default;

  std::shared_ptr<NatsState> state_;
  NatsConnection connection_;
  JetStreamContext context_;
};

}  // namespace transship::bus
