#include "daemon/prefetch.h"

#include <fmt/format.h>

#include <algorithm>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <limits>

#include "daemon/log.h"
#include "replicator/blob_copy.h"

namespace transship {

namespace {

constexpr std::chrono::milliseconds look_for_room_every{100};
constexpr int priority_below_all_rules = std::numeric_limits<int>::min();

}  // namespace

std::optional<BlobHint> BlobHint::of(const std::string& registry, const events::Event& event) {
  if (event.action != events::Action::blob_push || !event.digest || !event.size || is_ours(event))
    return std::nullopt;
  auto repository = oci::Repository::parse(event.repository);
  auto digest = oci::Digest::parse(*event.digest);
  if (!repository || !digest) return std::nullopt;
  return BlobHint{registry, std::move(*repository),
                  oci::Descriptor{event.media_type.value_or("application/octet-stream"),
                                  std::move(*digest),
                                  *event.size,
                                  {},
                                  {}},
                  std::chrono::steady_clock::now()};
}

Prefetch::Prefetch(asio::any_io_executor executor, const Generations& generations,
                   std::string target, Parts parts)
    : executor_(std::move(executor)),
      generations_(generations),
      target_(std::move(target)),
      parts_(std::move(parts)),
      changed_(executor_) {}
Prefetch::~Prefetch() = default;

void Prefetch::offer(BlobHint hint) {
  if (stopping_ ||
      generations_.routes().for_blobs(target_, hint.registry, hint.repository.str()).empty() ||
      !known_.insert(hint.key()).second)
    return;
  hints_.push_back(std::move(hint));
  if (hints_.size() > hints_max) {
    known_.erase(hints_.front().key());
    hints_.pop_front();
  }
  changed_.notify();
}

asio::awaitable<void> Prefetch::run() {
  running_ = true;
  while (!stopping_) {
    forget_the_old();
    if (hints_.empty()) {
      co_await changed_.wait();
    } else if (!start_one()) {
      co_await changed_.wait_until(Clock::now() + look_for_room_every);
    }
  }
  running_ = false;
  changed_.notify();
}

void Prefetch::forget_the_old() {
  while (!hints_.empty() && Clock::now() - hints_.front().arrived_at > hint_life) {
    known_.erase(hints_.front().key());
    hints_.pop_front();
  }
}

// False where nothing can start now.
bool Prefetch::start_one() {
  if (!parts_.is_calm() || !parts_.answers(target_)) return false;
  const auto next = std::find_if(hints_.begin(), hints_.end(),
                                 [this](const BlobHint& hint) { return has_room(hint); });
  if (next == hints_.end()) return false;
  BlobHint hint = std::move(*next);
  hints_.erase(next);
  start(std::move(hint));
  return true;
}

// Half of all places and connections is left to images, so that they never wait for what is only
// a head start.
bool Prefetch::has_room(const BlobHint& hint) const {
  Generation& generation = *generations_.now();
  if (generation.config.find_registry(hint.registry) == nullptr) return true;  // to be dropped
  Target& target = generation.fleet.target(target_);
  return parts_.answers(hint.registry) && target.places().half_is_free() &&
         target.registry().half_is_free() &&
         generation.fleet.registry(hint.registry).half_is_free();
}

void Prefetch::start(BlobHint hint) {
  const auto flight = flights_.emplace(flights_.end());
  flight->key = hint.key();
  asio::co_spawn(executor_, fetch(std::move(hint)),
                 asio::bind_cancellation_slot(flight->cancel.slot(),
                                              [this, flight](const std::exception_ptr&) {
                                                known_.erase(flight->key);
                                                flights_.erase(flight);
                                                changed_.notify();
                                              }));
}

asio::awaitable<void> Prefetch::fetch(BlobHint hint) {
  const std::shared_ptr<Generation> generation = generations_.now();
  if (generation->config.find_registry(hint.registry) == nullptr) co_return;
  registry::Registry& source = generation->fleet.registry(hint.registry);
  Target& target = generation->fleet.target(target_);
  // What several targets lack is read once for all of them.
  auto member = target.commons().reads.announce(source, hint.repository, hint.blob.digest);
  for (const Route& route :
       generation->routes.for_blobs(target_, hint.registry, hint.repository.str())) {
    auto repository = oci::Repository::parse(route.target_repository);
    if (!repository || target.locations().holds(hint.blob.digest, *repository)) continue;
    BlobJob job{source, hint.repository, target, *repository};
    job.priority = priority_below_all_rules;
    job.image = &member;
    const auto outcome = co_await copy_blob(std::move(job), {hint.blob, BlobAction::send, {}});
    const log::Fields fields{{"rule", route.rule->name}, {"target", target_}};
    if (outcome) {
      log::debug(fmt::format("fetched ahead of its image: {}", hint.key()), fields);
    } else {
      log::debug("not fetched ahead of its image: " + outcome.error().message, fields);
    }
  }
}

asio::awaitable<void> Prefetch::stop() {
  stopping_ = true;
  hints_.clear();
  for (Flight& flight : flights_) flight.cancel.emit(asio::cancellation_type::terminal);
  changed_.notify();
  while (running_ || !flights_.empty()) co_await changed_.wait();
}

}  // namespace transship
