#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

// The lag ledger: which pushes are known and not yet at each target. Pure bookkeeping; the caller
// brings the time. What the metrics and the status say about lag and backlog comes from here and
// nowhere else, so that they agree.
namespace transship::monitoring {

using Time = std::chrono::sys_time<std::chrono::milliseconds>;

// A rule and one of its targets: the unit of everything that is measured.
struct Pair {
  std::string rule;
  std::string source;
  std::string target;
  friend bool operator==(const Pair&, const Pair&) = default;
};

struct LastError {
  std::string kind;
  std::string message;
  Time at;
};

class Ledger {
 public:
  using PairId = std::size_t;

  // The id of a pair, which it keeps for as long as the process lives.
  PairId add_pair(const Pair& pair);
  // What is no longer configured is not reported any more; should it come back, nobody knows until
  // when it is in step.
  void keep_only(const std::vector<Pair>& pairs);

  // A push of `image` (as the target names it) became known. The same image and time twice is one
  // push.
  void pushed(PairId pair, const std::string& image, Time at);
  // How many bytes an image will have to move, once its manifest was read. 0 again when it is done.
  void set_pending_bytes(PairId pair, const std::string& image, std::uint64_t bytes);
  // That push is at the target (or nothing is left to be done about it). Another push of the image
  // may still be pending.
  void done(PairId pair, const std::string& image, Time at);
  // It is somebody else's now: another daemon's, or the bus's until it comes again.
  void let_go(PairId pair, const std::string& image, Time at) { done(pair, image, at); }

  // Pushes that nobody here has in hand wait on the bus, the oldest since then; none: no more.
  void set_waiting_on_bus(PairId pair, std::optional<Time> oldest);

  void succeeded(PairId pair, Time now);
  void failed(PairId pair, LastError error);
  // How many images were given up. What they stand for is pending all the same: see pushed().
  void set_dead_letters(PairId pair, std::uint64_t count);
  // Whether the breaker stops this pair's deletes until an operator allows them.
  void set_deletes_stopped(PairId pair, bool stopped);
  // Everything that the source showed at `as_of` is at the target, but for what is pending.
  void reconciled(PairId pair, Time as_of);
  // The pair brings something else now: nobody knows until when it is in step.
  void changed(PairId pair) { accounts_.at(pair).reconciled = false; }
  // While the bus is away, pushes may happen that we do not hear of: the clock of replicated_until
  // stands still.
  void set_listening(bool listening, Time now);

  struct Report {
    Pair pair;
    double oldest_pending_seconds = 0;     // 0 when in step
    std::optional<Time> replicated_until;  // none until the first reconciliation
    std::uint64_t pending_images = 0;
    std::uint64_t pending_bytes = 0;
    std::uint64_t dead_letters = 0;
    std::optional<Time> last_success;
    std::optional<LastError> last_error;  // none again after the next success
    bool deletes_stopped = false;
  };
  [[nodiscard]] std::vector<Report> report(Time now) const;

 private:
  struct Account {
    Pair pair;
    bool reported = true;
    std::map<std::string, std::set<Time>> images;
    std::multiset<Time> pushes;  // all of them, oldest first
    std::map<std::string, std::uint64_t> bytes;
    std::uint64_t bytes_sum = 0;
    std::optional<Time> waiting_on_bus;
    std::uint64_t dead_letters = 0;
    bool reconciled = false;
    std::optional<Time> last_success;
    std::optional<LastError> last_error;
    bool deletes_stopped = false;
  };
  [[nodiscard]] Report report_of(const Account& account, Time now) const;

  std::vector<Account> accounts_;
  std::optional<Time> deaf_since_;
};

}  // namespace transship::monitoring
