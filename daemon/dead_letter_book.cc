#include "daemon/dead_letter_book.h"

#include <algorithm>

namespace transship {

std::optional<DeadLetterBook::Account> DeadLetterBook::account_of(
    const bus::DeadLetter& letter) const {
  const config::Rule* rule = generations_.config().find_rule(letter.rule);
  const std::size_t colon = letter.image.rfind(':');
  if (rule == nullptr || colon == std::string::npos) return std::nullopt;
  const monitoring::Pair pair{rule->name, rule->source, letter.target};
  const auto& pairs = generations_.routes().pairs();
  if (std::find(pairs.begin(), pairs.end(), pair) == pairs.end()) return std::nullopt;
  return Account{ledger_.add_pair(pair), rule->target_repository(letter.image.substr(0, colon)) +
                                             letter.image.substr(colon)};
}

void DeadLetterBook::enter(bus::DeadLetter letter) {
  strike(letter.id);
  if (const auto account = account_of(letter)) {
    for (const bus::LetterTime push : letter.pushes)
      ledger_.pushed(account->pair, account->image, push,
                     letter.pushed_before && push == letter.pushes.front());
  }
  const std::string id = letter.id;
  letters_.emplace(id, std::move(letter));
}

void DeadLetterBook::strike(const std::string& id) {
  const auto found = letters_.find(id);
  if (found == letters_.end()) return;
  if (const auto account = account_of(found->second)) {
    for (const bus::LetterTime push : found->second.pushes)
      ledger_.done(account->pair, account->image, push);
  }
  letters_.erase(found);
}

void DeadLetterBook::across(const std::function<void()>& change) {
  std::vector<bus::DeadLetter> letters;
  for (const auto& [id, letter] : letters_) letters.push_back(letter);
  for (const bus::DeadLetter& letter : letters) strike(letter.id);
  change();
  for (bus::DeadLetter& letter : letters) enter(std::move(letter));
  version_.clear();
  publish_counts();
}

void DeadLetterBook::publish_counts() {
  std::map<std::string, std::uint64_t> of_target;
  std::map<std::pair<std::string, std::string>, std::uint64_t> of_pair;
  std::map<std::pair<std::string, std::string>, std::uint64_t> deletes_of_pair;
  for (const auto& [id, letter] : letters_) {
    ++of_target[letter.target];
    ++of_pair[{letter.rule, letter.target}];
    if (letter.pushes.empty()) ++deletes_of_pair[{letter.rule, letter.target}];
  }
  for (const std::string& target : generations_.routes().targets())
    metrics_.set_dead_letters(target, of_target[target]);
  for (const monitoring::Pair& pair : generations_.routes().pairs())
    ledger_.set_dead_letters(ledger_.add_pair(pair), of_pair[{pair.rule, pair.target}],
                             deletes_of_pair[{pair.rule, pair.target}]);
}

asio::awaitable<Result<void>> DeadLetterBook::refresh() {
  for (const auto& [id, target] : std::map(to_remove_)) {
    auto removed = co_await storage_.remove(target, id);
    if (!removed) co_return fail(removed.error());
    to_remove_.erase(id);
  }
  const std::uint64_t changes = changes_;
  auto listing = co_await storage_.list(version_);
  if (!listing) co_return fail(listing.error());
  // What we changed while it was read may be missing in it: the next time.
  if (changes != changes_ || !listing->letters) co_return Result<void>{};
  version_ = listing->version;
  take_over(std::move(*listing->letters));
  co_return Result<void>{};
}

void DeadLetterBook::take_over(std::vector<bus::DeadLetter> letters) {
  const auto& targets = generations_.routes().targets();
  std::map<std::string, bus::DeadLetter> now;
  for (bus::DeadLetter& letter : letters) {
    const bool ours = std::find(targets.begin(), targets.end(), letter.target) != targets.end();
    if (ours) now.emplace(letter.id, std::move(letter));
  }
  for (const auto& [id, letter] : std::map(letters_)) {
    if (!now.contains(id)) strike(id);
  }
  for (auto& [id, letter] : now) {
    const bus::DeadLetter* known = find(id);
    if (known == nullptr || *known != letter) enter(std::move(letter));
  }
  publish_counts();
}

asio::awaitable<Result<void>> DeadLetterBook::put(bus::DeadLetter letter) {
  ++changes_;
  auto stored = co_await storage_.put(letter);
  ++changes_;
  if (!stored) co_return fail(stored.error());
  to_remove_.erase(letter.id);
  enter(std::move(letter));
  publish_counts();
  co_return Result<void>{};
}

asio::awaitable<Result<void>> DeadLetterBook::remove(std::string id) {
  const auto found = letters_.find(id);
  if (found == letters_.end()) co_return Result<void>{};
  ++changes_;
  const std::string target = found->second.target;
  to_remove_.emplace(id, target);
  strike(id);
  publish_counts();
  auto removed = co_await storage_.remove(target, id);
  ++changes_;
  if (removed) to_remove_.erase(id);
  co_return removed;
}

const bus::DeadLetter* DeadLetterBook::find(const std::string& id) const {
  const auto found = letters_.find(id);
  return found == letters_.end() ? nullptr : &found->second;
}

const bus::DeadLetter* DeadLetterBook::find(const std::string& rule, const std::string& target,
                                            const std::string& image) const {
  return letters_.empty() ? nullptr : find(bus::dead_letter_id(rule, target, image));
}

std::vector<bus::DeadLetter> DeadLetterBook::list(const std::string& target) const {
  std::vector<bus::DeadLetter> found;
  for (const auto& [id, letter] : letters_) {
    if (target.empty() || letter.target == target) found.push_back(letter);
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first_failed, a.id) < std::tie(b.first_failed, b.id);
  });
  return found;
}

bool DeadLetterBook::full(const std::string& target) const {
  const auto of_target = std::count_if(letters_.begin(), letters_.end(), [&](const auto& entry) {
    return entry.second.target == target;
  });
  return static_cast<std::size_t>(of_target) >= of_a_target_max;
}

}  // namespace transship
