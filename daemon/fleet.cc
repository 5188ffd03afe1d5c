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
      observer_(observer),
      blobs_at_once_(static_cast<std::size_t>(config.transfers.blobs)),
      commons_(std::make_shared<Commons>(client.executor(), std::move(state))) {
  for (const config::Registry& configured : config.registries) {
    Making making{configured, config.transfers.stall, longest_wait};
    auto registry = make(making);
    registries_.emplace(configured.name, Entry{std::move(making), std::move(registry)});
  }
}

Fleet::Fleet(const config::Config& config, std::chrono::milliseconds longest_wait,
             const Fleet& previous)
    : client_(previous.client_),
      observer_(previous.observer_),
      blobs_at_once_(static_cast<std::size_t>(config.transfers.blobs)),
      commons_(previous.commons_) {
  for (const config::Registry& configured : config.registries) {
    Making making{configured, config.transfers.stall, longest_wait};
    const auto known = previous.registries_.find(configured.name);
    const bool is_same =
        known != previous.registries_.end() && making.makes_the_same_as(known->second.making);
    auto registry = is_same ? known->second.registry : make(making);
    registries_.emplace(configured.name, Entry{std::move(making), std::move(registry)});
    const auto target = previous.targets_.find(configured.name);
    if (is_same && target != previous.targets_.end() && blobs_at_once_ == previous.blobs_at_once_)
      targets_.emplace(configured.name, target->second);
  }
}

bool Fleet::Making::makes_the_same_as(const Making& other) const {
  return configured.url == other.configured.url && configured.auth == other.configured.auth &&
         configured.tls == other.configured.tls && configured.limits == other.configured.limits &&
         stall == other.stall && longest_wait == other.longest_wait;
}

std::shared_ptr<registry::Registry> Fleet::make(const Making& making) const {
  const config::Registry& configured = making.configured;
  registry::TransportOptions options;
  options.name = configured.name;
  options.url = url_of(configured.url);
  options.tls = tls_of(configured.tls);
  options.timeouts.stall = making.stall;
  options.connections = static_cast<std::size_t>(configured.limits.connections);
  options.requests_per_second = configured.limits.requests_per_second.value_or(0);
  options.upload_rate = configured.limits.upload_bytes_per_second.value_or(0);
  options.download_rate = configured.limits.download_bytes_per_second.value_or(0);
  options.longest_wait = making.longest_wait;
  auto credentials = credentials_of(configured.auth, options.url.authority());
  return std::make_shared<registry::Registry>(client_, std::move(options), std::move(credentials),
                                              observer_);
}

Target& Fleet::target(const std::string& name) {
  auto& target = targets_[name];
  if (!target)
    target =
        std::make_shared<Target>(client_.executor(), registry(name), blobs_at_once_, *commons_);
  return *target;
}

std::string user_agent(const std::optional<std::string>& region) {
  return region ? fmt::format("transship/{} ({})", TRANSSHIP_VERSION, *region)
                : fmt::format("transship/{}", TRANSSHIP_VERSION);
}

}  // namespace transship
