#include "daemon/commands/batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <asio/io_context.hpp>

#include "daemon/commands/load.h"
#include "daemon/commands/one_shot.h"
#include "replicator/oci/referrers_tag.h"

namespace transship::commands {

namespace {

constexpr std::size_t tags_at_once = 64;  // of one repository
constexpr std::size_t repositories_at_once = 8;

}  // namespace

void Answers::request_done(std::string_view registry, std::string_view, int code,
                           std::chrono::duration<double>) {
  asked_.insert(std::string(registry));
  if (code != 0) answered_.insert(std::string(registry));
}

void Answers::bytes_moved(std::string_view, std::string_view, std::uint64_t bytes) {
  bytes_ += bytes;
}

void let_newer_win(ImageJob& job, TwoWay& two_way, const config::Config& config,
                   const Visit& visit) {
  auto way = TwoWay::way_of(config, visit.rule, visit.target, visit.repository, visit.reference);
  if (!way) return;
  job.may_replace = [&two_way, way = std::move(*way)](
                        oci::Digest source,
                        std::optional<oci::Digest> target) -> asio::awaitable<Result<bool>> {
    const Winner winner = co_await two_way.newer_side(way, std::move(source), std::move(target));
    if (winner == Winner::unknown) {
      co_return fail(
          ErrorKind::conflict,
          fmt::format("{}:{} was pushed at {} and at {}, and nobody knows which was "
                      "later; push again where it is right",
                      way.target_repository.str(), way.tag, way.rule.source, way.target));
    }
    co_return winner == Winner::source;
  };
}

ImageJob job_of(const Visit& visit, Fleet& fleet) {
  const auto* tag = visit.reference.tag();
  ImageJob job{fleet.registry(visit.rule.source),
               visit.repository,
               visit.reference,
               fleet.target(visit.target),
               visit.target_repository,
               tag != nullptr ? std::optional(*tag) : std::nullopt};
  job.priority = visit.rule.priority;
  job.target_seen = visit.target_seen;
  job.source_seen = visit.source_seen;
  job.source_tags = visit.source_tags;
  job.referrers = visit.rule.referrers;
  return job;
}

Unexamined unexamined(const Visit& visit, Error error) {
  return {visit.rule.name, visit.target, visit.image(), std::move(error)};
}

Error absent_at_source(const Visit& visit) {
  return {ErrorKind::not_found,
          fmt::format("{} does not have {}", visit.rule.source, visit.image())};
}

// A target, and which tags of the repository at hand it lists.
struct Batch::Side {
  std::string target;
  oci::Repository repository;
  std::set<std::string> tags;
};

Batch::Batch(asio::any_io_executor executor, const config::Config& config, Fleet& fleet,
             PlacedTags& placed, Selection selection, Visitor& visitor)
    : executor_(std::move(executor)),
      config_(config),
      fleet_(fleet),
      placed_(placed),
      selection_(std::move(selection)),
      visitor_(visitor) {}

asio::awaitable<void> Batch::run() {
  for (const config::Rule& rule : config_.rules) {
    if (selection_.rule && rule.name != *selection_.rule) continue;
    if (targets_of(rule).empty()) continue;
    std::optional<ExtraSearch> extras;
    if (rule.deletes == config::Deletes::propagate) {
      extras.emplace(fleet_, config_, placed_, rule, targets_of(rule), visitor_.keeps_memory());
    }
    if (selection_.images.empty()) {
      co_await over_rule(rule, extras ? &*extras : nullptr);
    } else {
      co_await over_named(rule, extras ? &*extras : nullptr);
    }
    if (extras) co_await over_extras(rule, *extras);
  }
  for (const std::string& image : selection_.images) {
    if (matched_.contains(image)) continue;
    const bool travels = oci::ReferrersTag::parse(image.substr(image.rfind(':') + 1)).has_value();
    visitor_.unexamined(
        {{},
         {},
         image,
         {ErrorKind::not_found,
          image + (travels ? ": it is no image of its own, but travels with the one that it is for"
                           : ": no rule matches it")}});
  }
}

std::vector<std::string> Batch::targets_of(const config::Rule& rule) const {
  std::vector<std::string> targets = rule.targets;
  if (selection_.target)
    std::erase_if(targets, [&](const auto& name) { return name != *selection_.target; });
  return targets;
}

std::optional<oci::Repository> Batch::target_repository(const config::Rule& rule,
                                                        const std::string& target,
                                                        const oci::Repository& repository) {
  auto renamed = oci::Repository::parse(rule.target_repository(repository.str()));
  if (renamed) return std::move(*renamed);
  visitor_.unexamined({rule.name,
                       target,
                       {},
                       renamed.error().with_context(repository.str() + " cannot be renamed")});
  return std::nullopt;
}

void Batch::list_failed(const config::Rule& rule, const Error& error) {
  for (const std::string& target : targets_of(rule))
    visitor_.unexamined({rule.name, target, {}, error});
}

asio::awaitable<void> Batch::over_extras(const config::Rule& rule, ExtraSearch& extras) {
  for (Extras& found : co_await extras.find()) {
    for (const Extras::Failure& failure : found.failures)
      visitor_.unexamined({rule.name, found.target, failure.image, failure.error});
    co_await visitor_.extras(rule, std::move(found));
  }
}

asio::awaitable<void> Batch::over_named(const config::Rule& rule, ExtraSearch* extras) {
  for (const std::string& text : selection_.images) {
    const auto name = *oci::ImageName::parse(text);  // checked before anything was begun
    if (!rule.repositories.matches(name.repository.str())) continue;
    if (name.reference.tag() != nullptr && !rule.tags.matches(name.reference.str())) continue;
    if (oci::ReferrersTag::parse(name.reference.str())) continue;
    matched_.insert(text);
    TaskGroup group(executor_);
    for (const std::string& target : targets_of(rule)) {
      auto repository = target_repository(rule, target, name.repository);
      if (!repository) continue;
      Visit visit{rule, target, name.repository, name.reference, std::move(*repository), {}, {}};
      group.spawn([](Visitor& visitor, Visit one) -> asio::awaitable<Result<void>> {
        co_await visitor.visit(std::move(one));
        co_return Result<void>{};
      }(visitor_, std::move(visit)));
    }
    static_cast<void>(co_await group.join());
    if (extras != nullptr && name.reference.tag() != nullptr)
      co_await extras->compare_tag(name.repository.str(), name.reference.str());
  }
}

asio::awaitable<void> Batch::over_rule(const config::Rule& rule, ExtraSearch* extras) {
  std::vector<std::string> names;
  if (auto literal = rule.repositories.literal()) {
    names = std::move(*literal);
  } else {
    auto all = co_await fleet_.registry(rule.source).list_repositories();
    if (!all) {
      list_failed(rule, all.error());
      co_return;
    }
    for (std::string& name : *all) {
      if (rule.repositories.matches(name)) names.push_back(std::move(name));
    }
  }
  std::set<std::string> dead;  // targets that do not answer: said once, not for each image
  // What is searched for what is there too much goes by one after another.
  const std::size_t at_once = extras == nullptr ? repositories_at_once : 1;
  static_cast<void>(co_await for_each_index(
      names.size(), at_once, [&](std::size_t i) -> asio::awaitable<Result<void>> {
        auto repository = oci::Repository::parse(names[i]);
        if (repository) co_await over_repository(rule, std::move(*repository), dead, extras);
        co_return Result<void>{};
      }));
  if (extras == nullptr) co_return;
  co_await extras->compare_vanished();
  for (const std::string& target : dead) extras->skip_target(target);
}

asio::awaitable<void> Batch::over_repository(const config::Rule& rule, oci::Repository repository,
                                             std::set<std::string>& dead, ExtraSearch* extras) {
  auto tags = co_await fleet_.registry(rule.source).list_tags(repository);
  if (!tags) {
    list_failed(rule, tags.error());
    if (extras != nullptr) extras->skip(repository.str());
    co_return;
  }
  if (extras != nullptr)
    co_await extras->compare(repository.str(), *tags ? **tags : std::vector<std::string>());
  if (!*tags) co_return;
  const auto all_tags = std::make_shared<const std::vector<std::string>>(**tags);
  std::erase_if(**tags, [&](const std::string& tag) {
    return !rule.tags.matches(tag) || oci::ReferrersTag::parse(tag);
  });
  if ((*tags)->empty()) co_return;
  std::vector<Side> sides;
  for (const std::string& target : targets_of(rule)) {
    if (dead.contains(target)) continue;
    auto there = target_repository(rule, target, repository);
    if (!there) continue;
    auto listed = co_await fleet_.registry(target).list_tags(*there);
    if (!listed) {
      if (dead.contains(target)) continue;  // another repository's list has told so
      visitor_.unexamined({rule.name, target, {}, listed.error()});
      if (listed.error().unanswered) dead.insert(target);
      continue;
    }
    fleet_.target(target).note_repository(*there, listed->has_value());
    Side side{target, std::move(*there), {}};
    if (*listed) side.tags.insert((*listed)->begin(), (*listed)->end());
    sides.push_back(std::move(side));
  }
  visitor_.expect((*tags)->size() * sides.size());
  static_cast<void>(co_await for_each_index(
      (*tags)->size(), tags_at_once, [&](std::size_t i) -> asio::awaitable<Result<void>> {
        auto tag = oci::Tag::parse((**tags)[i]);
        if (!tag) co_return Result<void>{};
        co_return co_await over_tag(rule, sides, repository, std::move(*tag), all_tags);
      }));
}

// Where any target lists the tag, the source is asked for its digest once for all of them.
asio::awaitable<Result<void>> Batch::over_tag(const config::Rule& rule,
                                              const std::vector<Side>& sides,
                                              oci::Repository repository, oci::Tag tag,
                                              TagList source_tags) {
  std::optional<oci::Digest> source_seen;
  const bool listed = std::any_of(sides.begin(), sides.end(),
                                  [&](const Side& side) { return side.tags.contains(tag.str()); });
  if (listed) {
    auto shown = co_await fleet_.registry(rule.source).head_manifest(repository, tag);
    if (!shown) {
      for (const Side& side : sides) {
        visitor_.unexamined(
            {rule.name, side.target, repository.str() + ":" + tag.str(), shown.error()});
      }
      co_return Result<void>{};
    }
    if (!*shown) co_return Result<void>{};  // deleted since it was listed
    source_seen = (*shown)->digest;
  }
  TaskGroup group(executor_);
  for (const Side& side : sides) {
    Visit visit{rule, side.target, repository, tag, side.repository, {}, source_seen, source_tags};
    if (!side.tags.contains(tag.str())) visit.target_seen = ImageJob::Seen{};
    group.spawn([](Visitor& visitor, Visit one) -> asio::awaitable<Result<void>> {
      co_await visitor.visit(std::move(one));
      co_return Result<void>{};
    }(visitor_, std::move(visit)));
  }
  co_return co_await group.join();
}

namespace {

// A mistake in what was asked for, before anything is begun.
std::optional<std::string> mistake_in(const Selection& selection, const config::Config& config) {
  if (selection.rule && config.find_rule(*selection.rule) == nullptr) {
    return fmt::format("--rule {}: the configuration has no such rule", *selection.rule);
  }
  if (selection.target) {
    const bool known =
        std::any_of(config.rules.begin(), config.rules.end(), [&](const config::Rule& rule) {
          return std::find(rule.targets.begin(), rule.targets.end(), *selection.target) !=
                 rule.targets.end();
        });
    if (!known) return fmt::format("--target {}: no rule has that target", *selection.target);
  }
  for (const std::string& image : selection.images) {
    if (auto name = oci::ImageName::parse(image); !name) return name.error().message;
  }
  return std::nullopt;
}

// Whether the sources, or the targets, that were asked never said anything.
bool never_answered(const Answers& answers, const config::Config& config) {
  std::set<std::string> sources;
  std::set<std::string> targets;
  for (const config::Rule& rule : config.rules) {
    sources.insert(rule.source);
    targets.insert(rule.targets.begin(), rule.targets.end());
  }
  const auto all_silent = [&](const std::set<std::string>& names) {
    const bool any_silent = std::any_of(names.begin(), names.end(),
                                        [&](const auto& name) { return answers.silent(name); });
    const bool any_answer = std::any_of(names.begin(), names.end(),
                                        [&](const auto& name) { return answers.from(name); });
    return any_silent && !any_answer;
  };
  return all_silent(sources) || all_silent(targets);
}

}  // namespace

int run_batch(const Common& common, const Selection& selection, Answers& answers,
              const MakeVisitor& make) {
  const auto config = load_config(common.config_file);
  if (!config) return 2;
  if (const auto mistake = mistake_in(selection, *config)) {
    fmt::print(stderr, "{}\n", *mistake);
    return 2;
  }
  asio::io_context loop(1);
  http::Client client(loop.get_executor(), user_agent(config->region));
  Fleet fleet(client, *config, answers, config->retry.for_one_shot().longest_pause,
              state_for_one_shot(*config));
  PlacedTags placed(loop.get_executor(), config->state, [](const Error& error) {
    fmt::print(stderr, "{}: what was deleted at the source cannot be told\n", error.message);
  });
  const auto visitor = make(*config, fleet, placed);
  Batch batch(loop.get_executor(), *config, fleet, placed, selection, *visitor);
  visitor->started(loop.get_executor());
  const bool complete = run_until_interrupted(loop, batch.run());
  visitor->stopped();
  const int code = visitor->finish();
  if (!complete) {
    fmt::print(stderr, "interrupted: not everything was looked at\n");
    return 1;
  }
  return code != 0 && never_answered(answers, *config) ? 3 : code;
}

}  // namespace transship::commands
