#include "daemon/api.h"

#include <nlohmann/json.hpp>

namespace transship {

namespace {

constexpr std::string_view intake_path = "/intake/";

HttpResponse message(int status, std::string_view text) {
  HttpResponse response;
  response.status = status;
  response.body = nlohmann::json{{"message", text}}.dump() + "\n";
  if (status == 503) response.headers.emplace_back("Retry-After", "2");
  if (status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

HttpResponse not_allowed(std::string allowed) {
  HttpResponse response = message(405, "this path takes " + allowed);
  response.headers.emplace_back("Allow", std::move(allowed));
  return response;
}

bool is_read(const HttpRequest& request) {
  return request.method == "GET" || request.method == "HEAD";
}

std::string bearer_token(const HttpRequest& request) {
  const auto header = request.headers.find("authorization");
  if (header == request.headers.end()) return {};
  const std::string& value = header->second;
  const std::string scheme = "bearer ";
  if (value.size() <= scheme.size()) return {};
  for (std::size_t i = 0; i < scheme.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(value[i])) != scheme[i]) return {};
  }
  return value.substr(value.find_first_not_of(' ', scheme.size()));
}

// Some registries can set no header at all, and some send theirs without "Bearer".
bool intake_token_accepted(Tokens& tokens, const HttpRequest& request) {
  const auto query = request.query.find("token");
  if (query != request.query.end() && tokens.accepts(query->second)) return true;
  const auto header = request.headers.find("authorization");
  if (header == request.headers.end()) return false;
  return tokens.accepts(bearer_token(request)) || tokens.accepts(header->second);
}

HttpResponse json(const nlohmann::ordered_json& value, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.body = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return response;
}

}  // namespace

Api::Api(const Generations& generations, Parts parts)
    : generations_(generations), parts_(std::move(parts)) {}

Result<Api::Keys> Api::read_keys(const config::Config& config) {
  Keys keys;
  if (config.http.token_file) {
    keys.tokens = std::make_unique<Tokens>(*config.http.token_file);
    if (auto loaded = keys.tokens->load(); !loaded)
      return fail(loaded.error().with_context("http"));
  }
  for (const config::Registry& registry : config.registries) {
    if (!registry.events.token_file) continue;
    auto own = std::make_unique<Tokens>(*registry.events.token_file);
    if (auto loaded = own->load(); !loaded)
      return fail(loaded.error().with_context("events of " + registry.name));
    keys.of_registries.emplace(registry.name, std::move(own));
  }
  return keys;
}

// Only a token that is surely wrong is 401: some senders of events drop on 4xx.
HttpResponse Api::refuse_token(const Tokens& tokens, std::string_view how) {
  if (!tokens.are_known()) return message(503, "the token file cannot be read, or holds no token");
  return message(401, "a valid token is needed: " + std::string(how));
}

asio::awaitable<HttpResponse> Api::answer(HttpRequest request) {
  if (request.path.starts_with(intake_path)) co_return co_await intake(std::move(request));
  bool found = false;
  HttpResponse response = open_to_all(request, found);
  if (found) co_return response;
  if (keys_.tokens && !keys_.tokens->accepts(bearer_token(request)))
    co_return refuse_token(*keys_.tokens, "Authorization: Bearer …");
  co_return co_await for_operators(std::move(request));
}

asio::awaitable<HttpResponse> Api::intake(HttpRequest request) {
  const std::string name = request.path.substr(intake_path.size());
  const auto generation = generations_.now();  // keeps the registry
  const config::Registry* registry = generation->config.find_registry(name);
  const auto own = keys_.of_registries.find(name);
  Tokens* tokens = own != keys_.of_registries.end() ? own->second.get() : keys_.tokens.get();
  if (tokens != nullptr && !intake_token_accepted(*tokens, request))
    co_return refuse_token(*tokens, "Authorization: Bearer …, or ?token=…");
  if (registry == nullptr) co_return message(404, "the configuration has no registry of that name");
  co_return co_await parts_.intake.take(*registry, generation->fleet.registry(name).host(),
                                        std::move(request));
}

// What monitoring asks for, and the page without its figures, need no token.
HttpResponse Api::open_to_all(const HttpRequest& request, bool& found) {
  found = request.path == "/" || request.path == "/healthz" || request.path == "/readyz" ||
          request.path == "/metrics";
  if (!found) return {};
  if (!is_read(request)) return not_allowed("GET, HEAD");
  if (request.path == "/") return page_.response();
  if (request.path == "/healthz") return json({{"alive", true}});
  if (request.path == "/readyz") {
    const auto ready = parts_.status.readiness();
    return json(ready, ready["ready"].get<bool>() ? 200 : 503);
  }
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = parts_.metrics();
  return response;
}

asio::awaitable<HttpResponse> Api::for_operators(HttpRequest request) {
  if (request.path == "/api/v1/status") {
    co_return is_read(request) ? json(parts_.status.report()) : not_allowed("GET, HEAD");
  }
  if (request.path == "/api/v1/history") {
    co_return is_read(request) ? json(parts_.history.report()) : not_allowed("GET, HEAD");
  }
  if (request.path == "/api/v1/why") {
    if (!is_read(request)) co_return not_allowed("GET, HEAD");
    co_return co_await parts_.why.answer(std::move(request));
  }
  if (request.path == "/api/v1/dead-letters") {
    if (is_read(request)) co_return co_await parts_.dead_letters.list(std::move(request));
    if (request.method == "POST") co_return co_await parts_.dead_letters.act(std::move(request));
    co_return not_allowed("GET, HEAD, POST");
  }
  if (request.path == "/api/v1/reconcile") {
    co_return request.method == "POST" ? reconcile(request) : not_allowed("POST");
  }
  co_return message(404, "there is nothing here; see /api/v1/status, /metrics, /healthz, /readyz");
}

HttpResponse Api::reconcile(const HttpRequest& request) {
  const auto body = request.body.empty()
                        ? nlohmann::json::object()
                        : nlohmann::json::parse(request.body, nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) return message(400, "the body is not a JSON object");
  std::map<std::string, std::string> names{{"rule", ""}, {"target", ""}};
  for (auto& [key, name] : names) {
    if (!body.contains(key) || body[key].is_null()) continue;
    if (!body[key].is_string()) return message(400, key + " is not a string");
    name = body[key].get<std::string>();
  }
  Reconciler::Extent extent;
  const std::map<std::string, bool*> switches{{"allow_deletes", &extent.allow_deletes},
                                              {"closure", &extent.closure}};
  for (const auto& [key, is_on] : switches) {
    if (!body.contains(key) || body[key].is_null()) continue;
    if (!body[key].is_boolean()) return message(400, key + " is not true or false");
    *is_on = body[key].get<bool>();
  }
  if (!parts_.reconcile(names["rule"], names["target"], extent)) {
    return message(404, "this daemon works for no such rule and target");
  }
  return json({{"started", true}}, 202);
}

}  // namespace transship
