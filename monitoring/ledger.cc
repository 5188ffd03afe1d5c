#include "monitoring/ledger.h"

#include <algorithm>

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

void Ledger::pushed(PairId pair, const std::string& image, Time at) {
  Account& account = accounts_.at(pair);
  if (account.images[image].insert(at).second) account.pushes.insert(at);
}

void Ledger::set_pending_bytes(PairId pair, const std::string& image, std::uint64_t bytes) {
  Account& account = accounts_.at(pair);
  if (!account.images.contains(image)) return;
  std::uint64_t& known = account.bytes[image];
  account.bytes_sum += bytes - known;
  known = bytes;
}

void Ledger::done(PairId pair, const std::string& image, Time at) {
  Account& account = accounts_.at(pair);
  const auto found = account.images.find(image);
  if (found == account.images.end() || found->second.erase(at) == 0) return;
  account.pushes.erase(account.pushes.find(at));
  if (!found->second.empty()) return;
  account.images.erase(found);
  if (const auto bytes = account.bytes.find(image); bytes != account.bytes.end()) {
    account.bytes_sum -= bytes->second;
    account.bytes.erase(bytes);
  }
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

void Ledger::set_dead_letters(PairId pair, std::uint64_t count) {
  accounts_.at(pair).dead_letters = count;
}

void Ledger::set_deletes_stopped(PairId pair, bool stopped) {
  accounts_.at(pair).deletes_stopped = stopped;
}

void Ledger::reconciled(PairId pair, Time) { accounts_.at(pair).reconciled = true; }

void Ledger::set_listening(bool listening, Time now) {
  if (listening) {
    deaf_since_.reset();
  } else if (!deaf_since_) {
    deaf_since_ = now;
  }
}

Ledger::Report Ledger::report_of(const Account& account, Time now) const {
  Report report{account.pair,           0,
                std::nullopt,           account.images.size(),
                account.bytes_sum,      account.dead_letters,
                account.last_success,   account.last_error,
                account.deletes_stopped};
  Time until = deaf_since_.value_or(now);
  std::optional<Time> oldest_push = account.waiting_on_bus;
  if (!account.pushes.empty())
    oldest_push = std::min(oldest_push.value_or(now), *account.pushes.begin());
  if (oldest_push) {
    const Time oldest = *oldest_push;
    report.oldest_pending_seconds =
        std::max(0.0, std::chrono::duration<double>(now - oldest).count());
    until = std::min(until, oldest - std::chrono::milliseconds(1));
  }
  if (account.reconciled) report.replicated_until = until;
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
