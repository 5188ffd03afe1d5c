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
  int finish() override;

 private:
  void print(const Visit& visit, const Drift& drift);

  const Common& common_;
  Fleet& fleet_;
  Progress& progress_;
  bool deep_;
  std::map<std::string, Proven> proven_;  // by target
  std::uint64_t images_ = 0, in_step_ = 0, drift_ = 0, failed_ = 0;
};

asio::awaitable<void> Verifier::visit(Visit visit) {
  progress_.began();
  const auto* tag = visit.reference.tag();
  ImageJob job{fleet_.registry(visit.rule.source),
               visit.repository,
               visit.reference,
               fleet_.target(visit.target),
               visit.target_repository,
               tag != nullptr ? std::optional(*tag) : std::nullopt};
  job.source_seen = visit.source_seen;
  job.referrers = visit.rule.referrers;
  job.source_tags = visit.source_tags;
  auto verified = co_await verify_image(std::move(job), deep_, proven_[visit.target]);
  if (!verified) {
    unexamined({visit.rule.name, visit.target, visit.image(), verified.error()});
  } else if (!verified->at_source) {
    unexamined({visit.rule.name,
                visit.target,
                visit.image(),
                {ErrorKind::not_found,
                 fmt::format("{} does not have {}", visit.rule.source, visit.image())}});
  } else {
    ++images_;
    if (verified->drift) {
      print(visit, *verified->drift);
    } else {
      ++in_step_;
    }
  }
  progress_.ended();
}

void Verifier::print(const Visit& visit, const Drift& drift) {
  ++drift_;
  if (common_.output == Output::json) {
    print_json({{"type", "drift"},
                {"rule", visit.rule.name},
                {"target", visit.target},
                {"image", visit.image()},
                {"target_image", visit.target_image()},
                {"kind", to_string(drift.kind)},
                {"detail", drift.detail}});
  } else {
    fmt::print("{} {} at {}: {}\n", to_string(drift.kind), visit.target_image(), visit.target,
               drift.detail);
  }
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
  return run_batch(common, selection, answers, [&](const config::Config&, Fleet& fleet) {
    return std::make_unique<Verifier>(common, fleet, progress, deep);
  });
}

}  // namespace transship::commands
