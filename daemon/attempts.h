#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "monitoring/ledger.h"
#include "replicator/state_directory.h"

namespace transship {

// What has been tried of one image that fails.
struct Tries {
  unsigned attempts = 0;  // answered failures
  monitoring::Time first_failed;
  monitoring::LastError last_error;
};

// The tries of a target's failing images, so that a restart does not begin them anew: one that
// always fails is given up after all its tries, however often the daemon is started meanwhile. Kept
// in a file of the state directory, which is written soon after a change, but at most once a
// second; to lose it costs tries.
class Attempts {
 public:
  using Time = monitoring::Time;

  // Of more images than that, those with the fewest tries are not kept.
  static constexpr std::size_t images_max = 1000;
  static constexpr std::size_t bytes_max = 4UL << 20U;   // of the file
  static constexpr std::size_t message_bytes_max = 500;  // of an error, as it is kept
  static constexpr std::chrono::hours kept_for{7 * 24};  // since the last failure
  static constexpr std::chrono::milliseconds write_every{1000};

  // `state`: none where nothing is kept.
  Attempts(asio::any_io_executor executor, StateDirectory* state, const std::string& target,
           Time now);
  ~Attempts() { flush(); }
  Attempts(const Attempts&) = delete;
  Attempts& operator=(const Attempts&) = delete;

  // `key`: WorkItem::key. Null where nothing is known of the image.
  [[nodiscard]] const Tries* find(const std::string& key) const;
  void note(const std::string& key, Tries tries);
  // It is at the target, or was given up.
  void forget(const std::string& key);
  // Forgets those that nobody wants any more.
  void keep_only(const std::function<bool(const std::string& key)>& is_wanted);
  // Writes what was not written yet.
  void flush();

 private:
  void read(Time now);
  bool add_text(std::string_view text, Time now);
  [[nodiscard]] std::string as_text() const;
  void changed();

  StateDirectory* state_;
  const std::string file_;
  const std::string target_;
  std::map<std::string, Tries> images_;
  asio::steady_timer timer_;
  std::chrono::steady_clock::time_point written_ = {};
  bool dirty_ = false;
};

}  // namespace transship
