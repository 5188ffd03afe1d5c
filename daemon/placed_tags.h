#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "monitoring/ledger.h"
#include "replicator/base/error.h"

namespace transship {

// Who placed a tag: a rule, from where to where. A rule whose source or target is another registry
// now has placed nothing.
struct PlacedBy {
  std::string rule;
  std::string source;  // URLs of registries
  std::string target;

  // The names must be the configuration's.
  static PlacedBy of(const config::Config& config, const config::Rule& rule,
                     const std::string& target);
  friend auto operator<=>(const PlacedBy&, const PlacedBy&) = default;
};

struct PlacedTag {
  std::string source_repository;
  std::string tag;
  std::string repository;  // at the target
  std::string digest;      // what we put, or found to be what the source showed
  // When that was pushed. Where nobody told it was some time before it was seen, which is what is
  // read back then.
  std::optional<monitoring::Time> pushed_at = {};
  bool pushed_before = false;
  // The source shows this still, though what we put is the newer push.
  std::string behind = {};

  [[nodiscard]] std::string image() const { return source_repository + ":" + tag; }
  [[nodiscard]] std::string target_image() const { return repository + ":" + tag; }
  friend bool operator==(const PlacedTag&, const PlacedTag&) = default;
};

// Which tags a rule put at a target or found there in step: only those may ever be deleted there,
// and of two-way rules it is what both sides last agreed on.
// Kept in a file of the state directory, which several processes may use at once; to lose it costs
// only that nothing is deleted until it was seen in step again. Everything that touches the file
// happens on a thread of its own; notes are written many at a time, and reads see them. Used from
// the loop alone.
class PlacedTags {
 public:
  static constexpr std::size_t tags_max = 1'000'000;           // in the file; the longest unseen go
  static constexpr std::size_t notes_max = 100'000;            // not yet written; more are lost
  static constexpr std::size_t repository_tags_max = 100'000;  // that one read returns

  // `on_trouble` is called once, when the file cannot be used for the first time. The file is
  // opened, and its thread started, when it is first needed.
  PlacedTags(asio::any_io_executor executor, std::filesystem::path directory,
             std::function<void(const Error&)> on_trouble);
  // Writes what is still to be written.
  ~PlacedTags();

  void note(const PlacedBy& by, PlacedTag tag);
  void forget(const PlacedBy& by, const PlacedTag& tag);
  // The breaker has stopped the deletes of this rule and target, or an operator lets them go on.
  void set_stopped(const PlacedBy& by, bool stopped);

  // Where the file cannot be used there are none.
  asio::awaitable<std::optional<PlacedTag>> find(PlacedBy by, std::string source_repository,
                                                 std::string tag);
  asio::awaitable<std::vector<PlacedTag>> in_repository(PlacedBy by, std::string source_repository);
  // The source's repositories that have some.
  asio::awaitable<std::vector<std::string>> repositories(PlacedBy by);
  struct Standing {
    std::uint64_t tags = 0;
    bool stopped = false;
  };
  asio::awaitable<Standing> standing(PlacedBy by);

 private:
  class File;
  struct Change {
    enum class What { note, forget, stop, resume } what;
    PlacedBy by;
    PlacedTag tag;
  };
  using Changes = std::vector<Change>;

  void add(Change change);
  void write_soon();
  void tell(const Result<void>& written);
  template <class Answer>
  asio::awaitable<Answer> ask(std::function<Result<Answer>(File&)> question);

  asio::any_io_executor executor_;
  std::function<void(const Error&)> on_trouble_;
  bool told_ = false;
  Changes changes_;
  bool writing_ = false;
  struct Thread;
  Thread& thread();

  std::filesystem::path directory_;
  std::shared_ptr<PlacedTags*> self_;  // null for the thread's answers once this is gone
  std::unique_ptr<Thread> thread_;     // started when it is first needed
};

}  // namespace transship
