#include "daemon/events/event.h"

#include <algorithm>
#include <array>
#include <utility>

#include "daemon/events/dialects.h"

namespace transship::events {
namespace {

constexpr std::array<std::pair<std::string_view, Dialect>, 8> dialects{{
    {"distribution", Dialect::distribution},
    {"harbor", Dialect::harbor},
    {"cloudevents", Dialect::cloudevents},
    {"ecr", Dialect::ecr},
    {"acr", Dialect::acr},
    {"quay", Dialect::quay},
    {"gar", Dialect::gar},
    {"dockerhub", Dialect::dockerhub},
}};

}  // namespace

std::optional<Dialect> dialect_named(std::string_view name) {
  const auto* found = std::find_if(dialects.begin(), dialects.end(),
                                   [name](const auto& entry) { return entry.first == name; });
  return found == dialects.end() ? std::nullopt : std::optional(found->second);
}

std::string_view to_string(Dialect dialect) {
  return std::find_if(dialects.begin(), dialects.end(),
                      [dialect](const auto& entry) { return entry.second == dialect; })
      ->first;
}

std::vector<Message> parse(Dialect dialect, std::string_view body, const Headers& headers,
                           const Limits& limits) {
  if (dialect == Dialect::cloudevents) return parse_cloudevents(body, headers, limits);
  std::string problem;
  const auto json = Json::parse(body, limits.depth, &problem);
  if (!json) return whole(body, malformed(std::move(problem)));
  const Source source{body, *json, headers, limits};
  switch (dialect) {
    case Dialect::distribution:
      return parse_distribution(source);
    case Dialect::harbor:
      return parse_harbor(source);
    case Dialect::ecr:
      return parse_ecr(source);
    case Dialect::acr:
      return parse_acr(source);
    case Dialect::quay:
      return parse_quay(source);
    case Dialect::gar:
      return parse_gar(source);
    case Dialect::dockerhub:
      return parse_dockerhub(source);
    case Dialect::cloudevents:
      break;
  }
  return whole(body, malformed("an unknown dialect"));
}

bool is_telling_header(Dialect dialect, std::string_view lower_case_name) {
  constexpr std::array<std::string_view, 6> telling{"ce-specversion", "ce-id",   "ce-source",
                                                    "ce-type",        "ce-time", "content-type"};
  return dialect == Dialect::cloudevents &&
         std::find(telling.begin(), telling.end(), lower_case_name) != telling.end();
}

std::optional<std::string> handshake_answer(Dialect dialect, std::string_view body) {
  if (dialect != Dialect::acr) return std::nullopt;
  std::string problem;
  const auto json = Json::parse(body, Limits{}.depth, &problem);
  return json ? acr_handshake_answer(*json) : std::nullopt;
}

}  // namespace transship::events
