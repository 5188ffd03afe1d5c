#pragma once

#include <asio/awaitable.hpp>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>

#include "config/config.h"
#include "daemon/events/event.h"
#include "daemon/placed_tags.h"
#include "monitoring/ledger.h"
#include "replicator/oci/digest.h"
#include "replicator/oci/reference.h"

// Rules there and back for the same tags: which side's push goes to the other one.
namespace transship {

// The rule that carries what `rule` brings to this target back to the very same image of the
// source. Null where there is none: a tag of the target is then nobody's but the rule's.
const config::Rule* way_back(const config::Config& config, const config::Rule& rule,
                             const std::string& target, const std::string& source_repository,
                             const std::string& tag);

// What is known of a tag that its two sides show differently.
struct TwoSides {
  using Time = monitoring::Time;
  struct Push {  // the newest that an event told of
    std::string digest;
    Time at;
  };
  std::string source;                 // the digest that it shows
  std::optional<std::string> target;  // none: it has no such tag
  std::optional<Push> source_push = {};
  std::optional<Push> target_push = {};
  std::optional<PlacedTag> last = {};  // when both were last the same
  bool deletes_go_back = false;        // what goes at the target goes at the source
};

enum class Winner {
  source,   // to be copied
  target,   // left alone: the rule back copies it
  unknown,  // left alone and reported: both have moved, and nobody knows when
};

// The newer push wins. Where a side has not moved since both were the same, the other one's push is
// the newer; else the registries' own times tell.
Winner newer_side(const TwoSides& sides);

// Keeps what is needed to tell, for all two-way rules of a daemon. Belongs to the loop.
class TwoWay {
 public:
  static constexpr std::size_t images_max = 20'000;  // whose pushes are remembered, 300 bytes each

  explicit TwoWay(PlacedTags& placed) : placed_(placed) {}

  // An event that any of the daemon's workers was given; `at`: when it was pushed. Those of other
  // images than two-way ones are passed over.
  void note(const config::Config& config, const std::string& registry, const events::Event& event,
            monitoring::Time at);
  // A copy of ours put this digest under the tag.
  void note_put(const std::string& registry, const oci::Repository& repository,
                const std::string& tag, const std::string& digest);

  // One image of a rule on its way to a target.
  struct Way {
    const config::Config& config;
    const config::Rule& rule;
    std::string target;
    oci::Repository source_repository;
    oci::Repository target_repository;
    std::string tag;
  };
  // Nothing where no rule brings it back, or it has no tag of its own: then the target's tag is
  // nobody's but the rule's.
  static std::optional<Way> way_of(const config::Config& config, const config::Rule& rule,
                                   const std::string& target,
                                   const oci::Repository& source_repository,
                                   const oci::Reference& reference);
  asio::awaitable<Winner> newer_side(Way way, oci::Digest source,
                                     std::optional<oci::Digest> target);
  // Both sides show it now. `pushed_at`: none where nobody told.
  void note_same(const Way& way, const std::string& digest,
                 std::optional<monitoring::Time> pushed_at);

  // The source shows `shown` under the tag, since a copy of ours put it there, and the push of
  // `shown` was older than one to the source at `pushed_at`: ours has covered a newer push.
  asio::awaitable<bool> has_covered(Way way, std::string shown, monitoring::Time pushed_at) const;
  // The covered push `digest` was brought to the target; the source still shows `behind`.
  void note_uncovered(const Way& way, const std::string& digest, monitoring::Time pushed_at,
                      const std::string& behind);

 private:
  using Clock = std::chrono::steady_clock;
  struct Told {
    std::string key;  // registry and image
    std::optional<TwoSides::Push> push;
    std::string put;  // the digest that a copy of ours put there last
    std::optional<Clock::time_point> gone_since;
  };
  [[nodiscard]] const Told* told(const std::string& registry, const oci::Repository& repository,
                                 const std::string& tag) const;
  Told& told_of(std::string key);
  asio::awaitable<bool> is_being_deleted(const Way& way);
  [[nodiscard]] std::optional<monitoring::Time> pushed_at(const Way& way,
                                                          const std::string& digest) const;

  PlacedTags& placed_;
  std::list<Told> by_age_;  // heard of last is last
  std::unordered_map<std::string, std::list<Told>::iterator> index_;
};

}  // namespace transship
