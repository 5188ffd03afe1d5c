#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
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

  // An event takes a moment to come to us: until then nothing is said of what was pushed just now.
  static constexpr std::chrono::seconds hears_within{1};

  // The id of a pair, which it keeps for as long as the process lives.
  PairId add_pair(const Pair& pair);
  // What is no longer configured is not reported any more; should it come back, nobody knows until
  // when it is in step.
  void keep_only(const std::vector<Pair>& pairs);

  // A push of `image` (as the target names it) became known. The same image and time twice is one
  // push. `or_before`: it was pushed then at the latest, nobody knows when; until it is done,
  // nobody knows until when the pair is in step.
  void pushed(PairId pair, const std::string& image, Time at, bool or_before = false);
  // How many bytes an image will have to move, once its manifest was read. 0 again when it is done.
  void set_pending_bytes(PairId pair, const std::string& image, std::uint64_t bytes);
  // That push is at the target (or nothing is left to be done about it). Another push of the image
  // may still be pending.
  void done(PairId pair, const std::string& image, Time at);
  // It is somebody else's now: another daemon's, or the bus's until it comes again.
  void let_go(PairId pair, const std::string& image, Time at);

  // Pushes that nobody here has in hand wait on the bus, the oldest since then; none: no more.
  void set_waiting_on_bus(PairId pair, std::optional<Time> oldest);

  void succeeded(PairId pair, Time now);
  void failed(PairId pair, LastError error);
  // How many images were given up. What they stand for is pending all the same: see pushed().
  // `of_no_push`: how many of them stand for a delete alone; each is a pending image of its own.
  void set_dead_letters(PairId pair, std::uint64_t count, std::uint64_t of_no_push = 0);
  // Whether the breaker stops this pair's deletes until an operator allows them.
  void set_deletes_stopped(PairId pair, bool stopped);
  // Everything that the source showed at `as_of` is at the target, but for what is pending.
  void reconciled(PairId pair, Time as_of);
  // The pair brings something else now: nobody knows until when it is in step.
  void changed(PairId pair) { accounts_.at(pair).reconciled = false; }
  // Something may lack that is not known here as pending, and was seen so at `seen`: the clock of
  // replicated_until stands at `since`, or where it stood, until the pair is reconciled as of then
  // or later.
  void unsure(PairId pair, Time since, Time seen);
  // Whether pushes of this pair reach us; `since`: until when they did for certain. While they do
  // not, the pair is unsure, and stays so until it was reconciled as of a time after they did
  // again.
  void set_hearing(PairId pair, bool hears, Time since, Time now);
  // Whether such a reconciliation is wanted now: true once for each time that pushes reach us
  // again. Not before the first one.
  bool takes_search(PairId pair);

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
    std::set<std::pair<std::string, Time>> or_before;
    std::map<std::string, std::uint64_t> bytes;
    std::uint64_t bytes_sum = 0;
    std::optional<Time> waiting_on_bus;
    std::uint64_t dead_letters = 0;
    std::uint64_t dead_deletes = 0;   // of them
    std::optional<Time> newest_done;  // of its pushes
    bool reconciled = false;
    bool hears = true;
    bool search_wanted = false;
    std::optional<Time> sure_until;  // none: until now
    Time unsure_as_of{};             // reconciled as of then or later, it is sure again
    std::optional<Time> last_success;
    std::optional<LastError> last_error;
    bool deletes_stopped = false;
  };
  static bool remove(Account& account, const std::string& image, Time at);
  [[nodiscard]] static Time heard_until(const Account& account, Time now);
  [[nodiscard]] Report report_of(const Account& account, Time now) const;

  std::vector<Account> accounts_;
};

}  // namespace transship::monitoring
