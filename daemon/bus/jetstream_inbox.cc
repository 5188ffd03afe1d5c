#include "daemon/bus/jetstream_inbox.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <optional>

#include "daemon/bus/jetstream_checks.h"

namespace transship::bus {
namespace {

// How long one pull waits at the server; an inbox that is closed meanwhile is gone after it.
constexpr std::chrono::milliseconds pull_wait{1'000};
// Between tries while the server, the stream or the consumer is away.
constexpr std::chrono::milliseconds first_pause{100};
constexpr std::chrono::milliseconds longest_pause{2'000};
// The protocol's word for each answer to a delivery.
constexpr const char* acknowledged = "+ACK";
constexpr const char* still_at_it = "+WPI";
constexpr const char* not_now = "-NAK";

struct JetStreamReceipt final : Delivery::Receipt {
  explicit JetStreamReceipt(std::string r) : reply(std::move(r)) {}
  std::string reply;  // the subject that takes the answer, whatever connection it comes by
};

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return lower;
}

// Without the server's and the library's own; the id comes back as it was published, unless it was
// hashed.
void take_headers(natsMsg* raw, Message& message) {
  const char** keys = nullptr;
  int count = 0;
  if (natsMsgHeader_Keys(raw, &keys, &count) != NATS_OK) return;
  for (int i = 0; i < count; ++i) {
    const char* value = nullptr;
    if (natsMsgHeader_Get(raw, keys[i], &value) != NATS_OK || value == nullptr) continue;
    std::string name = lower_case(keys[i]);
    if (name == "nats-msg-id") {
      std::string_view id = value;
      const std::string registry = message.registry + "/";
      if (id.starts_with(registry)) id.remove_prefix(registry.size());
      message.id = std::string(id);
    } else if (!name.starts_with("nats-")) {
      message.headers.emplace(std::move(name), value);
    }
  }
  std::free(keys);  // libnats allocates the list, and keeps the strings
}

std::optional<Delivery> delivery_of(natsMsg* raw) {
  jsMsgMetaData* meta_raw = nullptr;
  if (natsMsg_GetMetaData(&meta_raw, raw) != NATS_OK) return std::nullopt;
  const MessageMetaData meta(meta_raw);
  Delivery delivery;
  const std::string_view subject = natsMsg_GetSubject(raw);
  delivery.message.registry = subject.substr(subject.rfind('.') + 1);
  delivery.message.body.assign(natsMsg_GetData(raw),
                               static_cast<std::size_t>(natsMsg_GetDataLength(raw)));
  take_headers(raw, delivery.message);
  delivery.stored_at = Clock::time_point(
      std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds(meta->Timestamp)));
  delivery.deliveries = meta->NumDelivered;
  delivery.receipt = std::make_shared<JetStreamReceipt>(natsMsg_GetReply(raw));
  return delivery;
}

// The thread that pulls for one inbox, only when a fetch waits. It outlives its inbox by one pull
// at most.
class Puller : public std::enable_shared_from_this<Puller> {
 public:
  Puller(std::shared_ptr<JetStreamLink> link, std::string target)
      : link_(std::move(link)), target_(std::move(target)) {}

  void start() {
    auto self = shared_from_this();
    auto ended = std::make_shared<std::atomic<bool>>(false);
    std::thread thread([self, ended] {
      self->run();
      self->subscription_.reset();
      self->subscribed_.reset();
      nats_ReleaseThreadMemory();
      *ended = true;
    });
    link_->keep_thread(std::move(thread), std::move(ended), [self] { self->close(); });
  }

  void fetch(std::size_t limit, Completion<std::vector<Delivery>> done) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;  // dropped, and so cancelled
      limit_ = std::max<std::size_t>(limit, 1);
      waiting_.emplace(std::move(done));
    }
    changed_.notify_all();
  }

