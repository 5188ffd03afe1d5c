#include <algorithm>

#include "daemon/worker.h"

// What was tried of an image before: before a restart, or before its deliveries had to make room.
namespace transship {

namespace {

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

}  // namespace

void Worker::take_up_tries(WorkItem& item) {
  const Tries* tries = attempts_.find(item.key);
  if (tries == nullptr) return;
  const bus::DeadLetter* letter =
      shared_.dead_letters.find(item.names.rule, target_name_, item.source_image());
  if (letter != nullptr && letter->last_failed >= tries->last_error.at)
    return attempts_.forget(item.key);  // it stands for them
  item.attempts = tries->attempts;
  item.first_failed = tries->first_failed;
  item.last_error = tries->last_error;
  const auto pause = retry_pause(retry_, item.attempts, std::nullopt, random_);
  const auto over = tries->last_error.at + pause - now();
  item.not_before = Clock::now() + std::min(over, pause);
}

// An outage alone uses up none, so that there is nothing to keep.
void Worker::keep_tries(const WorkItem& item) {
  if (item.attempts > 0)
    attempts_.note(item.key, {item.attempts, *item.first_failed, *item.last_error});
}

void Worker::forget_unwanted_tries() {
  attempts_.keep_only([this](const std::string& key) {
    const std::size_t blank = key.find(' ');
    const auto image = oci::ImageName::parse(key.substr(blank + 1));
    const config::Rule* rule = shared_.generations.config().find_rule(key.substr(0, blank));
    if (!image || rule == nullptr) return false;
    const auto routes = shared_.generations.routes().to(
        target_name_, rule->source, image->repository.str(), image->reference.str());
    return std::any_of(routes.begin(), routes.end(),
                       [&](const Route& route) { return route.rule == rule; });
  });
}

}  // namespace transship
