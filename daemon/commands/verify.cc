#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "daemon/commands/batch.h"
#include "daemon/commands/load.h"
#include "daemon/commands/progress.h"
#include "replicator/image_verify.h"

namespace transship::commands {

namespace {

class Verifier final : public Visitor {
 public:
  Verifier(const Common& common, Fleet& fleet, Progress& progress, bool deep)
      : common_(common), fleet_(fleet), progress_(progress), deep_(deep) {}

  asio::awaitable<void> visit(Visit visit) override;
  void unexamined(const Unexamined& what) override;
  asio::awaitable<void> extras(const config::Rule& rule, Extras extras) override;
  void expect(std::uint64_t images) override { progress_.expect(images); }
  void started(asio::any_io_executor executor) override { progress_.start(std::move(executor)); }
  void stopped() override { progress_.stop(); }
  int finish() override;

 private:
  void print(const config::Rule& rule, const std::string& target, const std::string& image,
             const std::string& target_image, std::string_view kind, const std::string& detail);

  const Common& common_;
  Fleet& fleet_;
  Progress& progress_;
  bool deep_;
  std::map<std::string, Proven> proven_;  // by target
  std::uint64_t images_ = 0, in_step_ = 0, drift_ = 0, failed_ = 0;
};

asio::awaitable<void> Verifier::visit(Visit visit) {
  progress_.began();
  ImageJob job = job_of(visit, fleet_);
  job.target_seen.reset();  // a list is no proof
  auto verified = co_await verify_image(std::move(job), deep_, proven_[visit.target]);
  if (!verified) {
    unexamined(commands::unexamined(visit, verified.error()));
  } else if (!verified->at_source) {
    unexamined(commands::unexamined(visit, absent_at_source(visit)));
  } else {
    ++images_;
    if (verified->drift) {
      const Drift& drift = *verified->drift;
      print(visit.rule, visit.target, visit.image(), visit.target_image(), to_string(drift.kind),
            drift.detail);
    } else {
      ++in_step_;
    }
  }
  progress_.ended();
}

void Verifier::print(const config::Rule& rule, const std::string& target, const std::string& image,
                     const std::string& target_image, std::string_view kind,
                     const std::string& detail) {
  ++drift_;
  if (common_.output == Output::json) {
    print_json({{"type", "drift"},
                {"rule", rule.name},
                {"target", target},
                {"image", image},
                {"target_image", target_image},
                {"kind", kind},
                {"detail", detail}});
  } else {
    fmt::print("{} {} at {}: {}\n", kind, target_image, target, detail);
  }
}

asio::awaitable<void> Verifier::extras(const config::Rule& rule, Extras extras) {
  for (const PlacedTag& tag : extras.tags) {
    print(rule, extras.target, tag.image(), tag.target_image(), "extra",
          fmt::format("{} no longer has {}, and the target still shows {}", rule.source,
                      tag.image(), tag.digest));
  }
  co_return;
}

void Verifier::unexamined(const Unexamined& what) {
  ++failed_;
  if (!what.image.empty()) ++images_;
  if (common_.output == Output::json) {
    print_json(unexamined_json(what));
  } else {
    progress_.message(what.error.message);
  }
}

int Verifier::finish() {
  if (common_.output == Output::json) {
    print_json({{"type", "total"},
                {"images", images_},
                {"in_step", in_step_},
                {"drift", drift_},
                {"failed", failed_}});
  } else {
    fmt::print("{} images: {} in step, {} drifted, {} could not be examined\n", images_, in_step_,
               drift_, failed_);
  }
  return drift_ + failed_ > 0 ? 1 : 0;
}

}  // namespace

int verify(const Common& common, const Selection& selection, bool deep) {
  Answers answers;
  Progress progress(answers);
  return run_batch(common, selection, answers,
                   [&](const config::Config&, Fleet& fleet, PlacedTags&) {
                     return std::make_unique<Verifier>(common, fleet, progress, deep);
                   });
}

}  // namespace transship::commands
