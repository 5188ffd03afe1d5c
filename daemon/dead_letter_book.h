#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "config/config.h"
#include "daemon/bus/dead_letters.h"
#include "daemon/generation.h"
#include "monitoring/ledger.h"
#include "monitoring/metrics.h"

namespace transship {

// The dead letters of this daemon's targets, as the bus holds them, and what the ledger and the
// metrics say of them: the pushes that one stands for are pending until it goes. Other daemons of a
// target put and remove them too, so it is read anew now and then.
class DeadLetterBook {
 public:
  // A target with so many gets no more: what fails then waits on the bus and is tried on.
  static constexpr std::size_t of_a_target_max = 10'000;

  DeadLetterBook(bus::DeadLetters& storage, const Generations& generations,
                 monitoring::Ledger& ledger, monitoring::Metrics& metrics)
      : storage_(storage), generations_(generations), ledger_(ledger), metrics_(metrics) {}

  // Takes over what the bus holds, and removes there what could not be removed when it was due.
  asio::awaitable<Result<void>> refresh();
  // Durable when it returns without an error.
  asio::awaitable<Result<void>> put(bus::DeadLetter letter);
  // Gone for the ledger at once; from the bus as soon as it can be, at the latest with a refresh.
  asio::awaitable<Result<void>> remove(std::string id);

  // Makes another configuration hold, and accounts for the letters by that. Those of targets that
  // are new come with the next refresh.
  void across(const std::function<void()>& change);

  // Null where there is none. Valid until the next wait.
  [[nodiscard]] const bus::DeadLetter* find(const std::string& id) const;
  [[nodiscard]] const bus::DeadLetter* find(const std::string& rule, const std::string& target,
                                            const std::string& image) const;
  // Of one target, of all where it is empty; the oldest failure first.
  [[nodiscard]] std::vector<bus::DeadLetter> list(const std::string& target) const;
  [[nodiscard]] bool full(const std::string& target) const;

 private:
  void take_over(std::vector<bus::DeadLetter> letters);
  void enter(bus::DeadLetter letter);
  void strike(const std::string& id);
  void publish_counts();
  // The pair and the name at the target; none where no rule stands for the letter any more.
  struct Account {
    monitoring::Ledger::PairId pair;
    std::string image;
  };
  [[nodiscard]] std::optional<Account> account_of(const bus::DeadLetter& letter) const;

  bus::DeadLetters& storage_;
  const Generations& generations_;
  monitoring::Ledger& ledger_;
  monitoring::Metrics& metrics_;
  std::map<std::string, bus::DeadLetter> letters_;  // by id
  std::map<std::string, std::string> to_remove_;    // id and target, still on the bus
  std::string version_;                             // of what was read last
  std::uint64_t changes_ = 0;                       // our own, begun and ended
};

}  // namespace transship
