#include "replicator/plan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "daemon/commands/batch.h"
#include "daemon/commands/load.h"
#include "daemon/commands/progress.h"
#include "replicator/image_plan.h"

namespace transship::commands {

namespace {

struct Sums {
  Plan::Sum send, mount, present;

  void add(const Plan& plan) {
    add(send, plan.sum(BlobAction::send));
    add(mount, plan.sum(BlobAction::mount));
    add(present, plan.sum(BlobAction::present));
  }
  static void add(Plan::Sum& to, const Plan::Sum& what) {
    to.blobs += what.blobs;
    to.bytes += what.bytes;
  }
  [[nodiscard]] Json blobs() const {
    return {{"send", send.blobs}, {"mount", mount.blobs}, {"present", present.blobs}};
  }
  [[nodiscard]] Json bytes() const {
    return {{"send", send.bytes}, {"mount", mount.bytes}, {"present", present.bytes}};
  }
};

class Planner final : public Visitor {
 public:
  Planner(const Common& common, const config::Config& config, Fleet& fleet, PlacedTags& placed,
          Progress& progress)
      : common_(common), config_(config), fleet_(fleet), two_way_(placed), progress_(progress) {}

  asio::awaitable<void> visit(Visit visit) override;
  void unexamined(const Unexamined& what) override;
  asio::awaitable<void> extras(const config::Rule& rule, Extras extras) override;
  void expect(std::uint64_t images) override { progress_.expect(images); }
  void started(asio::any_io_executor executor) override { progress_.start(std::move(executor)); }
  void stopped() override { progress_.stop(); }
  int finish() override;

 private:
  void print(const Visit& visit, const PlannedImage& planned);

  const Common& common_;
  const config::Config& config_;
  Fleet& fleet_;
  TwoWay two_way_;
  Progress& progress_;
  std::uint64_t images_ = 0, copy_ = 0, unchanged_ = 0, delete_ = 0, failed_ = 0;
  Sums total_;
};

asio::awaitable<void> Planner::visit(Visit visit) {
  progress_.began();
  ImageJob job = job_of(visit, fleet_);
  let_newer_win(job, two_way_, config_, visit);
  auto planned = co_await plan_image(std::move(job));
  if (!planned) {
    unexamined(commands::unexamined(visit, planned.error()));
  } else if (planned->outcome == ImageOutcome::absent) {
    unexamined(commands::unexamined(visit, absent_at_source(visit)));
  } else {
    print(visit, *planned);
  }
  progress_.ended();
}

void Planner::print(const Visit& visit, const PlannedImage& planned) {
  const bool would_copy = planned.outcome == ImageOutcome::copied;
  ++images_;
  ++(would_copy ? copy_ : unchanged_);
  Sums sums;
  sums.add(planned.plan);
  total_.add(planned.plan);
  if (common_.output == Output::json) {
    print_json({{"type", "image"},
                {"rule", visit.rule.name},
                {"source", visit.rule.source},
                {"target", visit.target},
                {"image", visit.image()},
                {"target_image", visit.target_image()},
                {"digest", planned.digest->str()},
                {"action", would_copy ? "copy" : "unchanged"},
                {"blobs", sums.blobs()},
                {"bytes", sums.bytes()}});
  } else if (would_copy) {
    fmt::print("copy {} to {} as {}: {} blobs to send ({}), {} to mount ({}), {} present\n",
               visit.image(), visit.target, visit.target_image(), sums.send.blobs,
               bytes_text(sums.send.bytes), sums.mount.blobs, bytes_text(sums.mount.bytes),
               sums.present.blobs);
  }
}

void Planner::unexamined(const Unexamined& what) {
  ++failed_;
  if (!what.image.empty()) ++images_;
  if (common_.output == Output::json) {
    print_json(unexamined_json(what));
  } else {
    progress_.message(what.error.message);
  }
}

asio::awaitable<void> Planner::extras(const config::Rule& rule, Extras extras) {
  delete_ += extras.tags.size();
  for (const PlacedTag& tag : extras.tags) {
    if (common_.output == Output::json) {
      Json line = delete_json(rule, extras.target, tag);
      line["action"] = "delete";
      print_json(line);
    } else {
      fmt::print("delete {} from {}: {} is gone from {}\n", tag.target_image(), extras.target,
                 tag.image(), rule.source);
    }
  }
  if (extras.are_stopped())
    progress_.message(
        fmt::format("rule {}, target {}: {}", rule.name, extras.target, extras.why_stopped()));
  co_return;
}

int Planner::finish() {
  if (common_.output == Output::json) {
    print_json({{"type", "total"},
                {"images", images_},
                {"copy", copy_},
                {"unchanged", unchanged_},
                {"delete", delete_},
                {"failed", failed_},
                {"blobs", total_.blobs()},
                {"bytes", total_.bytes()}});
  } else {
    fmt::print(
        "{} images: {} to copy ({} to send, {} to mount), {} unchanged, {} to delete, "
        "{} failed\n",
        images_, copy_, bytes_text(total_.send.bytes), bytes_text(total_.mount.bytes), unchanged_,
        delete_, failed_);
  }
  return failed_ > 0 ? 1 : 0;
}

}  // namespace

int plan(const Common& common, const Selection& selection) {
  Answers answers;
  Progress progress(answers);
  return run_batch(common, selection, answers,
                   [&](const config::Config& config, Fleet& fleet, PlacedTags& placed) {
                     return std::make_unique<Planner>(common, config, fleet, placed, progress);
                   });
}

}  // namespace transship::commands
