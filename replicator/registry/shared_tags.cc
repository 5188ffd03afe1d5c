#include "replicator/registry/shared_tags.h"

#include "replicator/registry/registry.h"

namespace transship::registry {

namespace {

constexpr std::size_t costs_max = 10'000;
constexpr std::size_t names_a_request = 1'000;
constexpr std::size_t cost_of_the_impossible = 1'000'000;  // a list that is refused

}  // namespace

TagTurns::Turn::~Turn() {
  if (turns_ == nullptr) return;
  const auto turn = turns_->taken_.extract(key_);
  if (!turn.empty()) turn.mapped()->notify();
}

asio::awaitable<TagTurns::Turn> TagTurns::take(oci::Repository repository, oci::Tag tag) {
  Key key(std::move(repository), std::move(tag));
  for (;;) {
    const auto other = taken_.find(key);
    if (other == taken_.end()) break;
    const std::shared_ptr<Event> ended = other->second;
    co_await ended->wait();
  }
  taken_.emplace(key, std::make_shared<Event>(co_await asio::this_coro::executor));
  co_return Turn(*this, std::move(key));
}

std::size_t TagLists::cost(const oci::Repository& repository) const {
  const auto known = costs_.find(repository);
  return known == costs_.end() ? 1 : known->second;
}

asio::awaitable<Result<TagLists::List>> TagLists::now(oci::Repository repository) {
  std::shared_ptr<Reading> reading = readings_[repository].lock();
  if (!reading) {
    std::erase_if(readings_, [](const auto& entry) { return entry.second.expired(); });
    reading = std::make_shared<Reading>(co_await asio::this_coro::executor);
    readings_[repository] = reading;
  }
  const std::uint64_t wanted = reading->begun + 1;
  while (reading->ended < wanted) {
    if (reading->under_way) {
      co_await reading->ended_one.wait();
    } else {
      co_await read(repository, *reading);
    }
  }
  co_return reading->latest;
}

asio::awaitable<void> TagLists::read(oci::Repository repository, Reading& reading) {
  struct Under {  // whoever waits goes on by itself where this one is broken off
    Reading& reading;
    ~Under() {
      reading.under_way = false;
      reading.ended_one.notify();
    }
  };
  reading.under_way = true;
  const std::uint64_t number = ++reading.begun;
  const Under under{reading};
  auto tags = co_await registry_.list_tags(repository);
  reading.ended = number;
  if (costs_.size() >= costs_max) costs_.clear();
  if (!tags) {
    costs_[repository] = cost_of_the_impossible;
    reading.latest = fail(tags.error());
    co_return;
  }
  auto names = *tags ? std::move(**tags) : std::vector<std::string>();
  costs_[repository] = names.size() / names_a_request + 1;
  reading.latest = std::make_shared<const std::vector<std::string>>(std::move(names));
}

}  // namespace transship::registry
