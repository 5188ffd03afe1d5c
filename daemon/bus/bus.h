#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/bus/dead_letters.h"
#include "replicator/base/error.h"

// The message bus: where an event is durable from the moment intake answers 202 until every target
// has acted on it. Two implementations keep the same promises: NATS JetStream (any number of
// daemons) and the embedded journal (one).
namespace transship::bus {

using Clock = std::chrono::system_clock;

// An event as it lies on the bus: the webhook's body for one event, and the headers that belong to
// its meaning.
struct Message {
  std::string registry;  // the registry that sent it, by its name in the configuration
  std::string body;
  std::map<std::string, std::string> headers;  // names in lower case
  std::optional<std::string> id;               // equal ids within two minutes are one event
};

enum class Published { stored, duplicate };

// A message handed to one target's consumer. It stays that consumer's until it is acknowledged: a
// delivery that is neither acknowledged, handed back nor reported in progress for `Inbox::lease()`
// comes again.
struct Delivery {
  Message message;
  Clock::time_point stored_at;   // when the bus took it
  std::uint64_t deliveries = 1;  // how often it was handed out, this time included
  // How its inbox knows it; opaque to everyone else.
  struct Receipt {
    virtual ~Receipt() = default;
  };
  std::shared_ptr<Receipt> receipt;
};

struct Backlog {
  std::uint64_t messages = 0;               // stored, not yet acknowledged by this target
  std::optional<Clock::time_point> oldest;  // when the oldest of them was stored
};

// The durable consumer of one target: its own backlog and its own pace.
class Inbox {
 public:
  static constexpr std::chrono::seconds acknowledge_within{30};

  virtual ~Inbox() = default;

  // How long a delivery stays with whoever fetched it; in_progress() starts it anew. At most
  // acknowledge_within: an operator may have made a durable consumer that waits less.
  [[nodiscard]] virtual std::chrono::milliseconds lease() const { return acknowledge_within; }

  // Waits until there is something, then hands out up to `limit` messages, oldest first. While the
  // bus is away it waits for it to come back. Ends with `cancelled` after close(), with another
  // kind where the bus can never answer. One fetch at a time.
  virtual asio::awaitable<Result<std::vector<Delivery>>> fetch(std::size_t limit) = 0;

  // The three answers to a delivery. They return at once; one that is lost with a crash or a broken
  // connection costs a redelivery, never an event.
  virtual void acknowledge(const Delivery& delivery) = 0;
  virtual void in_progress(const Delivery& delivery) = 0;
  virtual void hand_back(const Delivery& delivery, std::chrono::milliseconds pause) = 0;

  virtual asio::awaitable<Result<Backlog>> backlog() = 0;

  // Ends a waiting fetch. Deliveries already handed out can still be answered until the bus itself
  // is closed.
  virtual void close() = 0;
};

class Bus {
 public:
  virtual ~Bus() = default;

  // Reaches the bus and makes what is missing there (the stream, the file). `transient` while
  // nobody answers: call it again; anything else is for an operator (what is there cannot keep the
  // promises, wrong credentials, in use).
  virtual asio::awaitable<Result<void>> open() = 0;

  // Returns once all messages are durable, with one outcome a message in order. On an error some
  // may be stored all the same: the sender's retry is a duplicate then, which is harmless.
  // `invalid`: a message is over max_message_bytes() and none was stored.
  virtual asio::awaitable<Result<std::vector<Published>>> publish(
      std::vector<Message> messages) = 0;

  // The durable consumer of a target, made when missing. A new consumer starts with the oldest
  // message still kept.
  virtual asio::awaitable<Result<std::unique_ptr<Inbox>>> open_inbox(std::string target) = 0;

  // Removes the durable consumers that only this daemon can have left behind: the journal's, of
  // targets that the configuration no longer names, which would otherwise keep every message for
  // ever. On JetStream, where the stream has limits of its own and a consumer may be another
  // region's, it does nothing.
  virtual asio::awaitable<Result<void>> forget_other_inboxes(
      std::set<std::string> targets_kept) = 0;

  // Where what was given up lies. Lives as long as the bus; usable after open().
  virtual DeadLetters& dead_letters() = 0;

  // What the last open() found that weakens the promises without breaking them, in sentences for
  // the log.
  [[nodiscard]] virtual std::vector<std::string> warnings() const { return {}; }

  // Body and headers (bytes_of) of one message together may have at most this many bytes.
  [[nodiscard]] virtual std::size_t max_message_bytes() const = 0;

  [[nodiscard]] virtual bool connected() const = 0;

  // Another number than before: the connection was lost since, if only for a moment.
  [[nodiscard]] virtual std::uint64_t times_lost() const { return 0; }

  // "jetstream" or "journal", as in the configuration.
  [[nodiscard]] virtual std::string_view type() const = 0;

  // Delivers what was answered, then lets go of the bus. The last call.
  virtual asio::awaitable<void> close() = 0;
};

}  // namespace transship::bus
