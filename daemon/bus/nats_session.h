#pragma once

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

// Messages that wait for their acknowledgement, by the handle that libnats gives back with it. The
// callbacks of libnats may still run for a moment after the connection is gone, so they find the
// table by number.
class PendingAcks {
 public:
  static std::shared_ptr<PendingAcks> make();
  ~PendingAcks();

  void add(const natsMsg* message, std::shared_ptr<PublishJob> job, std::size_t index);
  // Does nothing for a message that is no longer there.
  void settle(const natsMsg* message, const Result<Published>& outcome);
  void fail_all(const Error& error);

  // What jsOptions.PublishAsync takes.
  static void on_ack(jsCtx* context, natsMsg* message, jsPubAck* ack, jsPubAckErr* error,
                     void* number);
  [[nodiscard]] void* number() const { return number_; }

 private:
  struct Waiting {
    std::shared_ptr<PublishJob> job;
    std::size_t index = 0;
  };
  PendingAcks() = default;

  std::mutex mutex_;
  std::unordered_map<const natsMsg*, Waiting> waiting_;
  void* number_ = nullptr;
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
  [[nodiscard]] bool connected() const;
  // libnats has given up (it does after repeated refusals of the credentials): only a new session
  // helps.
  [[nodiscard]] bool gave_up() const;
  // Of the server now connected to; 0 when none is.
  [[nodiscard]] std::size_t payload_bytes_max() const;

  // Sends them all; the job is answered when their acknowledgements are in.
  void publish(const std::shared_ptr<PublishJob>& job, const std::vector<std::string>& subjects);
  // Sends an answer to a delivery. One that cannot be sent is lost, which costs a redelivery.
  void answer(const std::string& reply, const std::string& text);
  // Waits for acknowledgements and for what was written to be sent, each for a moment.
  void drain();

 private:
  NatsSession() = default;

  std::shared_ptr<PendingAcks> pending_;
  NatsConnection connection_;
  JetStreamContext context_;
};

}  // namespace transship::bus
