#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "daemon/commands/batch.h"
#include "daemon/commands/deletes.h"
#include "daemon/commands/load.h"
#include "daemon/commands/progress.h"
#include "daemon/retry.h"
#include "replicator/image_verify.h"

namespace transship::commands {

namespace {

class Sync final : public Visitor {
 public:
  Sync(const Common& common, const config::Config& config, Fleet& fleet, PlacedTags& placed,
       Progress& progress, SyncOptions options)
      : common_(common),
        config_(config),
        retry_(config.retry.for_one_shot()),
        fleet_(fleet),
        placed_(placed),
        progress_(progress),
        options_(options) {
    for (const config::Registry& registry : config.registries) {
      images_.emplace(registry.name,
                      std::make_unique<Semaphore>(fleet.executor(), config.transfers.images));
    }
  }

  asio::awaitable<void> visit(Visit visit) override;
  void unexamined(const Unexamined& what) override;
  asio::awaitable<void> extras(const config::Rule& rule, Extras extras) override;
  [[nodiscard]] bool keeps_memory() const override { return true; }
  void expect(std::uint64_t images) override { progress_.expect(images); }
  void started(asio::any_io_executor executor) override { progress_.start(std::move(executor)); }
  void stopped() override { progress_.stop(); }
  int finish() override;

 private:
  asio::awaitable<Result<ImageResult>> copy(const Visit& visit, std::uint64_t& planned);
  asio::awaitable<Result<ImageResult>> repair(ImageJob job, ImageResult in_step);
  void remember(const Visit& visit, const ImageResult& result);
  void print(const Visit& visit, const Result<ImageResult>& result, double seconds);
  void print(const config::Rule& rule, const std::string& target, const DeletedTag& deleted);

