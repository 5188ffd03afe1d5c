#include "daemon/delete_breaker.h"

#include <fmt/format.h>

namespace transship {

std::string DeleteBreaker::reason(std::uint64_t gone, std::uint64_t tags) {
  return fmt::format(
      "{} of {} tags are gone from the source{}: nothing is deleted until an operator allows it "
      "(transship sync --allow-deletes, or POST /api/v1/reconcile with allow_deletes)",
      gone, tags, trips(gone, tags) ? ", more than a tenth" : ", and deletes were stopped before");
}

bool DeleteBreaker::allows(const PlacedBy& by, std::uint64_t tags, Time now) {
  std::deque<Time>& gone = gone_[by];
  while (!gone.empty() && now - gone.front() >= window) gone.pop_front();
  if (trips(gone.size() + 1, tags + gone.size())) return false;
  gone.push_back(now);
  return true;
}

void DeleteBreaker::take_back(const PlacedBy& by) {
  const auto found = gone_.find(by);
  if (found != gone_.end() && !found->second.empty()) found->second.pop_back();
}

std::uint64_t DeleteBreaker::within_window(const PlacedBy& by) const {
  const auto found = gone_.find(by);
  return found == gone_.end() ? 0 : found->second.size();
}

}  // namespace transship
