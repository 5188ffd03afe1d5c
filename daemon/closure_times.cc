#include "daemon/closure_times.h"

#include <fmt/format.h>

#include <charconv>
#include <sstream>

namespace transship {

namespace {

constexpr const char* file_name = "closure-passes";

}  // namespace

ClosureTimes::ClosureTimes(StateDirectory* state) : state_(state) {
  if (state_ != nullptr) add_text(state_->read(file_name, bytes_max).value_or(""));
}

std::optional<ClosureTimes::Time> ClosureTimes::last(const PlacedBy& by, Time now) const {
  const auto found = times_.find(by);
  if (found == times_.end() || found->second > now) return std::nullopt;
  return found->second;
}

void ClosureTimes::note(const PlacedBy& by, Time began) {
  // A rule of the same name from or to elsewhere is another rule.
  std::erase_if(times_, [&](const auto& entry) {
    return entry.first.rule == by.rule && entry.first.target == by.target;
  });
  times_[by] = began;
  if (state_ != nullptr) state_->write(file_name, as_text());
}

// A line for each: seconds since the epoch, rule, source, target. None of them holds a blank.
void ClosureTimes::add_text(std::string_view text) {
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string seconds;
    PlacedBy by;
    if (!(words >> seconds >> by.rule >> by.source >> by.target)) continue;
    std::int64_t value = 0;
    const auto read = std::from_chars(seconds.data(), seconds.data() + seconds.size(), value);
    if (read.ec != std::errc() || read.ptr != seconds.data() + seconds.size()) continue;
    times_[by] = Time(std::chrono::seconds(value));
  }
}

std::string ClosureTimes::as_text() const {
  std::string text;
  for (const auto& [by, time] : times_) {
    text += fmt::format("{} {} {} {}\n", time.time_since_epoch().count(), by.rule, by.source,
                        by.target);
  }
  return text;
}

}  // namespace transship
