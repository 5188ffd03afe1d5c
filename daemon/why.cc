#include "daemon/why.h"

#include <algorithm>

#include "daemon/status.h"

namespace transship {

namespace {

using Json = nlohmann::ordered_json;

monitoring::Time now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

HttpResponse respond(const Json& json, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.body = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return response;
}

HttpResponse refuse(int status, std::string_view why) {
  return respond({{"message", why}}, status);
}

Json digest_or_null(const std::optional<oci::Digest>& digest) {
  return digest ? Json(digest->str()) : Json();
}

Json error_json(std::string_view kind, std::string_view message, monitoring::Time at) {
  return {{"kind", kind}, {"message", message}, {"at", rfc3339(at)}};
}

// Whoever asks wants an answer, also where a registry gives none.
constexpr std::chrono::seconds patience{10};

asio::awaitable<Result<void>> wait_for(std::chrono::seconds longest) {
  co_await sleep_for(longest);
  co_return fail(ErrorKind::cancelled, "waited long enough");
}

// Of an image that does not show the same on both sides.
std::string_view stage_of(const WorkItem& item) {
  if (item.state == WorkItem::State::running) return "copying";
  return item.last_error ? "retrying" : "queued";
}

Json next_try_of(const WorkItem& item) {
  if (item.state != WorkItem::State::delayed) return nullptr;
  const auto until =
      std::chrono::duration_cast<std::chrono::milliseconds>(item.due - WorkItem::Clock::now());
  return rfc3339(now() + std::max(until, std::chrono::milliseconds(0)));
}

}  // namespace

std::optional<Why::Image> Why::parse(const std::string& name) {
  const std::size_t at = name.find('@');
  const std::size_t split = at != std::string::npos ? at : name.rfind(':');
  if (split == std::string::npos) return std::nullopt;
  auto repository = oci::Repository::parse(name.substr(0, split));
  if (!repository) return std::nullopt;
  const std::string rest = name.substr(split + 1);
  if (at != std::string::npos) {
    auto digest = oci::Digest::parse(rest);
    if (!digest) return std::nullopt;
    return Image{std::move(*repository), oci::Reference(std::move(*digest)), name, ""};
  }
  auto tag = oci::Tag::parse(rest);
  if (!tag) return std::nullopt;
  return Image{std::move(*repository), oci::Reference(std::move(*tag)), name, rest};
}

std::vector<Route> Why::routes_of(const Generation& generation, const std::string& target,
                                  const Image& image) const {
  std::vector<Route> routes;
  const std::string& repository = image.repository.str();
  for (const config::Rule& rule : generation.config.rules) {
    const bool matches = image.tag.empty() ? rule.repositories.matches(repository)
                                           : wants(rule, repository, image.tag);
    const bool served = std::any_of(
        generation.routes.pairs().begin(), generation.routes.pairs().end(),
        [&](const auto& pair) { return pair.rule == rule.name && pair.target == target; });
    if (matches && served) routes.push_back({&rule, target, rule.target_repository(repository)});
  }
  return routes;
}

// Several rules may want the image: the one that has something to do for it.
const Route& Why::most_telling(const std::vector<Route>& routes, const Image& image) const {
  const Worker* worker = parts_.worker(routes.front().target);
  const auto busy = std::find_if(routes.begin(), routes.end(), [&](const Route& route) {
    return (worker != nullptr && worker->has(route.rule->name, image.name)) ||
           parts_.dead_letters.find(route.rule->name, route.target, image.name) != nullptr;
  });
  return busy == routes.end() ? routes.front() : *busy;
}

asio::awaitable<void> Why::look(Generation& generation, std::string registry,
                                std::string repository, oci::Reference reference, Shown& shown) {
  auto parsed = oci::Repository::parse(repository);
  if (!parsed) {
    shown.error = parsed.error();
    co_return;
  }
  shown.error = Error{ErrorKind::transient, registry + " does not answer"};
  if (parts_.outages.is_out(registry)) co_return;
  auto head = co_await generation.fleet.registry(registry).head_manifest(std::move(*parsed),
                                                                         std::move(reference));
  shown.error.reset();
  if (!head) {
    shown.error = head.error();
  } else if (*head) {
    shown.digest = (*head)->digest;
  }
}

asio::awaitable<Result<void>> Why::look_at_both(Generation& generation, const Route& route,
                                                const Image& image, Shown& source, Shown& target) {
  co_await look(generation, route.rule->source, image.repository.str(), image.reference, source);
  co_await look(generation, route.target, route.target_repository, image.reference, target);
  co_return fail(ErrorKind::cancelled, "seen");  // ends the wait beside it
}

// Two-way rules leave it alone: both sides were pushed.
asio::awaitable<bool> Why::is_conflict(const Generation& generation, const Route& route,
                                       const Image& image, const Shown& source,
                                       const Shown& target) {
  if (!source.digest || !target.digest || source.digest == target.digest) co_return false;
  auto way = TwoWay::way_of(generation.config, *route.rule, route.target, image.repository,
                            image.reference);
  if (!way) co_return false;
  const Winner winner =
      co_await parts_.two_way.newer_side(std::move(*way), *source.digest, target.digest);
  co_return winner == Winner::unknown;
}

Json Why::explain(const Route& route, const Image& image, const Shown& source,
                  const Shown& target) const {
  const Worker* worker = parts_.worker(route.target);
  const WorkItem* item =
      worker == nullptr ? nullptr : worker->item_of(route.rule->name, image.name);
  const bus::DeadLetter* letter =
      parts_.dead_letters.find(route.rule->name, route.target, image.name);
  const auto& failed = source.error ? source.error : target.error;
  std::string_view stage = "queued";  // it waits for its event, or for reconciliation
  if (source.digest && source.digest == target.digest) {
    stage = "in_step";
  } else if (item != nullptr) {
    stage = stage_of(*item);
  } else if (letter != nullptr) {
    stage = "dead_lettered";
  } else if (failed) {
    stage = "unknown";
  } else if (!source.digest) {
    stage = "not_at_source";
  }
  Json last_error;
  if (stage == "in_step") {
    // Whatever there was is over.
  } else if (item != nullptr && item->last_error) {
    last_error =
        error_json(item->last_error->kind, item->last_error->message, item->last_error->at);
  } else if (letter != nullptr) {
    last_error = error_json(letter->error_kind, letter->error_message, letter->last_failed);
  } else if (failed) {
    last_error = error_json(to_string(failed->kind), failed->message, now());
  }
  std::optional<monitoring::Time> first_failed;
  if (stage != "in_step" && letter != nullptr) {
    first_failed = letter->first_failed;
  } else if (stage != "in_step" && item != nullptr) {
    first_failed = item->first_failed;
  }
  const std::uint64_t attempts =
      (item == nullptr ? 0 : item->attempts) + (letter == nullptr ? 0 : letter->attempts);
  return {
      {"image", image.name},
      {"target", route.target},
      {"rule", route.rule->name},
      {"target_image", route.target_repository + image.name.substr(image.repository.str().size())},
      {"stage", stage},
      {"attempts", attempts},
      {"first_failed", first_failed ? Json(rfc3339(*first_failed)) : Json()},
      {"next_try", item == nullptr ? Json() : next_try_of(*item)},
      {"last_error", std::move(last_error)},
      {"source_digest", digest_or_null(source.digest)},
      {"target_digest", digest_or_null(target.digest)}};
}

asio::awaitable<HttpResponse> Why::answer(HttpRequest request) {
  const std::string target = request.query["target"];
  const auto image = parse(request.query["image"]);
  const auto generation = parts_.generations.now();
  const auto& targets = generation->routes.targets();
  if (!image) co_return refuse(400, "image is not repository:tag or repository@digest");
  if (target.empty()) co_return refuse(400, "target is missing");
  if (std::find(targets.begin(), targets.end(), target) == targets.end())
    co_return refuse(404, "this daemon works for no target '" + target + "'");
  const std::vector<Route> routes = routes_of(*generation, target, *image);
  if (routes.empty()) {
    co_return respond({{"image", image->name},
                       {"target", target},
                       {"rule", nullptr},
                       {"target_image", nullptr},
                       {"stage", "filtered"},
                       {"attempts", 0},
                       {"first_failed", nullptr},
                       {"next_try", nullptr},
                       {"last_error", nullptr},
                       {"source_digest", nullptr},
                       {"target_digest", nullptr}});
  }
  const Route& route = most_telling(routes, *image);
  Shown source;
  Shown shown;
  TaskGroup group(co_await asio::this_coro::executor);
  group.spawn(look_at_both(*generation, route, *image, source, shown));
  group.spawn(wait_for(patience));
  static_cast<void>(co_await group.join());
  if (co_await is_conflict(*generation, route, *image, source, shown)) {
    shown.error = Error{ErrorKind::conflict,
                        "both sides were pushed and nobody knows which was later: they are left "
                        "alone; push again where it is right"};
  }
  co_return respond(explain(route, *image, source, shown));
}

}  // namespace transship
