#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/placed_tags.h"
#include "replicator/state_directory.h"

namespace transship {

// When a closure pass, one that also checks what unchanged tags reach, was last finished for a rule
// and a target. Kept in a file of the state directory; to lose it costs one closure pass too many.
class ClosureTimes {
 public:
  using Time = std::chrono::sys_seconds;
  static constexpr std::size_t bytes_max = 8UL << 20U;  // of the file

  // `state`: none where nothing is kept.
  explicit ClosureTimes(StateDirectory* state);

  // None where it is not known, or lies in the future.
  [[nodiscard]] std::optional<Time> last(const PlacedBy& by, Time now) const;
  void note(const PlacedBy& by, Time began);

 private:
  void add_text(std::string_view text);
  [[nodiscard]] std::string as_text() const;

  StateDirectory* state_;
  std::map<PlacedBy, Time> times_;
};

}  // namespace transship
