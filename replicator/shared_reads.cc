#include "replicator/shared_reads.h"

#include <algorithm>

#include "replicator/http/fitted.h"

namespace transship {

using Clock = std::chrono::steady_clock;

// The copies of one image that are under way.
struct SharedReads::Convoy {
  Convoy(SharedReads& all, ConvoyKey its_key)
      : reads(all), key(std::move(its_key)), changed(all.executor_) {}
  Convoy(const Convoy&) = delete;
  Convoy& operator=(const Convoy&) = delete;
  ~Convoy() { reads.convoys_.erase(key); }

  // How many may still come for a blob.
  [[nodiscard]] std::size_t undecided(const oci::Digest& blob) const {
    const auto found = decided.find(blob);
    return members - (found == decided.end() ? 0 : found->second);
  }
  void decide(Member& member, const oci::Digest& blob);
  void let_go_what_nobody_wants();

  SharedReads& reads;
  ConvoyKey key;
  Event changed;
  std::size_t members = 0;
  std::map<oci::Digest, std::size_t> decided;
  std::map<oci::Digest, std::shared_ptr<Blob>> kept;  // read to the end, and small
  std::optional<Clock::time_point> deadline;          // of waiting for others
};

// One blob that is being read, and the pieces that not all of its readers have had.
struct SharedReads::Blob : std::enable_shared_from_this<Blob> {
  Blob(SharedReads& all, BlobAt at, Semaphore::Place place, std::shared_ptr<Convoy> its_convoy)
      : reads(all),
        from(std::move(at)),
        stream(std::make_unique<BlobStream>(from, 0, std::move(place), all.buffers_)),
        convoy(std::move(its_convoy)),
        share(all.buffers_.share()),
        changed(all.executor_) {}
  Blob(const Blob&) = delete;
  Blob& operator=(const Blob&) = delete;
  ~Blob() {
    const auto found = reads.blobs_.find(BlobKey(&from.registry, from.blob.digest));
    if (found != reads.blobs_.end() && found->second.expired()) reads.blobs_.erase(found);
  }

  // One at a time reads on for all. Where that one is cancelled, another one does.
  class Pulling {
   public:
    explicit Pulling(std::shared_ptr<Blob> blob) : blob_(std::move(blob)) { blob_->pulling = true; }
    Pulling(const Pulling&) = delete;
    Pulling& operator=(const Pulling&) = delete;
    ~Pulling() {
      blob_->pulling = false;
      blob_->changed.notify();
    }

   private:
    std::shared_ptr<Blob> blob_;
  };
  asio::awaitable<void> pull();
  asio::awaitable<bool> wait_for_others();
  [[nodiscard]] bool may_be_joined() const { return first == 0 && !error; }
  [[nodiscard]] bool is_full() const {
    return held >= window_bytes || (tight && held >= window_bytes / 16);
  }
  [[nodiscard]] std::size_t end() const { return first + window.size(); }
  [[nodiscard]] bool others_may_come() const {
    return first == 0 && !gave_up && convoy && convoy->undecided(from.blob.digest) > 0;
  }
  [[nodiscard]] Reader* slowest() const;
  void add(http::Chunk chunk);
  void trim();

