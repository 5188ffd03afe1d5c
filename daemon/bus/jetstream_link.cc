#include "daemon/bus/jetstream_link.h"

#include <fmt/format.h>

#include <numeric>

#include "daemon/bus/jetstream_checks.h"
#include "daemon/bus/message.h"

namespace transship::bus {
namespace {

// How many deliveries of a consumer may be unanswered at once, over all daemons. Those handed back
// with a pause count: a registry that is down must not use up the places of all others.
constexpr std::int64_t ack_pending_max = 50'000;
// What a waiting message takes besides its bytes.
constexpr std::size_t message_overhead_bytes = 512;

std::int64_t nanoseconds(std::chrono::nanoseconds time) { return time.count(); }

}  // namespace

Result<void> JetStreamLink::open() {
  auto session = usable_session();
  if (!session) return fail(session.error());
  return ensure_stream(**session);
}

Result<std::shared_ptr<NatsSession>> JetStreamLink::usable_session() {
  const std::lock_guard one_at_a_time(connecting_);
  if (stopped_) return fail(ErrorKind::cancelled, "the bus was closed");
  auto now = session();
  if (!now || now->gave_up()) {
    auto made = NatsSession::connect(options_);
    if (!made) return fail(made.error());
    const std::lock_guard lock(mutex_);
    std::swap(session_, *made);  // the old one goes without the lock, and may wait
    now = session_;
  }
  if (!now->connected()) {
    Error error;
    error.message = "the NATS server does not answer";
    error.unanswered = true;
    return fail(std::move(error));
  }
  return now;
}

std::shared_ptr<NatsSession> JetStreamLink::session() const {
  const std::lock_guard lock(mutex_);
  return session_;
}

bool JetStreamLink::connected() const {
  const auto now = session();
  return now && now->connected();
}

std::uint64_t JetStreamLink::times_lost() const {
  const auto now = session();
  return now ? now->times_lost() : 0;
}

std::size_t JetStreamLink::message_bytes_max() const {
  const auto now = session();
  const std::size_t server = now ? now->payload_bytes_max() : payload_bytes_default;
  const std::size_t bytes = std::min<std::size_t>(server, stream_message_bytes_max_);
  return bytes > header_room_bytes ? bytes - header_room_bytes : 0;
}

std::vector<std::string> JetStreamLink::warnings() const {
  const std::lock_guard lock(mutex_);
  return warnings_;
}

Result<void> JetStreamLink::ensure_stream(const NatsSession& session) {
  const std::string doing = fmt::format("look at the stream '{}'", options_.stream);
  jsStreamInfo* raw = nullptr;
  jsErrCode code{};
  natsStatus s = js_GetStreamInfo(&raw, session.context(), options_.stream.c_str(), nullptr, &code);
  if (s == NATS_NOT_FOUND || code == JSStreamNotFoundErr) {
    const auto made = make_stream(session);
    code = {};
    s = js_GetStreamInfo(&raw, session.context(), options_.stream.c_str(), nullptr, &code);
    // Where another daemon is making it at the same moment, the server may call that an overlap.
    if (s != NATS_OK && !made) return made;
  }
  const StreamInfo info(raw);
  if (s != NATS_OK) return fail(nats_error(s, code, doing));
  std::vector<std::string> warnings;
  if (auto good = check_stream(*info->Config, options_, warnings); !good) return good;
  if (info->Cluster != nullptr && info->Cluster->Name != nullptr)
    check_replicas(*info->Config, warnings);
  const std::int32_t size_max = info->Config->MaxMsgSize;
  stream_message_bytes_max_ = size_max > 0 ? static_cast<std::size_t>(size_max) : SIZE_MAX;
  const std::lock_guard lock(mutex_);
  warnings_ = std::move(warnings);
  return {};
}

Result<void> JetStreamLink::make_stream(const NatsSession& session) {
  std::vector<const char*> subjects;
  for (const std::string& subject : options_.subjects) subjects.push_back(subject.c_str());
  jsStreamConfig config;
  jsStreamConfig_Init(&config);
  config.Name = options_.stream.c_str();
  config.Description = "Events of container registries, for transship";
  config.Subjects = subjects.data();
  config.SubjectsLen = static_cast<int>(subjects.size());
  config.Retention = js_LimitsPolicy;
  config.MaxAge = nanoseconds(stream_max_age);
  config.Duplicates = nanoseconds(duplicate_window);
  return add_stream(session, config);
}

// The server says by its error whether it is one of a cluster, and of how many.
Result<void> JetStreamLink::add_stream(const NatsSession& session, jsStreamConfig config) {
  config.Storage = js_FileStorage;
  jsErrCode code{};
  natsStatus s = NATS_OK;
  for (config.Replicas = stream_replicas; config.Replicas > 0; --config.Replicas) {
    code = {};
    s = js_AddStream(nullptr, session.context(), &config, nullptr, &code);
    // Another daemon may have made it meanwhile; what it made is checked like any other.
    if (s == NATS_OK || code == JSStreamNameExistErr) return {};
    const bool too_many = code == JSStreamReplicasNotSupportedErr || code == JSClusterNoPeersErr;
    if (!too_many || (code == JSClusterNoPeersErr && waits_for_peers())) break;
  }
  return fail(nats_error(s, code, fmt::format("make the stream '{}'", config.Name)));
}

// A cluster that has just been started gets its servers one by one.
bool JetStreamLink::waits_for_peers() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  std::chrono::steady_clock::rep first = 0;
  if (too_small_since_.compare_exchange_strong(first, now.count())) first = now.count();
  return now - std::chrono::steady_clock::duration(first) < options_.peers_patience;
}

