#include "daemon/intake.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "daemon/log.h"

namespace transship {

namespace {

constexpr std::size_t shown_bytes_max = 200;  // of a malformed event's explanation in the log

HttpResponse message(int status, std::string_view text) {
  HttpResponse response;
  response.status = status;
  response.body = nlohmann::json{{"message", text}}.dump() + "\n";
  if (status == 503) response.headers.emplace_back("Retry-After", "2");
  return response;
}

// CloudEvents "HTTP 1.1 Web Hooks": a sender asks for permission first.
HttpResponse allow_sender(const HttpRequest& request) {
  HttpResponse response;
  const auto origin = request.headers.find("webhook-request-origin");
  if (origin != request.headers.end()) {
    response.headers.emplace_back("WebHook-Allowed-Origin", origin->second);
    response.headers.emplace_back("WebHook-Allowed-Rate", "*");
  }
  response.headers.emplace_back("Allow", "POST, OPTIONS");
  return response;
}

}  // namespace

std::string_view outcome_of(const events::Event& event, std::string_view host) {
  switch (event.action) {
    case events::Action::push:
    case events::Action::remove:
      return event.host && *event.host != host ? "ignored" : "accepted";
    case events::Action::malformed:
      return "malformed";
    default:
      return "ignored";
  }
}

Intake::Sorted Intake::sort(const config::Registry& registry, std::string_view host,
                            const HttpRequest& request) {
  const events::Dialect dialect = *events::dialect_named(to_string(registry.events.format));
  events::Headers headers;
  for (const auto& [name, value] : request.headers) {
    if (events::is_telling_header(dialect, name)) headers.emplace(name, value);
  }
  Sorted sorted;
  for (events::Message& part : events::parse(dialect, request.body, headers)) {
    std::size_t wanted = 0;
    bool hint_travels = false;
    for (const events::Event& event : part.events) {
      sorted.too_many = sorted.too_many || event.over_limit;
      const std::string_view outcome = outcome_of(event, host);
      if (outcome == "accepted") {
        ++wanted;
        continue;
      }
      metrics_.events_seen(registry.name, outcome);
      if (event.confirm_at) {
        log::warning(registry.name +
                         " asks whether it may send events here: if you made that subscription, "
                         "confirm it by opening this address, once",
                     {{"registry", registry.name}, {"confirm_at", *event.confirm_at}});
      }
      if (const auto hint = BlobHint::of(registry.name, event))
        hint_travels = take_hint_(*hint) || hint_travels;
      if (event.action == events::Action::malformed) {
        log::warning("malformed event from " + registry.name + ": " +
                         event.detail.substr(0, shown_bytes_max),
                     {{"registry", registry.name}});
      }
    }
    if (wanted == 0 && !hint_travels) continue;
    bus::Message made{registry.name, std::move(part.body), headers, part.events.front().id};
    made.headers.emplace(intake_header, instance_);
    sorted.messages.push_back(std::move(made));
    sorted.events.push_back(wanted);
  }
  return sorted;
}

asio::awaitable<HttpResponse> Intake::take(const config::Registry& registry, std::string host,
                                           HttpRequest request) {
  if (request.method == "OPTIONS") co_return allow_sender(request);
  if (request.method != "POST") {
    HttpResponse response = message(405, "events are sent with POST");
    response.headers.emplace_back("Allow", "POST, OPTIONS");
    co_return response;
  }
  const events::Dialect dialect = *events::dialect_named(to_string(registry.events.format));
  // A handshake may come with events beside it, and needs its answer also while the bus is away.
  auto handshake = events::handshake_answer(dialect, request.body);
  const auto no_bus = [this] {
    ++refused_;
    return message(503, "the message bus cannot be reached; send it again");
  };
  if (!handshake && !status_.takes_events()) co_return no_bus();
  Sorted sorted = sort(registry, host, request);
  if (sorted.too_many) {
    co_return message(413,
                      fmt::format("a body may hold at most {} events", events::Limits{}.events));
  }
  std::size_t accepted = 0;
  if (!sorted.messages.empty()) {
    if (!status_.takes_events()) co_return no_bus();
    auto published = co_await bus_.publish(std::move(sorted.messages));
    if (!published) {
      const bool too_large = published.error().kind == ErrorKind::invalid;
      if (!too_large) {
        ++refused_;
        if (published.error().kind != ErrorKind::throttled) status_.bus_took(false);
        log::error("an event could not be stored: " + published.error().message,
                   {{"registry", registry.name}});
      }
      co_return message(too_large ? 413 : 503, published.error().message);
    }
    status_.bus_took(true);
    for (std::size_t i = 0; i < published->size(); ++i) {
      const bool duplicate = (*published)[i] == bus::Published::duplicate;
      if (sorted.events[i] == 0) continue;  // a hint, counted above
      metrics_.events_seen(registry.name, duplicate ? "duplicate" : "accepted", sorted.events[i]);
      if (!duplicate) accepted += sorted.events[i];
    }
  }
  HttpResponse response;
  if (handshake) {
    response.body = std::move(*handshake);
    co_return response;
  }
  response.status = 202;
  response.body = nlohmann::json{{"accepted", accepted}}.dump() + "\n";
  co_return response;
}

}  // namespace transship