  SharedReads& reads;
  BlobAt from;
  std::unique_ptr<BlobStream> stream;  // none once it was read to its end
  std::shared_ptr<Convoy> convoy;
  Budget::Share share;  // of what the window holds
  Event changed;
  std::deque<http::Chunk> window;
  std::size_t first = 0;  // the number of the window's first chunk
  std::size_t held = 0;   // bytes of the window
  bool tight = false;     // the budget gives no more
  bool done = false;
  bool pulling = false;
  bool gave_up = false;  // waiting for others
  std::optional<Error> error;
  std::list<Reader*> readers;  // those that are not detached
};

// --- the copies of an image ---

SharedReads::Member::Member(SharedReads& reads, ConvoyKey key) {
  auto& known = reads.convoys_[key];
  convoy_ = known.lock();
  if (!convoy_) {
    convoy_ = std::make_shared<Convoy>(reads, key);
    known = convoy_;
  }
  ++convoy_->members;
}

SharedReads::Member::~Member() {
  if (!convoy_) return;
  --convoy_->members;
  for (const oci::Digest& blob : decided_) --convoy_->decided[blob];
  convoy_->let_go_what_nobody_wants();
  convoy_->changed.notify();
}

void SharedReads::Member::passes(const oci::Digest& blob) {
  if (convoy_) convoy_->decide(*this, blob);
}

void SharedReads::Convoy::decide(Member& member, const oci::Digest& blob) {
  if (!member.decided_.insert(blob).second) return;
  ++decided[blob];
  let_go_what_nobody_wants();
  changed.notify();
}

void SharedReads::Convoy::let_go_what_nobody_wants() {
  std::erase_if(kept, [&](const auto& entry) { return undecided(entry.first) == 0; });
}

// --- one blob ---

SharedReads::Reader* SharedReads::Blob::slowest() const {
  const auto found =
      std::min_element(readers.begin(), readers.end(),
                       [](const Reader* a, const Reader* b) { return a->next_ < b->next_; });
  return found == readers.end() ? nullptr : *found;
}

void SharedReads::Blob::add(http::Chunk chunk) {
  held += chunk->size();
  // What a single reader takes at once needs no room.
  const bool stays = readers.size() > 1 || others_may_come();
  tight = stays && !share.grow(chunk->size());
  window.push_back(stays ? http::fitted(std::move(chunk)) : std::move(chunk));
}

void SharedReads::Blob::trim() {
  if (others_may_come()) return;
  const Reader* last = slowest();
  const std::size_t needed = last == nullptr ? end() : last->next_;
  while (first < needed && !window.empty()) {
    held -= window.front()->size();
    window.pop_front();
    ++first;
  }
  if (share.bytes() > held) share.shrink(share.bytes() - held);
}

// True when something has changed: then everything is to be looked at again.
asio::awaitable<bool> SharedReads::Blob::wait_for_others() {
  if (!is_full()) co_return false;
  trim();
  if (!is_full()) co_return true;
  Reader* last = slowest();
  if (last != nullptr && last->next_ < end()) {
    const auto began = Clock::now();
    const auto allowed = indulgence - last->held_back_;
    if (allowed > Clock::duration::zero()) {
      co_await changed.wait_until(began + allowed);
      if (std::find(readers.begin(), readers.end(), last) != readers.end())
        last->held_back_ += Clock::now() - began;
      co_return true;
    }
    auto place = from.registry.try_connect();
    if (place) {
      last->detached_ = std::move(place);
      readers.remove(last);
      trim();
    } else {
      co_await changed.wait();
    }
    co_return true;
  }
  if (!others_may_come()) co_return false;
  if (!convoy->deadline) convoy->deadline = Clock::now() + patience;
  if (Clock::now() < *convoy->deadline) {
    co_await convoy->changed.wait_until(*convoy->deadline);
  } else {
    gave_up = true;
  }
  co_return true;
}

asio::awaitable<void> SharedReads::Blob::pull() {
  const auto self = shared_from_this();
  const Pulling pulling_now(self);
  if (co_await wait_for_others()) co_return;
  auto chunk = co_await stream->next();
  if (!chunk) {
    error = chunk.error();
    co_return;
  }
  if (*chunk) add(std::move(*chunk));
  if (stream->position() < from.blob.size) co_return;
  done = true;
  stream.reset();  // and its connection
  if (others_may_come()) convoy->kept.emplace(from.blob.digest, self);
}

// --- one reader ---

SharedReads::Reader::Reader(std::shared_ptr<Blob> blob) : blob_(std::move(blob)) {
  blob_->readers.push_back(this);
}

SharedReads::Reader::~Reader() {
  blob_->readers.remove(this);
  blob_->trim();
  blob_->changed.notify();
}

asio::awaitable<Result<http::Chunk>> SharedReads::Reader::next() {
  for (;;) {
    Blob& blob = *blob_;
    if (detached_ && !own_) {
      own_ = std::make_unique<BlobStream>(blob.from, position_, std::move(*detached_),
                                          blob.reads.buffers_);
      if (auto opened = co_await own_->open(); !opened) co_return fail(opened.error());
    }
    if (own_) co_return co_await own_->next();
    if (next_ < blob.end()) {
      http::Chunk chunk = blob.window.at(next_ - blob.first);
      ++next_;
      position_ += chunk->size();
      blob.trim();
      blob.changed.notify();
      co_return chunk;
    }
    if (blob.error) co_return fail(*blob.error);
    if (blob.done) co_return http::Chunk{};
    if (blob.pulling) {
      co_await blob.changed.wait();
    } else {
      co_await blob.pull();
    }
  }
}

std::shared_ptr<SharedReads::Blob> SharedReads::joinable(const BlobAt& from) const {
  const auto known = blobs_.find(BlobKey(&from.registry, from.blob.digest));
  auto blob = known == blobs_.end() ? nullptr : known->second.lock();
  if (!blob || !blob->may_be_joined() || blob->from.blob.size != from.blob.size) return nullptr;
  return blob;
}

std::unique_ptr<SharedReads::Reader> SharedReads::join(const BlobAt& from, Member* member) {
  auto blob = joinable(from);
  if (!blob) return nullptr;
  auto reader = std::make_unique<Reader>(std::move(blob));
  if (member != nullptr) member->passes(from.blob.digest);
  return reader;
}

asio::awaitable<Result<std::unique_ptr<SharedReads::Reader>>> SharedReads::open(
    BlobAt from, Member* member, Semaphore::Place place) {
  const BlobKey key(&from.registry, from.blob.digest);
  const oci::Digest digest = from.blob.digest;
  auto blob = std::make_shared<Blob>(*this, std::move(from), std::move(place),
                                     member != nullptr ? member->convoy_ : nullptr);
  blobs_[key] = blob;
  auto reader = std::make_unique<Reader>(blob);
  if (member != nullptr) member->passes(digest);
  const Blob::Pulling pulling_now(blob);
  if (auto opened = co_await blob->stream->open(); !opened) {
    blob->error = opened.error();
    co_return fail(opened.error());
  }
  co_return reader;
}

}  // namespace transship
