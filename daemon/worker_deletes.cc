#include <fmt/format.h>

#include <algorithm>
#include <asio/co_spawn.hpp>

#include "daemon/extras.h"
#include "daemon/log.h"
#include "daemon/worker.h"
#include "replicator/oci/referrers_tag.h"

// Under rules whose deletes propagate: what events say is gone, and taking it from the target.
namespace transship {

namespace {

// Tags that one event without a tag may stand for; what is more, reconciliation finds.
constexpr std::size_t lost_tags_max = 1000;
constexpr int turns_max = 20;  // of a tag that comes and goes, before others get their turn

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

}  // namespace

// --- what is said to be gone

// A tag; a manifest with all its tags; or, with neither, a whole repository.
void Worker::accept_remove(const events::Event& event, const std::shared_ptr<HeldDelivery>& held) {
  const bus::Delivery& delivery = held->delivery;
  const auto arrived_at = std::chrono::floor<std::chrono::milliseconds>(delivery.stored_at);
  Ticket ticket{held, arrived_at, arrived_at};
  ticket.removal = true;
  if (event.tag && oci::ReferrersTag::parse(*event.tag)) return;  // it goes with its image
  if (event.tag) {
    const auto image = oci::ImageName::parse(event.repository + ":" + *event.tag);
    if (!image) return;
    for (const Route& route : shared_.generations.routes().to(
             target_name_, delivery.message.registry, event.repository, *event.tag)) {
      if (route.rule->deletes != config::Deletes::propagate) continue;
      WorkItem* item = item_for(route, *image);
      if (item == nullptr) continue;
      ++held->open;
      held->joined = false;
      add_ticket(*item, ticket);
    }
    if (!event.digest) return;
  }
  for (const monitoring::Pair& pair : shared_.generations.routes().pairs()) {
    const config::Rule* rule = shared_.generations.config().find_rule(pair.rule);
    if (pair.target != target_name_ || rule->source != delivery.message.registry ||
        rule->deletes != config::Deletes::propagate ||
        !rule->repositories.matches(event.repository))
      continue;
    ++held->open;
    held->joined = false;
    ++lookups_;
    asio::co_spawn(shared_.executor, accept_lost(*rule, event.repository, event.digest, ticket),
                   [this, ticket](const std::exception_ptr&) {
                     --lookups_;
                     settle(ticket);
                     dispatch();
                     changed_.notify();
                   });
  }
}

// The tags of a repository that the rule placed, or those of them with this digest.
asio::awaitable<void> Worker::accept_lost(const config::Rule& rule, std::string repository,
                                          std::optional<std::string> digest, Ticket ticket) {
  const auto generation = shared_.generations.now();  // keeps the rule
  // What is being copied is remembered only once it is there, and may have looked at the source
  // before the delete: each is looked at once more.
  for (const auto& [key, item] : queue_.items()) {
    if (item->state != WorkItem::State::running || item->names.rule != rule.name ||
        item->source_repository.str() != repository || item->is_referrer())
      continue;
    ++ticket.held->open;
    add_ticket(*item, ticket);
  }
  std::size_t found = 0;
  const PlacedBy by = PlacedBy::of(generation->config, rule, target_name_);
  for (const PlacedTag& tag : co_await shared_.placed.in_repository(by, repository)) {
    if (stopped_) break;
    if (digest && tag.digest != *digest) continue;
    if (!rule.tags.matches(tag.tag) || rule.target_repository(repository) != tag.repository)
      continue;
    if (++found > lost_tags_max) break;
    const auto image = oci::ImageName::parse(tag.image());
    WorkItem* item = image ? item_for({&rule, target_name_, tag.repository}, *image) : nullptr;
    if (item == nullptr) continue;
    ++ticket.held->open;
    add_ticket(*item, ticket);
  }
}

void Worker::look_at_gone(const Route& route, const PlacedTag& tag) {
  const auto image = oci::ImageName::parse(tag.image());
  WorkItem* item = image ? item_for(route, *image) : nullptr;
  if (item == nullptr) return;
  for (Ticket& waiting : item->tickets) {  // of an earlier pass, or an event
    if (!waiting.removal) continue;
    waiting.deletes_allowed = true;
    return;
  }
  const monitoring::Time long_ago = now() - std::chrono::minutes(1);
  Ticket ticket{nullptr, long_ago, long_ago};
  ticket.removal = true;
  ticket.deletes_allowed = true;
  add_ticket(*item, std::move(ticket));
  dispatch();
}

void Worker::look_again(const std::string& rule, const oci::ImageName& image) {
  const config::Rule* found = shared_.generations.config().find_rule(rule);
  if (found == nullptr) return;
  WorkItem* item =
      item_for({found, target_name_, found->target_repository(image.repository.str())}, image);
  if (item == nullptr) return;
  add_ticket(*item, Ticket::of_no_event(now()));
}

// --- one image

// Copies what the source has, and takes away what it has no longer.
asio::awaitable<Result<ImageResult>> Worker::bring_in_step(WorkItem& item,
                                                           std::optional<oci::Digest> expected,
                                                           const std::vector<Ticket>& tickets,
                                                           monitoring::Time& looked_at) {
  Result<ImageResult> result = fail(ErrorKind::cancelled, "stopped");
  for (int turn = 0; turn < turns_max; ++turn) {
    result = co_await copy_until_it_stays(item, expected, looked_at);
    const config::Rule* rule = item.generation->config.find_rule(item.names.rule);
    if (result) note_same(item, tickets, *result);
    if (!result || item.is_referrer() || rule == nullptr ||
        rule->deletes != config::Deletes::propagate)
      break;
    if (result->outcome == ImageOutcome::unchanged) remember(item, *result);
    if (result->outcome != ImageOutcome::absent) break;
    if (next_look(tickets, looked_at, *result)) break;  // it may be told of before it is served
    bool allowed = false;
    for (const Ticket& ticket : tickets) allowed = allowed || ticket.deletes_allowed;
    auto is_back = co_await remove(item, *rule, allowed);
    if (!is_back) co_return fail(is_back.error());
    if (!*is_back) break;
    expected.reset();
  }
  co_return result;
}

// As soon as it is there: what comes after may fail, and when the image is tried again the source
// may have it no longer.
void Worker::remember(const WorkItem& item, const ImageResult& result) {
  const config::Rule* rule = item.generation->config.find_rule(item.names.rule);
  if (rule == nullptr || rule->deletes != config::Deletes::propagate || item.is_referrer()) return;
  shared_.placed.note(PlacedBy::of(item.generation->config, *rule, target_name_),
                      {item.source_repository.str(), item.reference.str(),
                       item.target_repository.str(), result.digest->str()});
  for (ManifestDelete& running : manifest_deletes_) {
    if (running.repository == item.target_repository)
      running.confirmed.emplace_back(item.names.rule,
                                     oci::ImageName{item.source_repository, item.reference});
  }
}

// True: the source has it again. What may not go stays, and that is no error.
asio::awaitable<Result<bool>> Worker::remove(WorkItem& item, const config::Rule& rule,
                                             bool allowed) {
  const PlacedBy by = PlacedBy::of(item.generation->config, rule, target_name_);
  const auto placed =
      co_await shared_.placed.find(by, item.source_repository.str(), item.reference.str());
  if (!placed || placed->repository != item.target_repository.str()) co_return false;
  auto digest = oci::Digest::parse(placed->digest);
  if (!digest) co_return false;
  auto claimed = co_await is_claimed(item.generation->fleet, item.generation->config, rule,
                                     target_name_, *placed);
  if (!claimed) co_return fail(claimed.error());
  if (*claimed) co_return false;
  if (!co_await breaker_allows(by, item, allowed)) co_return false;
  std::size_t taken = 1;  // of what the breaker allows
  const auto running = manifest_deletes_.insert(manifest_deletes_.end(), {item.target_repository});
  struct Ended {  // also where this is broken off
    std::list<ManifestDelete>& all;
    std::list<ManifestDelete>::iterator one;
    ~Ended() { all.erase(one); }
  };
  const Ended ended{manifest_deletes_, running};
  TagRemoval removal{item.generation->fleet.registry(item.names.source),
                     item.source_repository,
                     *item.reference.tag(),
                     item.generation->fleet.target(target_name_).registry(),
                     item.target_repository,
                     std::move(*digest),
                     [&](oci::Tag twin) {
                       return twin_may_go(by, item, *placed, allowed, std::move(twin), taken);
                     }};
  auto tag = co_await remove_tag(std::move(removal));
  const bool gone = tag && tag->deleted;
  if (!allowed && !gone) {
    for (; taken > 0; --taken) shared_.delete_breaker.take_back(by);
  }
  if (!tag) {
    const bool kept = tag.error().kind == ErrorKind::conflict;
    shared_.metrics.tags_deleted(item.names, kept ? "kept" : "failed");
    if (!kept) co_return fail(tag.error());
    log::warning(
        tag.error().message,
        {{"rule", item.names.rule}, {"target", target_name_}, {"image", item.target_image()}});
    co_return false;
  }
  if (gone && tag->by_digest) {
    // Whatever was tagged with that manifest meanwhile went with it.
    for (const auto& [name, image] : running->confirmed) look_again(name, image);
    for (const auto& [key, other] : queue_.items()) {
      const bool went_too =
          other.get() == &item ||
          std::any_of(tag->also.begin(), tag->also.end(), [&](const oci::Tag& twin) {
            return other->reference == oci::Reference(twin);
          });
      if (!went_too && other->state == WorkItem::State::running &&
          other->target_repository == item.target_repository) {
        add_ticket(*other, Ticket::of_no_event(now()));
      }
    }
  }
  co_return removed(item, by, *placed, *tag);
}

// A daemon that is told to stop deletes says so once, and again only after an operator has allowed
// them.
asio::awaitable<bool> Worker::breaker_allows(const PlacedBy& by, const WorkItem& item,
                                             bool allowed) {
  if (allowed) co_return true;
  const auto standing = co_await shared_.placed.standing(by);
  shared_.ledger.set_deletes_stopped(item.pair, standing.stopped);
  if (!standing.stopped &&
      shared_.delete_breaker.allows(by, standing.tags, DeleteBreaker::Time::clock::now()))
    co_return true;
  shared_.metrics.tags_deleted(item.names, "kept");
  if (standing.stopped) co_return false;
  shared_.placed.set_stopped(by, true);
  shared_.ledger.set_deletes_stopped(item.pair, true);
  const auto gone = shared_.delete_breaker.within_window(by);
  log::error("deletes are stopped: within an hour, " +
                 DeleteBreaker::reason(gone + 1, standing.tags + gone),
             {{"rule", item.names.rule}, {"target", target_name_}});
  co_return false;
}

asio::awaitable<Result<bool>> Worker::twin_may_go(const PlacedBy& by, const WorkItem& item,
                                                  const PlacedTag& placed, bool allowed,
                                                  oci::Tag twin, std::size_t& taken) {
  const auto other = co_await shared_.placed.find(by, item.source_repository.str(), twin.str());
  if (!other || other->digest != placed.digest || other->repository != placed.repository)
    co_return false;
  auto lacks = co_await item.generation->fleet.registry(item.names.source)
                   .plainly_lacks(item.source_repository, twin);
  if (!lacks || !*lacks) co_return lacks;
  const config::Rule* rule = item.generation->config.find_rule(by.rule);
  if (rule == nullptr) co_return false;
  auto claimed = co_await is_claimed(item.generation->fleet, item.generation->config, *rule,
                                     target_name_, *other);
  if (!claimed) co_return fail(claimed.error());
  if (*claimed) co_return false;
  if (!co_await breaker_allows(by, item, allowed)) co_return false;
  ++taken;
  co_return true;
}

// What went at both sides is nothing that the rule back would have to respect.
void Worker::forget(const WorkItem& item, const PlacedBy& by, const PlacedTag& placed) {
  shared_.placed.forget(by, placed);
  const config::Config& config = item.generation->config;
  const config::Rule* rule = config.find_rule(item.names.rule);
  if (rule == nullptr) return;
  const config::Rule* back =
      way_back(config, *rule, target_name_, placed.source_repository, placed.tag);
  if (back == nullptr) return;
  shared_.placed.forget(PlacedBy::of(config, *back, rule->source),
                        {placed.repository, placed.tag, placed.source_repository, {}});
}

// What became of it, for the memory, the metrics and the log. True: the source has it again.
bool Worker::removed(const WorkItem& item, const PlacedBy& by, const PlacedTag& placed,
                     const RemovedTag& tag) {
  const log::Fields fields{{"rule", item.names.rule},
                           {"source", item.names.source},
                           {"target", target_name_},
                           {"image", item.target_image()},
                           {"digest", placed.digest}};
  if (tag.outcome != RemovalOutcome::at_source || tag.deleted) forget(item, by, placed);
  if (tag.deleted) {
    shared_.metrics.tags_deleted(item.names, "deleted", 1 + tag.also.size());
    log::info("deleted " + item.target_image(), fields);
    for (const oci::Tag& twin : tag.also) {
      log::info(fmt::format("deleted {}:{} with it", placed.repository, twin.str()), fields);
      forget(item, by, {placed.source_repository, twin.str(), placed.repository, {}});
    }
  } else if (tag.outcome == RemovalOutcome::moved) {
    shared_.metrics.tags_deleted(item.names, "kept");
    log::warning("kept " + item.target_image() + ": somebody else moved it", fields);
  }
  return tag.outcome == RemovalOutcome::at_source;
}

}  // namespace transship
