#include "replicator/target.h"

namespace transship {

namespace {
constexpr std::size_t repositories_max = 100'000;
constexpr std::size_t locations_bytes_max = 64UL << 20U;
constexpr std::chrono::seconds kept_every{60};

std::string locations_file(const registry::Registry& registry) {
  return "locations/" + registry.name();
}
// Its first line: names are the configuration's, and may be given to another registry.
std::string locations_of(const registry::Registry& registry) {
  return "# " + registry.origin() + "\n";
}

}  // namespace

Target::Target(asio::any_io_executor executor, registry::Registry& registry,
               std::size_t blobs_at_once, Commons& commons)
    : registry_(registry),
      commons_(commons),
      uploads_(commons.state.get(), registry.name(), registry.origin()),
      places_(executor, blobs_at_once),
      executor_(std::move(executor)) {
  if (!commons_.state) return;
  const std::string kept =
      commons_.state->read(locations_file(registry_), locations_bytes_max).value_or("");
  if (kept.starts_with(locations_of(registry_))) locations_.add_text(kept);
  kept_changes_ = locations_.changes();
}

Target::~Target() { write_locations(); }

void Target::write_locations() {
  if (!commons_.state || kept_changes_ == locations_.changes()) return;
  kept_changes_ = locations_.changes();
  kept_at_ = std::chrono::steady_clock::now();
  commons_.state->write(locations_file(registry_), locations_of(registry_) + locations_.as_text());
}

void Target::keep_locations() {
  if (std::chrono::steady_clock::now() - kept_at_ >= kept_every) write_locations();
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
