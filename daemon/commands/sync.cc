#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "daemon/commands/batch.h"
#include "daemon/commands/load.h"
#include "daemon/commands/progress.h"
#include "daemon/retry.h"
#include "replicator/image_verify.h"

namespace transship::commands {

namespace {

class Sync final : public Visitor {
 public:
  Sync(const Common& common, const config::Config& config, Fleet& fleet, Progress& progress,
       bool closure)
      : common_(common),
        retry_(config.retry.for_one_shot()),
        fleet_(fleet),
        progress_(progress),
        closure_(closure) {
    for (const config::Registry& registry : config.registries) {
      images_.emplace(registry.name,
                      std::make_unique<Semaphore>(fleet.executor(), config.transfers.images));
    }
  }

  asio::awaitable<void> visit(Visit visit) override;
  void unexamined(const Unexamined& what) override;
  int finish() override;

 private:
  asio::awaitable<Result<ImageResult>> copy(const Visit& visit);
  asio::awaitable<Result<ImageResult>> repair(ImageJob job, ImageResult in_step);
  void print(const Visit& visit, const Result<ImageResult>& result, double seconds);

  const Common& common_;
  config::RetryPolicy retry_;
  Fleet& fleet_;
  Progress& progress_;
  bool closure_;
  std::map<std::string, Proven> proven_;  // by target
  Random random_{std::random_device{}()};
  std::map<std::string, std::unique_ptr<Semaphore>> images_;  // at once, by target
  struct Total {
    std::uint64_t images = 0, copied = 0, unchanged = 0, failed = 0;
    ImageResult::Blobs blobs;
    ImageResult::Bytes bytes;
  } total_;
};

asio::awaitable<Result<ImageResult>> Sync::copy(const Visit& visit) {
  for (unsigned attempt = 1;; ++attempt) {
    const auto* tag = visit.reference.tag();
    ImageJob job{fleet_.registry(visit.rule.source),
                 visit.repository,
                 visit.reference,
                 fleet_.target(visit.target),
                 visit.target_repository,
                 tag != nullptr ? std::optional(*tag) : std::nullopt};
    if (attempt == 1) {  // what was seen is old after a pause
      job.target_seen = visit.target_seen;
      job.source_seen = visit.source_seen;
      job.source_tags = visit.source_tags;
    }
    job.referrers = visit.rule.referrers;
    job.priority = visit.rule.priority;
    auto result = co_await copy_image(job);
    if (closure_ && result && result->outcome == ImageOutcome::unchanged) {
      result = co_await repair(std::move(job), *result);
    }
    if (result && result->outcome == ImageOutcome::absent) {
      co_return fail(ErrorKind::not_found,
                     fmt::format("{} does not have {}", visit.rule.source, visit.image()));
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
  co_return co_await copy_image(std::move(job));
}

asio::awaitable<void> Sync::visit(Visit visit) {
  const auto place = co_await images_.at(visit.target)->acquire(visit.rule.priority);
  const auto started = std::chrono::steady_clock::now();
  progress_.began();
  auto result = co_await copy(visit);
  print(visit, result,
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  progress_.ended();
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
                {"blobs", blobs_json(total_.blobs)},
                {"bytes", bytes_json(total_.bytes)}});
  } else {
    fmt::print("{} images: {} copied ({} sent), {} unchanged, {} failed\n", total_.images,
               total_.copied, bytes_text(total_.bytes.sent), total_.unchanged, total_.failed);
  }
  return total_.failed > 0 ? 1 : 0;
}

}  // namespace

int sync(const Common& common, const Selection& selection, bool closure) {
  Answers answers;
  Progress progress(answers);
  return run_batch(common, selection, answers, [&](const config::Config& config, Fleet& fleet) {
    return std::make_unique<Sync>(common, config, fleet, progress, closure);
  });
}

}  // namespace transship::commands
