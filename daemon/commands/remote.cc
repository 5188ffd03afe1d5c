#include "daemon/commands/remote.h"

#include <fmt/format.h>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <fstream>

#include "config/reader.h"
#include "daemon/commands/load.h"
#include "daemon/fleet.h"
#include "replicator/http/client.h"

namespace transship::commands {

namespace {

constexpr std::size_t answer_bytes_max = 64UL << 20U;

struct Answered {
  int status = 0;
  std::string body;
};

asio::awaitable<Result<Answered>> exchange(http::Client& client, http::Request request) {
  auto started = client.start(std::move(request));
  auto head = co_await started.head();
  if (!head) co_return fail(head.error());
  auto body = co_await started.read_all(answer_bytes_max);
  if (!body) co_return fail(body.error());
  co_return Answered{head->status, std::move(*body)};
}

// Where a daemon that listens on all addresses can be asked from this machine.
std::string reachable_host(const std::string& host) {
  if (host == "0.0.0.0") return "127.0.0.1";
  if (host == "[::]" || host == "::") return "[::1]";
  return host;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string made;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      made += c;
    } else {
      made += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return made;
}

std::optional<Remote> Remote::find(const Common& common, const std::optional<std::string>& url) {
  Remote remote;
  auto config = config::read_file(common.config_file);
  if (!config && !url) {
    for (const config::Mistake& mistake : config.error())
      fmt::print(stderr, "{}\n", to_string(mistake));
    return std::nullopt;
  }
  const std::string at = url ? *url
                             : fmt::format("http://{}:{}", reachable_host(config->http.listen.host),
                                           config->http.listen.port);
  auto parsed = http::Url::parse(at);
  if (!parsed) {
    fmt::print(stderr, "--url: {}\n", parsed.error().message);
    return std::nullopt;
  }
  remote.url_ = std::move(*parsed);
  if (config && config->http.token_file) {
    std::ifstream file(*config->http.token_file);
    std::string token;
    std::getline(file, token);
    remote.token_ = Secret(token);
  }
  return remote;
}

std::string Remote::Answer::message() const {
  const bool said = json.is_object() && json.contains("message") && json["message"].is_string();
  return said ? json["message"].get<std::string>() : "not what a daemon of ours says";
}

Result<Remote::Answer> Remote::ask(const std::string& method, const std::string& target,
                                   const std::string& body) {
  asio::io_context loop(1);
  http::Client client(loop.get_executor(), user_agent(std::nullopt));
  http::Request request;
  request.method = method;
  request.url = url_;
  request.url.target = target;
  request.body = body;
  request.timeouts.total = std::chrono::seconds(30);
  if (!token_.empty()) request.headers.emplace_back("Authorization", "Bearer " + token_.reveal());
  Result<Answered> answered = fail(ErrorKind::cancelled, "interrupted");
  asio::co_spawn(loop, exchange(client, std::move(request)),
                 [&](const std::exception_ptr& thrown, Result<Answered> got) {
                   if (!thrown) answered = std::move(got);
                   loop.stop();
                 });
  loop.run();
  if (!answered) {
    return fail(
        answered.error().with_context("the daemon at " + url_.origin() + " does not answer"));
  }
  return Answer{answered->status,
                nlohmann::json::parse(answered->body, nullptr, /*allow_exceptions=*/false)};
}

Result<nlohmann::json> Remote::get(const std::string& target) {
  auto answer = ask("GET", target);
  if (!answer) return fail(answer.error());
  if (answer->status != 200 || answer->json.is_discarded()) {
    return fail(ErrorKind::invalid, fmt::format("the daemon at {} answered {}: {}", url_.origin(),
                                                answer->status, answer->message()));
  }
  return std::move(answer->json);
}

}  // namespace transship::commands
