#include <algorithm>

#include "daemon/log.h"
#include "daemon/worker.h"

// Of two rules there and back, the newer push wins.
namespace transship {

std::optional<TwoWay::Way> Worker::two_way_of(const WorkItem& item) const {
  const config::Config& config = item.generation->config;
  const config::Rule* rule = config.find_rule(item.names.rule);
  if (rule == nullptr) return std::nullopt;  // gone by a reload
  return TwoWay::way_of(config, *rule, target_name_, item.source_repository, item.reference);
}

void Worker::let_newer_win(ImageJob& job, const WorkItem& item) {
  const auto way = two_way_of(item);
  if (!way) return;
  job.may_replace = [this, way = *way, &item](
                        oci::Digest source,
                        std::optional<oci::Digest> target) -> asio::awaitable<Result<bool>> {
    const Winner winner =
        co_await shared_.two_way.newer_side(way, std::move(source), std::move(target));
    if (winner == Winner::unknown) {
      log::warning(
          "both sides of " + item.target_image() +
              " were pushed and nobody knows which was later; push again where it is right",
          {{"rule", item.names.rule}, {"target", target_name_}});
    }
    co_return winner == Winner::source;
  };
}

void Worker::note_same(const WorkItem& item, const std::vector<Ticket>& tickets,
                       const ImageResult& result) {
  if (result.outcome != ImageOutcome::copied && result.outcome != ImageOutcome::unchanged) return;
  const auto way = two_way_of(item);
  if (!way) return;
  std::optional<monitoring::Time> pushed_at;
  for (const Ticket& ticket : tickets) {
    if (!ticket.ours && ticket.held && ticket.expected == result.digest)
      pushed_at = std::max(pushed_at.value_or(ticket.pushed_at), ticket.pushed_at);
  }
  if (result.outcome == ImageOutcome::copied)
    shared_.two_way.note_put(target_name_, item.target_repository, way->tag, result.digest->str());
  shared_.two_way.note_same(*way, result.digest->str(), pushed_at);
}

// A copy of ours may have covered a push that was made meanwhile: its event names a digest that the
// source shows no more. If it is the newest push, it is brought over by its digest; the rule back
// then brings it to where it was pushed.
asio::awaitable<Result<ImageResult>> Worker::uncover(WorkItem& item,
                                                     const std::vector<Ticket>& tickets,
                                                     ImageResult result) {
  if (result.outcome != ImageOutcome::copied && result.outcome != ImageOutcome::unchanged)
    co_return result;
  const Ticket* newest = nullptr;
  for (const Ticket& ticket : tickets) {
    if (ticket.ours || ticket.removal || !ticket.expected) continue;
    if (newest == nullptr || ticket.pushed_at >= newest->pushed_at) newest = &ticket;
  }
  const auto way = two_way_of(item);
  if (!way || newest == nullptr || newest->expected == result.digest ||
      !co_await shared_.two_way.has_covered(*way, result.digest->str(), newest->pushed_at))
    co_return result;
  ImageJob job = job_for(item, std::nullopt);
  job.source_reference = *newest->expected;
  auto uncovered = co_await copy_image(std::move(job));
  if (!uncovered) co_return uncovered;
  if (uncovered->outcome == ImageOutcome::absent) {
    log::warning(
        "a push of " + item.source_image() +
            " was covered by an older one from the other side, and its registry has "
            "collected it: push it again",
        {{"rule", item.names.rule}, {"target", target_name_}, {"digest", newest->expected->str()}});
    co_return result;
  }
  shared_.two_way.note_put(target_name_, item.target_repository, way->tag, newest->expected->str());
  shared_.two_way.note_uncovered(*way, newest->expected->str(), newest->pushed_at,
                                 result.digest->str());
  co_return uncovered;
}

}  // namespace transship