// Null where there is none.
Result<ConsumerInfo> JetStreamLink::present_consumer(const NatsSession& session,
                                                     const std::string& name) {
  jsConsumerInfo* raw = nullptr;
  jsErrCode code{};
  const natsStatus s = js_GetConsumerInfo(&raw, session.context(), options_.stream.c_str(),
                                          name.c_str(), nullptr, &code);
  if (s == NATS_NOT_FOUND || code == JSConsumerNotFoundErr) return ConsumerInfo();
  ConsumerInfo info(raw);
  if (s != NATS_OK) return fail(nats_error(s, code, fmt::format("the consumer '{}'", name)));
  return info;
}

Result<void> JetStreamLink::check_present_consumer(const NatsSession& session,
                                                   const std::string& target) {
  auto info = present_consumer(session, consumer_name(target));
  if (!info) return fail(info.error());
  if (!*info) return {};
  return check_consumer(*(*info)->Config, options_);
}

Result<ConsumerInfo> JetStreamLink::ensure_consumer(const NatsSession& session,
                                                    const std::string& target) {
  const std::string name = consumer_name(target);
  auto info = present_consumer(session, name);
  if (!info) return info;
  if (!*info) {
    jsConsumerConfig config;
    jsConsumerConfig_Init(&config);
    config.Durable = name.c_str();
    config.Description = "What transship has yet to bring to this target";
    config.DeliverPolicy = js_DeliverAll;
    config.AckPolicy = js_AckExplicit;
    config.AckWait = nanoseconds(options_.lease);
    config.MaxDeliver = -1;
    config.MaxAckPending = ack_pending_max;
    // A stream may take more than our subjects; a server before 2.10 filters by one.
    if (options_.subjects.size() == 1) config.FilterSubject = options_.subjects.front().c_str();
    jsConsumerInfo* raw = nullptr;
    jsErrCode code{};
    const natsStatus s =
        js_AddConsumer(&raw, session.context(), options_.stream.c_str(), &config, nullptr, &code);
    *info = ConsumerInfo(raw);
    if (s != NATS_OK) return fail(nats_error(s, code, fmt::format("the consumer '{}'", name)));
  }
  if (auto good = check_consumer(*(*info)->Config, options_); !good) return fail(good.error());
  return info;
}

void JetStreamLink::publish(std::vector<Message> messages,
                            Completion<std::vector<Published>> done) {
  std::vector<std::string> subjects;
  std::size_t bytes = 0;
  for (const Message& message : messages) {
    auto subject = subject_of(options_.subjects, message.registry);
    if (!subject) return done.complete(fail(subject.error()));
    subjects.push_back(std::move(*subject));
    bytes += bytes_of(message) + message_overhead_bytes;
  }
  auto now = session();
  if (now && now->gave_up()) call([this] { std::ignore = usable_session(); });
  if (stopped_ || !now || !now->connected()) {
    Error error;
    error.message = "the NATS server does not answer";
    error.unanswered = true;
    return done.complete(fail(std::move(error)));
  }
  if (waiting_bytes_ > 0 && waiting_bytes_ + bytes > JetStream::waiting_bytes_max) {
    return done.complete(fail(ErrorKind::throttled, "the NATS server does not keep up"));
  }
  waiting_bytes_ += bytes;
  auto job = std::make_shared<PublishJob>(std::move(messages), std::move(done),
                                          [this, bytes] { waiting_bytes_ -= bytes; });
  asio::post(sender_, [now, job, s = std::move(subjects)] { now->publish(job, s); });
}

void JetStreamLink::answer(std::string reply, std::string text) {
  if (stopped_) return;
  auto now = session();
  if (!now) return;
  asio::post(sender_, [now, r = std::move(reply), t = std::move(text)] { now->answer(r, t); });
}

void JetStreamLink::keep_thread(std::thread thread, std::shared_ptr<std::atomic<bool>> ended,
                                std::function<void()> end) {
  std::list<Kept> over;
  {
    const std::lock_guard lock(mutex_);
    for (auto kept = threads_.begin(); kept != threads_.end();) {
      const auto next = std::next(kept);
      if (*kept->ended) over.splice(over.end(), threads_, kept);
      kept = next;
    }
    threads_.push_back({std::move(thread), std::move(ended), std::move(end)});
  }
  for (Kept& kept : over) kept.thread.join();
}

void JetStreamLink::stop() {
  const std::lock_guard once(stopping_);
  stopped_ = true;
  calls_.join();
  std::list<Kept> threads;
  std::shared_ptr<NatsSession> last;
  {
    const std::lock_guard lock(mutex_);
    threads.swap(threads_);
  }
  for (Kept& kept : threads) kept.end();
  for (Kept& kept : threads) kept.thread.join();
  sender_.join();
  {
    const std::lock_guard lock(mutex_);
    last.swap(session_);
  }
  if (last) last->drain();
}

}  // namespace transship::bus
