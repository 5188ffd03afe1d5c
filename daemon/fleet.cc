#include "daemon/fleet.h"

#include <fmt/format.h>

namespace transship {

namespace {

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

http::Url url_of(const config::Url& url) {
  return {std::string(to_string(url.scheme)), url.host, url.port_or_default(), "/"};
}

std::shared_ptr<const http::Tls> tls_of(const config::Tls& tls) {
  if (!tls.ca_file && !tls.cert_file) return nullptr;
  const auto text = [](const std::optional<config::Path>& path) {
    return path ? path->string() : std::string();
  };
  return std::make_shared<http::Tls>(
      http::Tls{text(tls.ca_file), text(tls.cert_file), text(tls.key_file)});
}

std::unique_ptr<registry::CredentialSource> credentials_of(const config::Auth& auth,
                                                           const std::string& host) {
  return std::visit(
      Overloaded{
          [](const config::AnonymousAuth&) { return registry::anonymous(); },
          [](const config::BasicAuth& basic) {
            return registry::basic(basic.username, basic.password_file.string());
          },
          [&](const config::DockerConfigAuth&) { return registry::docker_config(host); },
          [&](const config::CredentialHelperAuth& helper) {
            return registry::credential_helper(helper.helper, host);
          },
          // Amazon's own helper speaks to its API until we do.
          [&](const config::EcrAuth&) { return registry::credential_helper("ecr-login", host); }},
      auth);
}

}  // namespace

Fleet::Fleet(http::Client& client, const config::Config& config, Observer& observer,
             std::chrono::milliseconds longest_wait, std::unique_ptr<StateDirectory> state)
    : client_(client),
      blobs_at_once_(static_cast<std::size_t>(config.transfers.blobs)),
      commons_(client.executor(), std::move(state)) {
  for (const config::Registry& configured : config.registries) {
    registry::TransportOptions options;
    options.name = configured.name;
    options.url = url_of(configured.url);
    options.tls = tls_of(configured.tls);
    options.timeouts.stall = config.transfers.stall;
    options.connections = static_cast<std::size_t>(configured.limits.connections);
    options.requests_per_second = configured.limits.requests_per_second.value_or(0);
    options.upload_rate = configured.limits.upload_bytes_per_second.value_or(0);
    options.download_rate = configured.limits.download_bytes_per_second.value_or(0);
    options.longest_wait = longest_wait;
    auto credentials = credentials_of(configured.auth, options.url.authority());
    registries_.emplace(configured.name,
                        std::make_unique<registry::Registry>(client, std::move(options),
                                                             std::move(credentials), observer));
  }
}

Target& Fleet::target(const std::string& name) {
  auto& target = targets_[name];
  if (!target)
    target = std::make_unique<Target>(client_.executor(), registry(name), blobs_at_once_, commons_);
  return *target;
}

std::string user_agent(const std::optional<std::string>& region) {
  return region ? fmt::format("transship/{} ({})", TRANSSHIP_VERSION, *region)
                : fmt::format("transship/{}", TRANSSHIP_VERSION);
}

}  // namespace transship
