#include "monitoring/ledger.h"

#include <algorithm>
#include <utility>

namespace transship::monitoring {

Ledger::PairId Ledger::add_pair(const Pair& pair) {
  const auto found = std::find_if(accounts_.begin(), accounts_.end(),
                                  [&](const Account& account) { return account.pair == pair; });
  if (found != accounts_.end()) {
    found->reported = true;
    return static_cast<PairId>(found - accounts_.begin());
  }
  accounts_.push_back({});
  accounts_.back().pair = pair;
  return accounts_.size() - 1;
}

void Ledger::keep_only(const std::vector<Pair>& pairs) {
  for (Account& account : accounts_) {
    account.reported = std::find(pairs.begin(), pairs.end(), account.pair) != pairs.end();
    if (account.reported) continue;
    account.reconciled = false;
    account.last_success.reset();
    account.last_error.reset();
  }
}

void Ledger::pushed(PairId pair, const std::string& image, Time at, bool or_before) {
  Account& account = accounts_.at(pair);
  if (account.images[image].insert(at).second) account.pushes.insert(at);
  if (or_before) account.or_before.emplace(image, at);
}

void Ledger::set_pending_bytes(PairId pair, const std::string& image, std::uint64_t bytes) {
  Account& account = accounts_.at(pair);
  if (!account.images.contains(image)) return;
  std::uint64_t& known = account.bytes[image];
  account.bytes_sum += bytes - known;
  known = bytes;
}

bool Ledger::remove(Account& account, const std::string& image, Time at) {
  const auto found = account.images.find(image);
  if (found == account.images.end() || found->second.erase(at) == 0) return false;
  account.pushes.erase(account.pushes.find(at));
  account.or_before.erase({image, at});
  if (!found->second.empty()) return true;
  account.images.erase(found);
  if (const auto bytes = account.bytes.find(image); bytes != account.bytes.end()) {
    account.bytes_sum -= bytes->second;
    account.bytes.erase(bytes);
  }
  return true;
}

void Ledger::done(PairId pair, const std::string& image, Time at) {
  Account& account = accounts_.at(pair);
  if (remove(account, image, at))
    account.newest_done = std::max(account.newest_done.value_or(at), at);
}

void Ledger::let_go(PairId pair, const std::string& image, Time at) {
  remove(accounts_.at(pair), image, at);
}

void Ledger::set_waiting_on_bus(PairId pair, std::optional<Time> oldest) {
  accounts_.at(pair).waiting_on_bus = oldest;
}

void Ledger::succeeded(PairId pair, Time now) {
  accounts_.at(pair).last_success = now;
  accounts_.at(pair).last_error.reset();
}

void Ledger::failed(PairId pair, LastError error) {
  accounts_.at(pair).last_error = std::move(error);
}

void Ledger::set_dead_letters(PairId pair, std::uint64_t count, std::uint64_t of_no_push) {
  accounts_.at(pair).dead_letters = count;
  accounts_.at(pair).dead_deletes = of_no_push;
}

void Ledger::set_deletes_stopped(PairId pair, bool stopped) {
  accounts_.at(pair).deletes_stopped = stopped;
}

void Ledger::reconciled(PairId pair, Time as_of) {
  Account& account = accounts_.at(pair);
  account.reconciled = true;
  if (!account.sure_until) return;
  if (account.hears && as_of >= account.unsure_as_of) {
    account.sure_until.reset();
    account.search_wanted = false;
  } else {
    account.sure_until = std::max(*account.sure_until, as_of);
  }
}

void Ledger::unsure(PairId pair, Time since, Time seen) {
  Account& account = accounts_.at(pair);
  account.sure_until = std::min(account.sure_until.value_or(since), since);
  account.unsure_as_of = std::max(account.unsure_as_of, seen);
}

void Ledger::set_hearing(PairId pair, bool hears, Time since, Time now) {
  Account& account = accounts_.at(pair);
  if (std::exchange(account.hears, hears) == hears) return;
  if (!hears) return unsure(pair, since, now);
  account.unsure_as_of = std::max(account.unsure_as_of, now);
  account.search_wanted = true;
}

bool Ledger::takes_search(PairId pair) {
  Account& account = accounts_.at(pair);
  return account.hears && account.reconciled && std::exchange(account.search_wanted, false);
}

// Until when every push is at the target, going by what is known: what was pushed and brought a
// moment ago is there, too.
Time Ledger::heard_until(const Account& account, Time now) {
  if (account.sure_until) return *account.sure_until;
  const Time heard = now - hears_within;
  return std::min(now, std::max(heard, account.newest_done.value_or(heard)));
}

Ledger::Report Ledger::report_of(const Account& account, Time now) const {
  Report report{account.pair,           0,
                std::nullopt,           account.images.size() + account.dead_deletes,
                account.bytes_sum,      account.dead_letters,
                account.last_success,   account.last_error,
                account.deletes_stopped};
  Time until = heard_until(account, now);
  std::optional<Time> oldest_push = account.waiting_on_bus;
  if (!account.pushes.empty())
    oldest_push = std::min(oldest_push.value_or(now), *account.pushes.begin());
  if (oldest_push) {
    const Time oldest = *oldest_push;
    report.oldest_pending_seconds =
        std::max(0.0, std::chrono::duration<double>(now - oldest).count());
    until = std::min(until, oldest - std::chrono::milliseconds(1));
  }
  if (account.reconciled && account.or_before.empty()) report.replicated_until = until;
  return report;
}

std::vector<Ledger::Report> Ledger::report(Time now) const {
  std::vector<Report> reports;
  for (const Account& account : accounts_) {
    if (account.reported) reports.push_back(report_of(account, now));
  }
  return reports;
}

}  // namespace transship::monitoring
