#pragma once

#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "daemon/bus/completion.h"
#include "daemon/bus/jetstream.h"
#include "daemon/bus/nats_session.h"

namespace transship::bus {

// What all parts of the JetStream bus share: the session of the moment, the threads that may wait
// for it, and the stream and consumers as they have to be. The functions called "may wait" are
// never called on the loop.
class JetStreamLink {
 public:
  // Of the server's limit, for the headers that are ours: the id and the framing.
  static constexpr std::size_t header_room_bytes = 1024;
  // Until a server was reached: NATS' default.
  static constexpr std::size_t payload_bytes_default = 1U << 20U;

  explicit JetStreamLink(JetStreamOptions options) : options_(std::move(options)) {}
  ~JetStreamLink() { stop(); }
  JetStreamLink(const JetStreamLink&) = delete;
  JetStreamLink& operator=(const JetStreamLink&) = delete;

  [[nodiscard]] const JetStreamOptions& options() const { return options_; }

  // Connects where there is no session or it gave up, and looks at the stream. May wait.
  Result<void> open();
  // The session, made anew where it gave up. May wait.
  Result<std::shared_ptr<NatsSession>> usable_session();
  // The session as it is; null before the first one.
  [[nodiscard]] std::shared_ptr<NatsSession> session() const;
  [[nodiscard]] bool connected() const;
  [[nodiscard]] std::uint64_t times_lost() const;
  [[nodiscard]] std::size_t message_bytes_max() const;
  [[nodiscard]] std::vector<std::string> warnings() const;

  // Makes the stream or the consumer of a target when missing, and checks it. May wait.
  Result<void> ensure_stream(const NatsSession& session);
  Result<ConsumerInfo> ensure_consumer(const NatsSession& session, const std::string& target);
  // Makes none. May wait.
  Result<void> check_present_consumer(const NatsSession& session, const std::string& target);
  // Makes a stream whose name and subjects are set: kept in files, and where the server is one of a
  // cluster, by three servers, so that the loss of one loses nothing. `transient` while the cluster
  // has fewer; after `peers_patience` it makes do with what there is. May wait.
  Result<void> add_stream(const NatsSession& session, jsStreamConfig config);
  static std::string consumer_name(const std::string& target) { return "transship-" + target; }

  // Sends in the order of the calls, on a thread of its own; never waits. The publish's bytes count
  // as waiting until done; `throttled` over the limit.
  void publish(std::vector<Message> messages, Completion<std::vector<Published>> done);
  void answer(std::string reply, std::string text);

  // Runs `work` on a thread that may wait. After stop() it is dropped, and with it the Completion
  // in it.
  template <class Work>
  void call(Work work) {
    if (!stopped_) asio::post(calls_, std::move(work));
  }

  // Keeps the thread of an inbox until it has ended, at the latest in stop(). `end` makes it end
  // soon.
  void keep_thread(std::thread thread, std::shared_ptr<std::atomic<bool>> ended,
                   std::function<void()> end);

  // Nothing new is begun from here on. From the loop, before stop() on another thread.
  void refuse_new() { stopped_ = true; }
  // Ends the inboxes, sends what was answered, and closes the session. May wait for some seconds.
  void stop();

 private:
  Result<ConsumerInfo> present_consumer(const NatsSession& session, const std::string& name);
  struct Kept {
    std::thread thread;
    std::shared_ptr<std::atomic<bool>> ended;
    std::function<void()> end;
  };
  Result<void> make_stream(const NatsSession& session);
  bool waits_for_peers();

  const JetStreamOptions options_;
  std::atomic<std::size_t> stream_message_bytes_max_{SIZE_MAX};
  std::atomic<bool> stopped_{false};
  std::mutex stopping_;
  // When the cluster was first found too small for a stream, as steady nanoseconds; 0: never.
  std::atomic<std::chrono::steady_clock::rep> too_small_since_{0};
  std::atomic<std::size_t> waiting_bytes_{0};

  mutable std::mutex mutex_;  // of the three below
  std::shared_ptr<NatsSession> session_;
  std::vector<std::string> warnings_;
  std::list<Kept> threads_;

  std::mutex connecting_;  // one at a time
  asio::thread_pool calls_{2};
  asio::thread_pool sender_{1};
};

}  // namespace transship::bus
