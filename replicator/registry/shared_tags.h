#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "replicator/base/task.h"
#include "replicator/oci/reference.h"

// What the copies of one process share about one registry's tags.
namespace transship::registry {

class Registry;

// Whose turn it is to read, change and put a tag: one after another for each tag.
class TagTurns {
 public:
  using Key = std::pair<oci::Repository, oci::Tag>;

  // Ends when it goes.
  class Turn {
   public:
    Turn(TagTurns& turns, Key key) : turns_(&turns), key_(std::move(key)) {}
    Turn(Turn&& other) noexcept
        : turns_(std::exchange(other.turns_, nullptr)), key_(std::move(other.key_)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn();

   private:
    TagTurns* turns_;
    Key key_;
  };
  asio::awaitable<Turn> take(oci::Repository repository, oci::Tag tag);

 private:
  std::map<Key, std::shared_ptr<Event>> taken_;  // no more than there are copies
};

// The tags of a repository as they are now: a list is as good for everyone who had asked before it
// was begun, so that many images of one repository cost few lists.
class TagLists {
 public:
  using List = std::shared_ptr<const std::vector<std::string>>;  // sorted

  explicit TagLists(Registry& registry) : registry_(registry) {}

  // Empty where the repository does not exist.
  asio::awaitable<Result<List>> now(oci::Repository repository);
  // How many requests a list of this repository is worth, as the last one told; 1 where there was
  // none.
  [[nodiscard]] std::size_t cost(const oci::Repository& repository) const;

 private:
  struct Reading {
    explicit Reading(asio::any_io_executor executor) : ended_one(std::move(executor)) {}
    Event ended_one;
    bool under_way = false;
    std::uint64_t begun = 0;
    std::uint64_t ended = 0;
    Result<List> latest = List();
  };
  asio::awaitable<void> read(oci::Repository repository, Reading& reading);

  Registry& registry_;
  std::map<oci::Repository, std::weak_ptr<Reading>> readings_;  // held by those who wait
  std::map<oci::Repository, std::size_t> costs_;                // bounded by costs_max
};

}  // namespace transship::registry