  void close() {
    std::optional<Completion<std::vector<Delivery>>> dropped;
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
      dropped.swap(waiting_);
    }
    changed_.notify_all();
  }

 private:
  void run() {
    std::chrono::milliseconds pause = first_pause;
    while (const std::size_t limit = wait_for_fetch()) {
      auto pulled = pull(limit);
      if (pulled) {
        pause = first_pause;
        if (!pulled->empty()) hand_over(std::move(*pulled));
        continue;
      }
      subscription_.reset();  // whatever went wrong, the next try starts from the beginning
      if (pulled.error().kind == ErrorKind::transient ||
          pulled.error().kind == ErrorKind::not_found ||
          pulled.error().kind == ErrorKind::throttled) {
        wait_out(pause);
        pause = std::min(pause * 2, longest_pause);
      } else {
        answer(fail(pulled.error()));
      }
    }
  }

  // The limit of the fetch that waits; 0 once closed.
  std::size_t wait_for_fetch() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || waiting_.has_value(); });
    return closed_ ? 0 : limit_;
  }

  void wait_out(std::chrono::milliseconds pause) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, pause, [this] { return closed_; });
  }

  bool answer(Result<std::vector<Delivery>> result) {
    std::optional<Completion<std::vector<Delivery>>> done;
    {
      const std::lock_guard lock(mutex_);
      done.swap(waiting_);
    }
    if (!done || !done->claim()) return false;
    done->fulfil(std::move(result));
    return true;
  }

  void hand_over(std::vector<Delivery> deliveries) {
    std::vector<std::string> replies;
    for (const Delivery& delivery : deliveries) {
      replies.push_back(static_cast<const JetStreamReceipt&>(*delivery.receipt).reply);
    }
    if (answer(std::move(deliveries))) return;
    // Closed or cancelled meanwhile: another daemon may have them at once.
    for (const std::string& reply : replies) {
      if (subscribed_) subscribed_->answer(reply, not_now);
    }
  }

  Result<void> subscribe() {
    auto session = link_->usable_session();
    if (!session) return fail(session.error());
    if (subscription_ && subscribed_ == *session) return {};
    subscription_.reset();
    subscribed_ = *session;
    if (auto stream = link_->ensure_stream(*subscribed_); !stream) return stream;
    auto consumer = link_->ensure_consumer(*subscribed_, target_);
    if (!consumer) return fail(consumer.error());
    const jsConsumerConfig& config = *(*consumer)->Config;
    batch_max_ = config.MaxRequestBatch > 0 ? config.MaxRequestBatch : INT_MAX;
    const std::string name = JetStreamLink::consumer_name(target_);
    jsSubOptions options;
    jsSubOptions_Init(&options);
    options.Stream = link_->options().stream.c_str();
    options.Consumer = name.c_str();
    natsSubscription* raw = nullptr;
    jsErrCode code{};
    const natsStatus s = js_PullSubscribe(
        &raw, subscribed_->context(), config.FilterSubject != nullptr ? config.FilterSubject : "",
        name.c_str(), nullptr, &options, &code);
    if (s != NATS_OK) return fail(nats_error(s, code, fmt::format("pull from '{}'", name)));
    subscription_.reset(raw);
    quiet_pulls_ = 0;
    return {};
  }

  // What is there at once, else the first that comes within the wait. Empty where nothing came.
  Result<std::vector<Delivery>> pull(std::size_t limit) {
    if (auto ready = subscribe(); !ready) return fail(ready.error());
    const auto batch = static_cast<int>(std::min<std::size_t>(
        limit, static_cast<std::size_t>(std::min<std::int64_t>(batch_max_, INT_MAX))));
    std::vector<Delivery> deliveries;
    // A batch that waits would hold its first message back until it is full: so either no wait, or
    // a batch of one.
    if (auto got = request(batch, true, deliveries); !got) return fail(got.error());
    if (deliveries.empty()) {
      if (auto got = request(1, false, deliveries); !got) return fail(got.error());
      if (!deliveries.empty() && batch > 1) {
        if (auto got = request(batch - 1, true, deliveries); !got) subscription_.reset();
      }
    }
    quiet_pulls_ = deliveries.empty() ? quiet_pulls_ + 1 : 0;
    if (quiet_pulls_ >= quiet_pulls_max) subscription_.reset();  // is the consumer still there?
    return deliveries;
  }

  Result<void> request(int batch, bool no_wait, std::vector<Delivery>& into) {
    jsFetchRequest wanted;
    jsFetchRequest_Init(&wanted);
    wanted.Batch = batch;
    wanted.NoWait = no_wait;
    wanted.Expires = std::chrono::nanoseconds(pull_wait).count();
    if (batch > 1) wanted.MaxBytes = bytes_max();
    natsMsgList list{};
    const natsStatus s = natsSubscription_FetchRequest(&list, subscription_.get(), &wanted);
    for (int i = 0; i < list.Count; ++i) {
      if (auto delivery = delivery_of(list.Msgs[i])) into.push_back(std::move(*delivery));
    }
    natsMsgList_Destroy(&list);
    if (s == NATS_OK || s == NATS_TIMEOUT || s == NATS_NOT_FOUND) return {};
    return fail(
        nats_error(s, {}, fmt::format("pull from '{}'", JetStreamLink::consumer_name(target_))));
  }

  // A batch ends before this; the largest message fits.
  [[nodiscard]] std::int64_t bytes_max() const {
    return static_cast<std::int64_t>(
        std::max(JetStream::fetch_bytes_max, 2 * subscribed_->payload_bytes_max()));
  }

  // After so many pulls without a message, the consumer is looked at again.
  static constexpr int quiet_pulls_max = 30;

  const std::shared_ptr<JetStreamLink> link_;
  const std::string target_;

  std::mutex mutex_;  // of the four below
  std::condition_variable changed_;
  std::optional<Completion<std::vector<Delivery>>> waiting_;
  std::size_t limit_ = 0;
  bool closed_ = false;

  // The thread's own.
  std::shared_ptr<NatsSession> subscribed_;
  NatsSubscription subscription_;
  std::int64_t batch_max_ = INT_MAX;
  int quiet_pulls_ = 0;
};

