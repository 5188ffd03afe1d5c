#include "replicator/target.h"

namespace transship {

namespace {
constexpr std::size_t repositories_max = 100'000;
}

asio::awaitable<Result<bool>> Target::is_fresh(oci::Repository repository) {
  if (const auto known = fresh_.find(repository); known != fresh_.end()) co_return known->second;
  auto exists = co_await registry_.has_repository(repository);
  if (!exists) co_return fail(exists.error());
  note_repository(repository, *exists);
  co_return fresh_.at(repository);
}

void Target::note_repository(const oci::Repository& repository, bool exists) {
  if (fresh_.size() >= repositories_max) fresh_.clear();
  fresh_.emplace(repository, !exists);  // what was known first stands
}

Target::Flight::~Flight() {
  if (target_ == nullptr) return;
  const auto flight = target_->in_flight_.extract(blob_);
  if (!flight.empty()) flight.mapped()->notify();
}

asio::awaitable<Target::Flight> Target::begin(oci::Digest blob) {
  for (;;) {
    const auto other = in_flight_.find(blob);
    if (other == in_flight_.end()) break;
    const std::shared_ptr<Event> ended = other->second;
    co_await ended->wait();
  }
  in_flight_.emplace(blob, std::make_shared<Event>(executor_));
  co_return Flight(*this, std::move(blob));
}

}  // namespace transship
