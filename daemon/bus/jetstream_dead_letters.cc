#include "daemon/bus/jetstream_dead_letters.h"

#include <fmt/format.h>

#include <algorithm>

namespace transship::bus {
namespace {

constexpr std::uint64_t read_at_once = 256;
constexpr std::int64_t read_wait_ns = 2'000'000'000;

// The stream, and what is asked of it; all of it may wait.
class Shelf {
 public:
  Shelf(JetStreamLink& link, std::shared_ptr<NatsSession> session)
      : link_(link),
        session_(std::move(session)),
        stream_(link.options().stream + "_DEAD"),
        subjects_("transship.dead." + link.options().stream) {}

  [[nodiscard]] std::string subject(const std::string& target, const std::string& id) const {
    return fmt::format("{}.{}.{}", subjects_, target, id);
  }

  Result<StreamInfo> look() {
    jsErrCode code{};
    auto info = ask(code);
    if (info || (code != JSStreamNotFoundErr && info.error().kind != ErrorKind::not_found))
      return info;
    if (auto made = make(); !made) return fail(made.error());
    return ask(code);
  }

  Result<void> put(const std::string& subject, const std::string& text) {
    jsErrCode code{};
    const natsStatus s = js_Publish(nullptr, session_->context(), subject.c_str(), text.data(),
                                    static_cast<int>(text.size()), nullptr, &code);
    if (s != NATS_OK) return fail(nats_error(s, code, "store a dead letter in " + stream_));
    return {};
  }

  Result<void> remove(const std::string& subject) {
    jsOptions options;
    jsOptions_Init(&options);
    options.Stream.Purge.Subject = subject.c_str();
    jsErrCode code{};
    const natsStatus s = js_PurgeStream(session_->context(), stream_.c_str(), &options, &code);
    if (s != NATS_OK) return fail(nats_error(s, code, "remove a dead letter from " + stream_));
    return {};
  }

  // `count`: how many there are, as the stream says. A read for more than that would wait for them.
  Result<std::vector<DeadLetter>> read_all(std::uint64_t count) {
    auto subscription = subscribe();
    if (!subscription) return fail(subscription.error());
    std::vector<DeadLetter> letters;
    while (count > 0) {
      jsFetchRequest wanted;
      jsFetchRequest_Init(&wanted);
      wanted.Batch = static_cast<int>(std::min(count, read_at_once));
      wanted.NoWait = true;
      wanted.Expires = read_wait_ns;
      natsMsgList list{};
      const natsStatus s = natsSubscription_FetchRequest(&list, subscription->get(), &wanted);
      for (int i = 0; i < list.Count; ++i) {
        auto letter =
            parse_dead_letter({natsMsg_GetData(list.Msgs[i]),
                               static_cast<std::size_t>(natsMsg_GetDataLength(list.Msgs[i]))});
        if (letter) letters.push_back(std::move(*letter));
      }
      count = list.Count > 0 ? still_there(list.Msgs[list.Count - 1]) : 0;
      natsMsgList_Destroy(&list);
      if (s != NATS_OK && s != NATS_TIMEOUT && s != NATS_NOT_FOUND)
        return fail(nats_error(s, {}, "read the dead letters in " + stream_));
    }
    return letters;
  }

 private:
  // Behind this message.
  static std::uint64_t still_there(natsMsg* message) {
    jsMsgMetaData* raw = nullptr;
    if (natsMsg_GetMetaData(&raw, message) != NATS_OK) return 0;
    return MessageMetaData(raw)->NumPending;
  }

  Result<StreamInfo> ask(jsErrCode& code) {
    jsStreamInfo* raw = nullptr;
    const natsStatus s =
        js_GetStreamInfo(&raw, session_->context(), stream_.c_str(), nullptr, &code);
    if (s != NATS_OK) return fail(nats_error(s, code, "look at the stream " + stream_));
    return StreamInfo(raw);
  }

  Result<void> make() {
    const std::string all = subjects_ + ".>";
    const char* subject = all.c_str();
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = stream_.c_str();
    config.Description = "Images that transship could not copy; an operator retries or drops them";
    config.Subjects = &subject;
    config.SubjectsLen = 1;
    config.MaxMsgsPerSubject = 1;
    return link_.add_stream(*session_, config);
  }

  // A consumer for this reading alone: the server forgets it soon after.
  Result<NatsSubscription> subscribe() {
    const std::string all = subjects_ + ".>";
    jsSubOptions options;
    jsSubOptions_Init(&options);
    options.Stream = stream_.c_str();
    options.Config.AckPolicy = js_AckNone;
    options.Config.DeliverPolicy = js_DeliverAll;
    natsSubscription* raw = nullptr;
    jsErrCode code{};
    const natsStatus s =
        js_PullSubscribe(&raw, session_->context(), all.c_str(), nullptr, nullptr, &options, &code);
    if (s != NATS_OK) return fail(nats_error(s, code, "read the dead letters in " + stream_));
    return NatsSubscription(raw);
  }

  JetStreamLink& link_;
  std::shared_ptr<NatsSession> session_;
  std::string stream_;
  std::string subjects_;
};

template <class T>
asio::awaitable<Result<T>> with_shelf(std::shared_ptr<JetStreamLink> link,
                                      std::function<Result<T>(Shelf&, const StreamInfo&)> work) {
  co_return co_await answered<T>([link, work = std::move(work)](auto done) mutable {
    link->call([link, w = std::move(work), d = std::move(done)]() mutable {
      auto session = link->usable_session();
      if (!session) return d.complete(fail(session.error()));
      Shelf shelf(*link, *session);
      auto info = shelf.look();
      if (!info) return d.complete(fail(info.error()));
      d.complete(w(shelf, *info));
    });
  });
}

}  // namespace

asio::awaitable<Result<DeadLetters::Listing>> JetStreamDeadLetters::list(
    std::string known_version) {
  co_return co_await with_shelf<Listing>(
      link_,
      [known = std::move(known_version)](Shelf& shelf, const StreamInfo& info) -> Result<Listing> {
        // The last sequence grows with every put, and the number shrinks with every removal.
        Listing listing{fmt::format("{}/{}", info->State.LastSeq, info->State.Msgs), std::nullopt};
        if (listing.version == known) return listing;
        listing.letters.emplace();
        if (info->State.Msgs == 0) return listing;
        auto letters = shelf.read_all(info->State.Msgs);
        if (!letters) return fail(letters.error());
        listing.letters = std::move(*letters);
        return listing;
      });
}

asio::awaitable<Result<void>> JetStreamDeadLetters::put(DeadLetter letter) {
  co_return co_await with_shelf<void>(
      link_, [letter = std::move(letter)](Shelf& shelf, const StreamInfo&) {
        return shelf.put(shelf.subject(letter.target, letter.id), to_text(letter));
      });
}

asio::awaitable<Result<void>> JetStreamDeadLetters::remove(std::string target, std::string id) {
  co_return co_await with_shelf<void>(
      link_, [target = std::move(target), id = std::move(id)](Shelf& shelf, const StreamInfo&) {
        return shelf.remove(shelf.subject(target, id));
      });
}

}  // namespace transship::bus
