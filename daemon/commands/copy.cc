#include <fmt/format.h>

#include <asio/io_context.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "daemon/commands/batch.h"
#include "daemon/commands/commands.h"
#include "daemon/commands/load.h"
#include "daemon/commands/one_shot.h"
#include "daemon/commands/progress.h"
#include "daemon/fleet.h"
#include "daemon/retry.h"
#include "replicator/image_copy.h"
#include "replicator/image_referrers.h"

namespace transship::commands {

namespace {

struct Ends {
  oci::FullReference source;
  oci::FullReference target;
  oci::Reference source_reference;
  std::optional<oci::Tag> target_tag;
  std::optional<oci::Digest> target_digest;  // what the operator demands that it is
};

Result<Ends> read_ends(const std::string& source_text, const std::string& target_text) {
  auto source = oci::FullReference::parse(source_text);
  if (!source) return fail(source.error().with_context("SRC"));
  auto target = oci::FullReference::parse(target_text);
  if (!target) return fail(target.error().with_context("DST"));
  oci::Reference source_reference = source->reference.value_or(*oci::Tag::parse("latest"));
  Ends ends{std::move(*source), std::move(*target), source_reference, std::nullopt, std::nullopt};
  const auto& given = ends.target.reference;
  if (given && given->digest() != nullptr) {
    ends.target_digest = *given->digest();
    const auto* digest = source_reference.digest();
    if (digest != nullptr && *digest != *ends.target_digest) {
      return fail(ErrorKind::invalid, "DST: its digest is not the source's");
    }
  } else if (given) {
    ends.target_tag = *given->tag();
  } else if (source_reference.tag() != nullptr) {
    ends.target_tag = *source_reference.tag();
  }
  return ends;
}

std::string scheme_of(const oci::FullReference& reference) {
  return reference.plain_http ? "http://" : "https://";
}

Result<std::unique_ptr<registry::Registry>> open_registry(http::Client& client,
                                                          const oci::FullReference& reference,
                                                          Observer& observer) {
  auto url = http::Url::parse(scheme_of(reference) + reference.host + "/");
  if (!url) return fail(url.error());
  registry::TransportOptions options;
  options.url = *url;
  options.name = url->authority();
  return std::make_unique<registry::Registry>(client, std::move(options),
                                              registry::docker_config(url->authority()), observer);
}

// An image that is there already gets what refers to it all the same: that was asked for.
asio::awaitable<Result<ImageResult>> copy_once(ImageJob job) {
  auto result = co_await copy_image(job);
  if (!result || result->outcome != ImageOutcome::unchanged || !job.referrers) co_return result;
  co_return co_await copy_referrers(std::move(job));
}

asio::awaitable<Result<ImageResult>> copy_with_retries(registry::Registry& source, Target& target,
                                                       Ends ends, bool referrers,
                                                       Progress& progress) {
  const config::RetryPolicy policy = config::Retry{}.for_one_shot();
  Random random(std::random_device{}());
  for (unsigned attempt = 1;; ++attempt) {
    ImageJob job{source,
                 ends.source.repository,
                 ends.source_reference,
                 target,
                 ends.target.repository,
                 ends.target_tag,
                 ends.target_digest};
    if (ends.target_digest) job.source_reference = *ends.target_digest;
    job.referrers = referrers;
    job.planned = [&progress](const oci::Digest&, std::uint64_t bytes) { progress.planned(bytes); };
    auto result = co_await copy_once(std::move(job));
    if (result && result->outcome == ImageOutcome::absent) {
      co_return fail(ErrorKind::not_found,
                     fmt::format("{} does not have {}{}", source.name(),
                                 ends.source.repository.str(), ends.source_reference.suffix()));
    }
    if (result || !worth_another_try(result.error()) ||
        attempt >= static_cast<unsigned>(policy.attempts)) {
      co_return result;
    }
    const auto pause = retry_pause(policy, attempt, result.error().retry_after, random);
    progress.message(fmt::format("{}; trying again in {:.1f} s", result.error().message,
                                 std::chrono::duration<double>(pause).count()));
    co_await sleep_for(pause);
  }
}

// The image at the target, as far as it is known.
std::string target_image(const Ends& ends, const Result<ImageResult>& result) {
  std::string suffix = ends.source_reference.suffix();
  if (ends.target_tag) {
    suffix = ":" + ends.target_tag->str();
  } else if (result) {
    suffix = "@" + result->digest->str();
  } else if (ends.target_digest) {
    suffix = "@" + ends.target_digest->str();
  }
  return ends.target.repository.str() + suffix;
}

Json as_json(const Ends& ends, const std::string& source, const std::string& target,
             const Result<ImageResult>& result, double seconds) {
  const ImageResult none{};
  const ImageResult& shown = result ? *result : none;
  return {{"type", "image"},
          {"source", source},
          {"target", target},
          {"image", ends.source.repository.str() + ends.source_reference.suffix()},
          {"target_image", target_image(ends, result)},
          {"digest", result ? Json(result->digest->str()) : Json()},
          {"outcome", result ? to_string(result->outcome) : "failed"},
          {"blobs", blobs_json(shown.blobs)},
          {"bytes", bytes_json(shown.bytes)},
          {"referrers", shown.referrers},
          {"left_out", shown.left_out},
          {"seconds", seconds},
          {"error", result ? Json() : error_json(result.error())}};
}

void print(const Common& common, const Json& line, const Result<ImageResult>& result) {
  if (!result) fmt::print(stderr, "{}\n", result.error().message);
  if (common.output == Output::json) {
    print_json(line);
  } else if (result) {
    for (const std::string& what : result->left_out)
      fmt::print(stderr, "without a referrer: {}\n", what);
    fmt::print("{}: {}/{} at {}\n", to_string(result->outcome), line["target"].get<std::string>(),
               line["target_image"].get<std::string>(), result->digest->str());
    if (result->outcome == ImageOutcome::copied) {
      fmt::print("{} blobs copied ({}), {} mounted ({}), {} present, in {:.1f} s\n",
                 result->blobs.copied, bytes_text(result->bytes.sent), result->blobs.mounted,
                 bytes_text(result->bytes.mounted), result->blobs.present,
                 line["seconds"].get<double>());
    }
  }
}

}  // namespace

int copy(const Common& common, const std::string& source_text, const std::string& target_text,
         bool referrers) {
  auto ends = read_ends(source_text, target_text);
  if (!ends) {
    fmt::print(stderr, "{}\n", ends.error().message);
    return 2;
  }
  asio::io_context loop(1);
  http::Client client(loop.get_executor(), user_agent(std::nullopt));
  Answers answers;
  auto source = open_registry(client, ends->source, answers);
  auto target = open_registry(client, ends->target, answers);
  if (!source || !target) {
    fmt::print(stderr, "{}\n", (!source ? source : target).error().message);
    return 2;
  }
  const bool same =
      (*source)->name() == (*target)->name() && ends->source.plain_http == ends->target.plain_http;
  Commons commons(loop.get_executor());
  Target shared(loop.get_executor(), same ? **source : **target, config::Transfers{}.blobs,
                commons);

  const auto started = std::chrono::steady_clock::now();
  Result<ImageResult> result = fail(ErrorKind::cancelled, "interrupted");
  Progress progress(answers);
  progress.expect(1);
  progress.start(loop.get_executor());
  run_until_interrupted(loop, [](auto copying, auto& outcome) -> asio::awaitable<void> {
    outcome = co_await std::move(copying);
  }(copy_with_retries(**source, shared, *ends, referrers, progress), result));
  progress.stop();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  print(common, as_json(*ends, (*source)->name(), (*target)->name(), result, seconds), result);
  if (result) return 0;
  const bool all_answered = answers.from((*source)->name()) && answers.from((*target)->name());
  return result.error().unanswered && !all_answered ? 3 : 1;
}

}  // namespace transship::commands
