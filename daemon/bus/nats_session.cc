#include "daemon/bus/nats_session.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <map>

#include "daemon/bus/message.h"

namespace transship::bus {
namespace {

constexpr std::int64_t connect_ms = 2'000;
constexpr std::int64_t call_ms = 5'000;
constexpr std::int64_t write_ms = 2'000;
constexpr std::int64_t drain_ms = 2'000;
constexpr std::int64_t reconnect_wait_ms = 250;
constexpr std::int64_t reconnect_jitter_ms = 1'000;
constexpr std::int64_t ping_ms = 10'000;
constexpr int pings_unanswered_max = 2;
constexpr int reconnect_buffer_bytes = 1 << 20;  // answers given while no server is there

struct States {
  std::mutex mutex;
  std::map<std::uintptr_t, std::weak_ptr<NatsState>> by_number;
  std::uintptr_t last = 0;
};
States& states() {
  static States all;
  return all;
}

// "nats://user:secret@host:4222" without the secret.
std::string without_secrets(const std::string& url) {
  const std::size_t at = url.rfind('@');
  const std::size_t scheme = url.find("://");
  if (at == std::string::npos) return url;
  return (scheme == std::string::npos ? "" : url.substr(0, scheme + 3)) + url.substr(at + 1);
}

Result<NatsOptions> options_for(const JetStreamOptions& options) {
  natsOptions* raw = nullptr;
  natsStatus s = natsOptions_Create(&raw);
  NatsOptions made(raw);
  std::vector<const char*> servers;
  for (const std::string& server : options.servers) servers.push_back(server.c_str());
  const auto set = [&s](natsStatus next) { s = s == NATS_OK ? next : s; };
  set(natsOptions_SetServers(raw, servers.data(), static_cast<int>(servers.size())));
  set(natsOptions_SetName(raw, options.client_name.c_str()));
  set(natsOptions_SetTimeout(raw, connect_ms));
  set(natsOptions_SetWriteDeadline(raw, write_ms));
  set(natsOptions_SetAllowReconnect(raw, true));
  set(natsOptions_SetMaxReconnect(raw, -1));
  set(natsOptions_SetReconnectWait(raw, reconnect_wait_ms));
  set(natsOptions_SetReconnectJitter(raw, reconnect_jitter_ms, reconnect_jitter_ms));
  set(natsOptions_SetReconnectBufSize(raw, reconnect_buffer_bytes));
  set(natsOptions_SetPingInterval(raw, ping_ms));
  set(natsOptions_SetMaxPingsOut(raw, pings_unanswered_max));
  // The library's own handler writes to stderr.
  set(natsOptions_SetErrorHandler(
      raw,
      [](natsConnection*, natsSubscription*, natsStatus why, void*) {
        spdlog::debug("nats: {}", natsStatus_GetText(why));
      },
      nullptr));
  if (!options.credentials_file.empty()) {
    set(natsOptions_SetUserCredentialsFromFiles(raw, options.credentials_file.c_str(), nullptr));
  }
  if (s != NATS_OK) return fail(nats_error(s, {}, "the settings of the NATS connection"));
  return made;
}

}  // namespace

PublishJob::PublishJob(std::vector<Message> messages, Completion<std::vector<Published>> done,
                       std::function<void()> finished)
    : messages_(std::move(messages)),
      outcomes_(messages_.size(), Published::stored),
      missing_(messages_.size()),
      done_(std::move(done)),
      finished_(std::move(finished)) {}

void PublishJob::settle(std::size_t index, const Result<Published>& outcome) {
  const std::lock_guard lock(mutex_);
  if (outcome) {
    outcomes_.at(index) = *outcome;
  } else if (!error_) {
    error_ = outcome.error();
  }
  if (--missing_ > 0) return;
  finished_();
  if (error_) {
    done_.complete(fail(*error_));
  } else {
    done_.complete(std::move(outcomes_));
  }
}

std::shared_ptr<NatsState> NatsState::make() {
  std::shared_ptr<NatsState> made(new NatsState);
  const std::lock_guard lock(states().mutex);
  const std::uintptr_t number = ++states().last;
  states().by_number.emplace(number, made);
  made->number_ = reinterpret_cast<void*>(number);
  return made;
}

NatsState::~NatsState() {
  const std::lock_guard lock(states().mutex);
  states().by_number.erase(reinterpret_cast<std::uintptr_t>(number_));
}

std::shared_ptr<NatsState> NatsState::find(void* number) {
  const std::lock_guard lock(states().mutex);
  const auto found = states().by_number.find(reinterpret_cast<std::uintptr_t>(number));
  return found == states().by_number.end() ? nullptr : found->second.lock();
}

void NatsState::listen(natsOptions* options) const {
  natsOptions_SetDisconnectedCB(options, &NatsState::on_change, number_);
  natsOptions_SetReconnectedCB(options, &NatsState::on_change, number_);
  natsOptions_SetClosedCB(options, &NatsState::on_change, number_);
}

void NatsState::listen(jsOptions& options) const {
  options.PublishAsync.AckHandler = &NatsState::on_ack;
  options.PublishAsync.AckHandlerClosure = number_;
}

void NatsState::on_change(natsConnection* connection, void* number) {
  const auto state = find(number);
  if (!state) return;
  ++state->times_lost_;  // a reconnect counts too: it was lost before
  state->take(connection);
}

// However late or out of turn a callback comes, what counts is how things are now.
void NatsState::take(natsConnection* connection) {
  const natsConnStatus status = natsConnection_Status(connection);
  const std::int64_t bytes = natsConnection_GetMaxPayload(connection);
  connected_ = status == NATS_CONN_STATUS_CONNECTED;
  gave_up_ = status == NATS_CONN_STATUS_CLOSED;
  if (bytes > 0) payload_bytes_max_ = static_cast<std::size_t>(bytes);
}

void NatsState::add(const natsMsg* message, std::shared_ptr<PublishJob> job, std::size_t index) {
  const std::lock_guard lock(mutex_);
  waiting_[message] = Waiting{std::move(job), index};
}

void NatsState::settle(const natsMsg* message, const Result<Published>& outcome) {
  Waiting waiting;
  {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(message);
    if (found == waiting_.end()) return;
    waiting = std::move(found->second);
    waiting_.erase(found);
  }
  waiting.job->settle(waiting.index, outcome);
}

void NatsState::fail_all(const Error& error) {
  std::unordered_map<const natsMsg*, Waiting> all;
  {
    const std::lock_guard lock(mutex_);
    all.swap(waiting_);
  }
  for (auto& [message, waiting] : all) waiting.job->settle(waiting.index, fail(error));
}

void NatsState::on_ack(jsCtx* /*context*/, natsMsg* message, jsPubAck* ack, jsPubAckErr* error,
                       void* number) {
  const NatsMessage owner(message);
  const auto table = find(number);
  if (!table) return;
  if (ack != nullptr) {
    table->settle(message, ack->Duplicate ? Published::duplicate : Published::stored);
    return;
  }
  Error why = nats_error(error->Err, error->ErrCode, "publish to JetStream");
  // `invalid` is for what is wrong with the message; what the server has against the stream may
  // pass.
  if (why.kind == ErrorKind::invalid && error->ErrCode != JSStreamMessageExceedsMaximumErr) {
    why.kind = ErrorKind::transient;
  }
  if (error->ErrText != nullptr)
    why.message = fmt::format("publish to JetStream: {}", error->ErrText);
  table->settle(message, fail(std::move(why)));
}

Result<std::shared_ptr<NatsSession>> NatsSession::connect(const JetStreamOptions& options) {
  auto settings = options_for(options);
  if (!settings) return fail(settings.error());
  std::shared_ptr<NatsSession> session(new NatsSession);
  session->state_ = NatsState::make();
  session->state_->listen(settings->get());
  natsConnection* connection = nullptr;
  if (natsStatus s = natsConnection_Connect(&connection, settings->get()); s != NATS_OK) {
    std::string names;
    for (const std::string& server : options.servers) {
      names += (names.empty() ? "" : ", ") + without_secrets(server);
    }
    return fail(nats_error(s, {}, fmt::format("connect to NATS at {}", names)));
  }
  session->connection_.reset(connection);
  session->state_->take(connection);
  jsOptions js;
  jsOptions_Init(&js);
  js.Wait = call_ms;
  session->state_->listen(js);
  jsCtx* context = nullptr;
  if (natsStatus s = natsConnection_JetStream(&context, connection, &js); s != NATS_OK) {
    return fail(nats_error(s, {}, "use JetStream"));
  }
  session->context_.reset(context);
  return session;
}

NatsSession::~NatsSession() {
  if (connection_) natsConnection_Close(connection_.get());
  context_.reset();
  connection_.reset();
  if (state_) {
    Error error;
    error.message = "the connection to NATS was closed before it confirmed the event";
    state_->fail_all(error);
  }
}

void NatsSession::publish(const std::shared_ptr<PublishJob>& job,
                          const std::vector<std::string>& subjects) {
  jsPubOptions options;
  jsPubOptions_Init(&options);
  options.MaxWait = call_ms;
  for (std::size_t i = 0; i < job->messages().size(); ++i) {
    const Message& message = job->messages()[i];
    natsMsg* raw = nullptr;
    natsStatus s = natsMsg_Create(&raw, subjects[i].c_str(), nullptr, message.body.data(),
                                  static_cast<int>(message.body.size()));
    for (const auto& [name, value] : message.headers) {
      if (s == NATS_OK) s = natsMsgHeader_Set(raw, name.c_str(), value.c_str());
    }
    const std::string key = dedup_key(message);
    options.MsgId = key.empty() ? nullptr : key.c_str();
    // Its acknowledgement may be there before the call returns, and then the handle is gone.
    const natsMsg* handle = raw;
    if (s == NATS_OK) {
      state_->add(handle, job, i);
      s = js_PublishMsgAsync(context_.get(), &raw, &options);
      if (s != NATS_OK) state_->settle(handle, fail(nats_error(s, {}, "publish to JetStream")));
    } else {
      job->settle(i, fail(nats_error(s, {}, "make a NATS message")));
    }
    natsMsg_Destroy(raw);
  }
}

void NatsSession::answer(const std::string& reply, const std::string& text) {
  std::ignore = natsConnection_PublishString(connection_.get(), reply.c_str(), text.c_str());
}

void NatsSession::drain() {
  if (!connected()) return;
  jsPubOptions options;
  jsPubOptions_Init(&options);
  options.MaxWait = drain_ms;
  std::ignore = js_PublishAsyncComplete(context_.get(), &options);
  std::ignore = natsConnection_FlushTimeout(connection_.get(), drain_ms);
}

}  // namespace transship::bus