  const Common& common_;
  const config::Config& config_;
  config::RetryPolicy retry_;
  Fleet& fleet_;
  PlacedTags& placed_;
  TwoWay two_way_{placed_};
  Progress& progress_;
  SyncOptions options_;
  std::map<std::string, Proven> proven_;  // by target
  Random random_{std::random_device{}()};
  std::map<std::string, std::unique_ptr<Semaphore>> images_;  // at once, by target
  struct Total {
    std::uint64_t images = 0, copied = 0, unchanged = 0, failed = 0, deleted = 0, kept = 0;
    ImageResult::Blobs blobs;
    ImageResult::Bytes bytes;
  } total_;
};

asio::awaitable<Result<ImageResult>> Sync::copy(const Visit& visit, std::uint64_t& planned) {
  for (unsigned attempt = 1;; ++attempt) {
    ImageJob job = job_of(visit, fleet_);
    job.planned = [this, &planned](const oci::Digest&, std::uint64_t bytes) {
      planned += bytes;
      progress_.planned(bytes);
    };
    if (attempt > 1) {  // what was seen is old after a pause
      job.target_seen.reset();
      job.source_seen.reset();
      job.source_tags.reset();
    }
    let_newer_win(job, two_way_, config_, visit);
    auto result = co_await copy_image(job);
    if (options_.closure && result && result->outcome == ImageOutcome::unchanged) {
      result = co_await repair(std::move(job), *result);
    }
    if (result && result->outcome == ImageOutcome::absent) {
      co_return fail(absent_at_source(visit));
    }
    if (result || !worth_another_try(result.error()) ||
        attempt >= static_cast<unsigned>(retry_.attempts)) {
      co_return result;
    }
    co_await sleep_for(retry_pause(retry_, attempt, result.error().retry_after, random_));
  }
}

// The tag is in step; what it reaches may not be. Then the image is copied as if the target did not
// have it.
asio::awaitable<Result<ImageResult>> Sync::repair(ImageJob job, ImageResult in_step) {
  auto verified = co_await verify_image(job, /*deep=*/false, proven_[job.target.registry().name()]);
  if (!verified) co_return fail(verified.error());
  if (!verified->drift) co_return in_step;
  job.target_seen = ImageJob::Seen{};
  job.source_seen.reset();
  job.may_replace = {};
  co_return co_await copy_image(std::move(job));
}

asio::awaitable<void> Sync::visit(Visit visit) {
  const auto place = co_await images_.at(visit.target)->acquire(visit.rule.priority);
  const auto started = std::chrono::steady_clock::now();
  progress_.began();
  std::uint64_t planned = 0;
  auto result = co_await copy(visit, planned);
  const std::uint64_t sent = result ? result->bytes.sent : 0;
  progress_.not_needed(planned - std::min(planned, sent));
  if (result && result->outcome == ImageOutcome::kept) {
    result->outcome = ImageOutcome::unchanged;  // the rule back brings the target's newer push over
  } else if (result) {
    remember(visit, *result);
  }
  print(visit, result,
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  progress_.ended();
}

// What was put, or found in step, is what may be deleted once the source has it no longer.
void Sync::remember(const Visit& visit, const ImageResult& result) {
  if (const auto way =
          TwoWay::way_of(config_, visit.rule, visit.target, visit.repository, visit.reference))
    return two_way_.note_same(*way, result.digest->str(), std::nullopt);
  if (visit.rule.deletes != config::Deletes::propagate || visit.reference.tag() == nullptr) return;
  placed_.note(PlacedBy::of(config_, visit.rule, visit.target),
               {visit.repository.str(), visit.reference.str(), visit.target_repository.str(),
                result.digest->str()});
}

asio::awaitable<void> Sync::extras(const config::Rule& rule, Extras extras) {
  const std::string target = extras.target;
  const bool stopped = !options_.allow_deletes && extras.are_stopped();
  if (stopped) {
    progress_.message(
        fmt::format("rule {}, target {}: {}", rule.name, target, extras.why_stopped()));
  }
  DeletePass pass{fleet_, placed_, config_, rule, retry_, random_, *images_.at(target)};
  for (const DeletedTag& deleted :
       co_await delete_extras(pass, std::move(extras), options_.allow_deletes)) {
    print(rule, target, deleted);
    if (deleted.error && !stopped) progress_.message(deleted.error->message);
  }
}

void Sync::print(const config::Rule& rule, const std::string& target, const DeletedTag& deleted) {
  ++(deleted.error ? total_.kept : total_.deleted);
  if (common_.output == Output::json) {
    Json line = delete_json(rule, target, deleted.tag);
    line["outcome"] = deleted.error ? "kept" : "deleted";
    line["error"] = deleted.error ? error_json(*deleted.error) : Json();
    print_json(line);
  } else {
    fmt::print("{} {} at {}: {} is gone from {}\n", deleted.error ? "kept" : "deleted",
               deleted.tag.target_image(), target, deleted.tag.image(), rule.source);
  }
}

void Sync::print(const Visit& visit, const Result<ImageResult>& result, double seconds) {
  ++total_.images;
  const ImageResult none{};
  const ImageResult& shown = result ? *result : none;
  for (const std::string& what : shown.left_out)
    progress_.message(visit.image() + " went without a referrer: " + what);
  ++(!result                                 ? total_.failed
     : shown.outcome == ImageOutcome::copied ? total_.copied
                                             : total_.unchanged);
  total_.blobs.copied += shown.blobs.copied;
  total_.blobs.mounted += shown.blobs.mounted;
  total_.blobs.present += shown.blobs.present;
  total_.bytes.sent += shown.bytes.sent;
  total_.bytes.mounted += shown.bytes.mounted;
  total_.bytes.present += shown.bytes.present;
  if (common_.output == Output::json) {
    print_json({{"type", "image"},
                {"rule", visit.rule.name},
                {"source", visit.rule.source},
                {"target", visit.target},
                {"image", visit.image()},
                {"target_image", visit.target_image()},
                {"digest", result ? Json(shown.digest->str()) : Json()},
                {"outcome", result ? to_string(shown.outcome) : "failed"},
                {"blobs", blobs_json(shown.blobs)},
                {"bytes", bytes_json(shown.bytes)},
                {"referrers", shown.referrers},
                {"left_out", shown.left_out},
                {"seconds", seconds},
                {"error", result ? Json() : error_json(result.error())}});
  } else if (!result) {
    progress_.message(result.error().message);
  } else if (shown.outcome == ImageOutcome::copied) {
    fmt::print(
        "copied {} to {} as {}: {} sent, {} blobs copied, {} mounted, {} present, {:.1f} s\n",
        visit.image(), visit.target, visit.target_image(), bytes_text(shown.bytes.sent),
        shown.blobs.copied, shown.blobs.mounted, shown.blobs.present, seconds);
  }
}

void Sync::unexamined(const Unexamined& what) {
  ++total_.failed;
  if (!what.image.empty()) ++total_.images;
  if (common_.output != Output::json) return progress_.message(what.error.message);
  Json line = unexamined_json(what);
  if (!what.image.empty()) {
    line["type"] = "image";
    line["outcome"] = "failed";
  }
  print_json(line);
}

int Sync::finish() {
  if (common_.output == Output::json) {
    print_json({{"type", "total"},
                {"images", total_.images},
                {"copied", total_.copied},
                {"unchanged", total_.unchanged},
                {"failed", total_.failed},
                {"deleted", total_.deleted},
                {"kept", total_.kept},
                {"blobs", blobs_json(total_.blobs)},
                {"bytes", bytes_json(total_.bytes)}});
  } else {
    fmt::print("{} images: {} copied ({} sent), {} unchanged, {} failed", total_.images,
               total_.copied, bytes_text(total_.bytes.sent), total_.unchanged, total_.failed);
    if (total_.deleted + total_.kept > 0)
      fmt::print("; {} deleted, {} kept", total_.deleted, total_.kept);
    fmt::print("\n");
  }
  return total_.failed + total_.kept > 0 ? 1 : 0;
}

}  // namespace

int sync(const Common& common, const Selection& selection, SyncOptions options) {
  Answers answers;
  Progress progress(answers);
  return run_batch(common, selection, answers,
                   [&](const config::Config& config, Fleet& fleet, PlacedTags& placed) {
                     return std::make_unique<Sync>(common, config, fleet, placed, progress,
                                                   options);
                   });
}

}  // namespace transship::commands
