#include "daemon/bus/journal_dead_letters.h"

namespace transship::bus {
namespace {

using journal_request::Change;

asio::awaitable<Result<void>> on_thread(std::shared_ptr<JournalThread> thread,
                                        std::function<Result<void>(JournalStore&)> work) {
  co_return co_await answered<void>([thread, work = std::move(work)](auto done) mutable {
    thread->submit(Change{std::move(work), std::move(done)});
  });
}

}  // namespace

asio::awaitable<Result<DeadLetters::Listing>> JournalDeadLetters::list(std::string known_version) {
  Listing listing{std::to_string(changes_), std::nullopt};
  if (listing.version == known_version) co_return listing;
  // Shared: a wait that is cancelled leaves the work behind.
  auto texts = std::make_shared<std::vector<std::string>>();
  auto read = co_await on_thread(thread_, [texts](JournalStore& store) -> Result<void> {
    auto all = store.dead_letters();
    if (!all) return fail(all.error());
    *texts = std::move(*all);
    return {};
  });
  if (!read) co_return fail(read.error());
  listing.letters.emplace();
  for (const std::string& text : *texts) {
    if (auto letter = parse_dead_letter(text)) listing.letters->push_back(std::move(*letter));
  }
  co_return listing;
}

asio::awaitable<Result<void>> JournalDeadLetters::put(DeadLetter letter) {
  ++changes_;
  co_return co_await on_thread(thread_,
                               [id = letter.id, text = to_text(letter)](JournalStore& store) {
                                 return store.put_dead_letter(id, text);
                               });
}

asio::awaitable<Result<void>> JournalDeadLetters::remove(std::string, std::string id) {
  ++changes_;
  co_return co_await on_thread(
      thread_, [id = std::move(id)](JournalStore& store) { return store.remove_dead_letter(id); });
}

}  // namespace transship::bus
