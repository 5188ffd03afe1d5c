#include <fmt/format.h>

#include <algorithm>

#include "config/address.h"
#include "config/read_sections.h"

namespace transship::config {

namespace {

using Failure = tl::unexpected<std::string>;

Parsed<std::string> parse_username(std::string_view text) {
  if (text.empty()) return Failure("is empty");
  // RFC 7617, section 2: the first colon ends the name.
  if (text.find(':') != std::string_view::npos) return Failure(quote(text) + " has a colon in it");
  return std::string(text);
}

// It becomes part of a program's name.
Parsed<std::string> parse_helper(std::string_view text) {
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  if (!text.empty() && std::ranges::all_of(text, is_allowed)) return std::string(text);
  return Failure(fmt::format(
      "{} is not a credential helper; write what follows docker-credential-, such as ecr-login",
      quote(text)));
}

// A type that needs no other key, by its word.
std::optional<Auth> plain_auth(std::string_view type) {
  if (type == "anonymous") return AnonymousAuth{};
  if (type == "docker_config") return DockerConfigAuth{};
  if (type == "ecr") return EcrAuth{};
  return std::nullopt;
}

Parsed<Auth> parse_plain_auth(std::string_view text) {
  auto type = WordOf{auth_types}(text);
  if (!type) return Failure(std::move(type).error());
  if (const auto auth = plain_auth(*type)) return *auth;
  if (*type == "basic") {
    return Failure("basic needs more: {type: basic, username: …, password_file: …}");
  }
  return Failure("credential_helper needs more: {type: credential_helper, helper: …}");
}

void read_auth_map(Reading& reading, const Node& node, Auth& auth) {
  Section section(reading, node, "auth", keys::auth);
  std::string type;
  if (!section.required("type", type, WordOf{auth_types})) return;
  std::vector<std::string_view> allowed = {"type"};
  if (type == "basic") {
    allowed = {"type", "username", "password_file"};
    BasicAuth basic;
    section.required("username", basic.username, parse_username);
    section.required("password_file", basic.password_file, parse_path);
    auth = std::move(basic);
  } else if (type == "credential_helper") {
    allowed = {"type", "helper"};
    CredentialHelperAuth helper;
    section.required("helper", helper.helper, parse_helper);
    auth = std::move(helper);
  } else if (const auto plain = plain_auth(type)) {
    auth = *plain;
  }
  section.only(allowed, "auth of type " + type);
}

void read_auth(Reading& reading, Section& registry, Auth& auth) {
  const Node* node = registry.find("auth");
  if (node == nullptr) return;
  if (node->kind == Node::Kind::map) {
    read_auth_map(reading, *node, auth);
  } else {
    registry.optional("auth", auth, parse_plain_auth);
  }
}

void read_events(Reading& reading, const Node& node, Events& events) {
  Section section(reading, node, "events", keys::events);
  section.optional("format", events.format, parse_enum<EventFormat>);
  section.optional("token_file", events.token_file, parse_path);
}

void read_tls(Reading& reading, const Node& node, Tls& tls) {
  Section section(reading, node, "tls", keys::tls);
  section.optional("ca_file", tls.ca_file, parse_path);
  section.optional("cert_file", tls.cert_file, parse_path);
  section.optional("key_file", tls.key_file, parse_path);
  const bool has_cert = section.find("cert_file") != nullptr;
  const bool has_key = section.find("key_file") != nullptr;
  if (has_cert && !has_key) section.require("key_file");
  if (has_key && !has_cert) section.require("cert_file");
}

void read_limits(Reading& reading, const Node& node, Limits& limits) {
  constexpr RateFrom rate{1024};
  Section section(reading, node, "limits", keys::limits);
  section.optional("connections", limits.connections, IntegerIn{1, 1000});
  section.optional("requests_per_second", limits.requests_per_second, NumberIn{0.1, 100000});
  section.optional("upload_rate", limits.upload_bytes_per_second, rate);
  section.optional("download_rate", limits.download_bytes_per_second, rate);
}

}  // namespace

void read_registry(Reading& reading, const std::string& name, const Node& node,
                   Registry& registry) {
  registry.name = name;
  Section section(reading, node, "registry " + quote(name), keys::registry);
  const bool url_known = section.required("url", registry.url, parse_registry_url);
  section.optional("region", registry.region, parse_name);
  read_auth(reading, section, registry.auth);
  if (const Node* events = section.find("events")) read_events(reading, *events, registry.events);
  if (const Node* limits = section.find("limits")) read_limits(reading, *limits, registry.limits);
  const Node* tls = section.find("tls");
  if (tls == nullptr) return;
  read_tls(reading, *tls, registry.tls);
  if (url_known && registry.url.scheme != Scheme::https) {
    section.report("tls", *tls, "has no meaning with an http:// URL; write https://");
  }
}

}  // namespace transship::config
