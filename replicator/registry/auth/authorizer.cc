#include "replicator/registry/auth/authorizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "replicator/base/base64.h"

namespace transship::registry {

namespace {

constexpr std::size_t tokens_max = 1000;
constexpr std::size_t token_answer_bytes_max = 1UL << 20U;
constexpr std::chrono::seconds token_time_limit{60};
constexpr std::chrono::seconds refusal_holds{1};
constexpr long default_expiry_seconds =
    60;  // token specification: what holds where expires_in is absent
constexpr long longest_expiry_seconds = 86'400;
constexpr long shortest_expiry_seconds =
    5;  // a server that says less, or a time long past, must not make us loop

std::string key_of(const Scopes& scopes) { return fmt::format("{}", fmt::join(scopes, " ")); }

std::string value_of(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Authorizer::Authorizer(http::Client& client, http::Url registry,
                       std::shared_ptr<const http::Tls> tls,
                       std::unique_ptr<CredentialSource> source)
    : client_(client),
      registry_(std::move(registry)),
      tls_(std::move(tls)),
      source_(std::move(source)) {}

asio::awaitable<Result<std::string>> Authorizer::authorization(Scopes scopes) {
  switch (scheme_) {
    case Scheme::unknown:
      co_return std::string();
    case Scheme::basic:
      co_return co_await basic();
    case Scheme::bearer:
      co_return co_await bearer(std::move(scopes));
  }
  co_return std::string();
}

asio::awaitable<Result<bool>> Authorizer::challenged(Scopes scopes,
                                                     std::string refused_authorization,
                                                     std::vector<std::string> www_authenticate) {
  auto learnt = learn(www_authenticate);
  if (!learnt) co_return fail(learnt.error());
  if (!*learnt) co_return false;
  if (scheme_ == Scheme::bearer) {
    // The refused token is worth renewing, unless somebody has renewed it meanwhile.
    const auto token = tokens_.find(key_of(scopes));
    if (token != tokens_.end() && !token->second->fetching &&
        "Bearer " + token->second->value == refused_authorization) {
      token->second->value.clear();
    }
    co_return true;
  }
  auto fresh =
      co_await basic();  // what was not given yet, or a rotated password, is worth one more try
  if (!fresh) co_return fail(fresh.error());
  co_return *fresh != refused_authorization;
}

Result<bool> Authorizer::learn(const std::vector<std::string>& www_authenticate) {
  bool basic = false;
  for (const std::string& header : www_authenticate) {
    for (const Challenge& challenge : parse_challenges(header)) {
      basic = basic || challenge.scheme == "basic";
      if (challenge.scheme != "bearer") continue;
      const auto realm = challenge.parameters.find("realm");
      if (realm == challenge.parameters.end()) continue;
      auto url = registry_.resolve(realm->second);
      if (!url) return fail(url.error().with_context("the token realm of " + registry_.origin()));
      realm_ = std::move(*url);
      const auto service = challenge.parameters.find("service");
      service_ = service == challenge.parameters.end() ? std::string() : service->second;
      const auto scope = challenge.parameters.find("scope");
      challenge_scope_ = scope == challenge.parameters.end() ? std::string() : scope->second;
      scheme_ = Scheme::bearer;
      return true;
    }
  }
  if (basic) scheme_ = Scheme::basic;
  return basic;
}

asio::awaitable<Result<std::string>> Authorizer::basic() {
  auto credentials = co_await source_->get();
  if (!credentials) co_return fail(credentials.error());
  if (!*credentials || (*credentials)->username.empty()) co_return std::string();
  co_return "Basic " +
      base64_encoded((*credentials)->username + ":" + (*credentials)->password.reveal());
}

asio::awaitable<Result<std::string>> Authorizer::bearer(Scopes scopes) {
  if (scopes.empty() && !challenge_scope_.empty()) scopes = {challenge_scope_};
  const std::string key = key_of(scopes);
  if (tokens_.size() >= tokens_max && !tokens_.contains(key)) {
    std::erase_if(tokens_, [](const auto& entry) { return !entry.second->fetching; });
  }
  auto& known = tokens_[key];
  if (!known) known = std::make_shared<Token>(client_.executor());
  const std::shared_ptr<Token> held = known;  // it may be forgotten while we wait
  Token& token = *held;
  bool waited = false;
  for (; token.fetching; waited = true) co_await token.fetched.wait();
  // Who waited for a try shares its outcome; a refusal holds a little longer, so that a wrong
  // password is not tried once for each of many requests.
  const bool refused_just_now = token.failure && token.failure->kind == ErrorKind::unauthorized &&
                                std::chrono::steady_clock::now() - token.failed_at < refusal_holds;
  if (token.failure && (waited || refused_just_now)) co_return fail(*token.failure);
  if (token.value.empty() || std::chrono::steady_clock::now() >= token.renew_at) {
    struct Fetching {  // whoever waits is woken on every path, a cancellation included
      Token& token;
      explicit Fetching(Token& of) : token(of) { token.fetching = true; }
      ~Fetching() {
        token.fetching = false;
        token.fetched.notify();
      }
    } const fetching(token);
    token.failure.reset();
    auto fetched = co_await fetch(token, scopes);
    if (!fetched) {
      token.failure = fetched.error();
      token.failed_at = std::chrono::steady_clock::now();
      co_return fail(fetched.error());
    }
  }
  co_return "Bearer " + token.value;
}

bool Authorizer::realm_may_have_credentials() const {
  if (realm_->origin() == registry_.origin() || realm_->scheme == "https") return true;
  return realm_->is_loopback() && registry_.is_loopback() && registry_.scheme == "http";
}

Result<http::Request> Authorizer::token_request(
    const Scopes& scopes, const std::optional<Credentials>& credentials) const {
  if (credentials && !realm_may_have_credentials()) {
    return fail(
        ErrorKind::unauthorized,
        fmt::format("{} asks for credentials to be sent to {} without TLS; they were not sent",
                    registry_.origin(), realm_->origin()));
  }
  http::Request request;
  request.url = *realm_;
  request.tls = tls_;
  request.timeouts.total = token_time_limit;
  if (credentials && !credentials->identity_token.empty()) {
    request.method = "POST";
    request.headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
    request.body = fmt::format(
        "grant_type=refresh_token&client_id=transship&service={}&scope={}&refresh_token={}",
        http::query_encoded(service_), http::query_encoded(key_of(scopes)),
        http::query_encoded(credentials->identity_token.reveal()));
    return request;
  }
  std::string query;
  if (!service_.empty()) query += "&service=" + http::query_encoded(service_);
  for (const std::string& scope : scopes) query += "&scope=" + http::query_encoded(scope);
  if (!query.empty()) {
    query[0] = request.url.target.find('?') == std::string::npos ? '?' : '&';
    request.url.target += query;
  }
  if (credentials) {
    request.headers.emplace_back(
        "Authorization",
        "Basic " + base64_encoded(credentials->username + ":" + credentials->password.reveal()));
  }
  return request;
}

asio::awaitable<Result<void>> Authorizer::fetch(Token& token, const Scopes& scopes) {
  auto credentials = co_await source_->get();
  if (!credentials) co_return fail(credentials.error());
  auto request = token_request(scopes, *credentials);
  if (!request) co_return fail(request.error());
  const std::string realm = realm_->origin();
  auto exchange = client_.start(std::move(*request));
  auto head = co_await exchange.head();
  if (!head) co_return fail(head.error().with_context("the token server"));
  auto body = co_await exchange.read_all(token_answer_bytes_max);
  if (!body) co_return fail(body.error().with_context("the token server " + realm));
  if (head->status != 200) {
    const bool later = head->status >= 500;
    Error error{head->status == 429 ? ErrorKind::throttled
                : later             ? ErrorKind::transient
                                    : ErrorKind::unauthorized,
                fmt::format("the token server {} answered {}{}{}", realm, head->status,
                            scopes.empty() ? "" : " for ", key_of(scopes))};
    if (const auto after = head->header("retry-after")) {
      const auto seconds = parse_retry_after(*after, static_cast<long>(std::time(nullptr)));
      if (seconds) error.retry_after = std::chrono::seconds(*seconds);
    }
    co_return fail(error);
  }
  const auto json = nlohmann::json::parse(*body, nullptr, /*allow_exceptions=*/false);
  std::string value = json.is_object() ? value_of(json, "token") : std::string();
  if (value.empty() && json.is_object()) value = value_of(json, "access_token");
  const bool usable = !value.empty() && std::all_of(value.begin(), value.end(),
                                                    [](char c) { return c > ' ' && c <= '~'; });
  if (!usable) {
    co_return fail(ErrorKind::unauthorized,
                   fmt::format("the token server {} gave no token", realm));
  }
  long expires_in = default_expiry_seconds;
  if (const auto given = json.find("expires_in"); given != json.end() && given->is_number()) {
    expires_in = static_cast<long>(std::clamp(given->get<double>(), double{shortest_expiry_seconds},
                                              double{longest_expiry_seconds}));
  }
  // Renewed a quarter of its life early (at most 30 s), so that it does not end under a request on
  // its way.
  token.value = std::move(value);
  token.renew_at = std::chrono::steady_clock::now() + std::chrono::seconds(expires_in) -
                   std::min<std::chrono::milliseconds>(std::chrono::seconds(30),
                                                       std::chrono::milliseconds(expires_in * 250));
  co_return Result<void>{};
}

}  // namespace transship::registry