// Of the first message that is not acknowledged; where that cannot be had, nothing.
std::optional<Clock::time_point> oldest_after(const NatsSession& session, const char* stream,
                                              std::uint64_t acknowledged_until) {
  const auto time_of = [](std::int64_t ns) {
    return Clock::time_point(
        std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds(ns)));
  };
  natsMsg* raw = nullptr;
  if (js_GetMsg(&raw, session.context(), stream, acknowledged_until + 1, nullptr, nullptr) ==
      NATS_OK) {
    const NatsMessage message(raw);
    return time_of(natsMsg_GetTime(raw));
  }
  // It has gone from the stream, by age or by hand: the oldest that is left.
  jsStreamInfo* info_raw = nullptr;
  if (js_GetStreamInfo(&info_raw, session.context(), stream, nullptr, nullptr) != NATS_OK) {
    return std::nullopt;
  }
  const StreamInfo info(info_raw);
  return time_of(info->State.FirstTime);
}

Result<Backlog> count_backlog(JetStreamLink& link, const std::string& target) {
  auto session = link.usable_session();
  if (!session) return fail(session.error());
  auto info = link.ensure_consumer(**session, target);
  if (!info) return fail(info.error());
  Backlog backlog;
  backlog.messages = (*info)->NumPending + static_cast<std::uint64_t>((*info)->NumAckPending);
  if (backlog.messages > 0) {
    backlog.oldest =
        oldest_after(**session, link.options().stream.c_str(), (*info)->AckFloor.Stream);
  }
  return backlog;
}

class JetStreamInbox final : public Inbox {
 public:
  JetStreamInbox(std::shared_ptr<JetStreamLink> link, std::string target,
                 std::chrono::milliseconds lease)
      : link_(std::move(link)),
        target_(std::move(target)),
        lease_(lease),
        puller_(std::make_shared<Puller>(link_, target_)) {
    puller_->start();
  }
  ~JetStreamInbox() override { puller_->close(); }
  JetStreamInbox(const JetStreamInbox&) = delete;
  JetStreamInbox& operator=(const JetStreamInbox&) = delete;

  [[nodiscard]] std::chrono::milliseconds lease() const override { return lease_; }

  asio::awaitable<Result<std::vector<Delivery>>> fetch(std::size_t limit) override {
    co_return co_await answered<std::vector<Delivery>>(
        [puller = puller_, limit](auto done) { puller->fetch(limit, std::move(done)); });
  }

  void acknowledge(const Delivery& delivery) override {
    link_->answer(reply_of(delivery), acknowledged);
  }
  void in_progress(const Delivery& delivery) override {
    link_->answer(reply_of(delivery), still_at_it);
  }
  void hand_back(const Delivery& delivery, std::chrono::milliseconds pause) override {
    link_->answer(reply_of(delivery), fmt::format("{} {{\"delay\":{}}}", not_now,
                                                  std::chrono::nanoseconds(pause).count()));
  }

  asio::awaitable<Result<Backlog>> backlog() override {
    co_return co_await answered<Backlog>([link = link_, target = target_](auto done) {
      link->call([link, target, d = std::move(done)]() mutable {
        d.complete(count_backlog(*link, target));
      });
    });
  }

  void close() override { puller_->close(); }

 private:
  static std::string reply_of(const Delivery& delivery) {
    return static_cast<const JetStreamReceipt&>(*delivery.receipt).reply;
  }

  const std::shared_ptr<JetStreamLink> link_;
  const std::string target_;
  const std::chrono::milliseconds lease_;
  const std::shared_ptr<Puller> puller_;
};

}  // namespace

std::unique_ptr<Inbox> make_jetstream_inbox(std::shared_ptr<JetStreamLink> link, std::string target,
                                            std::chrono::milliseconds lease) {
  return std::make_unique<JetStreamInbox>(std::move(link), std::move(target), lease);
}

}  // namespace transship::bus
