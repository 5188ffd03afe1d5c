#include "config/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace transship::config {

namespace {

using Failure = tl::unexpected<std::string>;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string shown(std::string_view text) {
  return text.find('@') == std::string_view::npos ? quote(text) : "what is written";
}

bool is_ipv4(const std::string& host) {
  in_addr address{};
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

bool is_ipv6(const std::string& host) {
  in6_addr address{};
  return inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

// Labels of letters, digits, '-' and '_' between dots, or an address; what ends in a number must be
// one.
bool is_host_name(const std::string& host) {
  constexpr std::size_t max_host_length = 253;
  constexpr std::size_t max_label_length = 63;
  if (host.empty() || host.size() > max_host_length) return false;
  std::string_view rest = host;
  while (true) {
    const std::string_view label = rest.substr(0, rest.find('.'));
    const auto is_allowed = [](char c) {
      return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
    };
    if (label.empty() || label.size() > max_label_length || label.front() == '-' ||
        label.back() == '-' || !std::ranges::all_of(label, is_allowed)) {
      return false;
    }
    if (label.size() == rest.size()) return !std::ranges::all_of(label, is_digit) || is_ipv4(host);
    rest.remove_prefix(label.size() + 1);
  }
}

struct Authority {
  std::string host;  // lower case; an IPv6 address keeps its brackets
  std::optional<std::uint16_t> port;
};

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

// host[:port]; none where it is anything else.
std::optional<Authority> parse_authority(std::string_view text) {
  const bool bracketed = text.starts_with('[');
  const std::size_t host_end =
      bracketed ? text.find(']') + 1 : std::min(text.find(':'), text.size());
  if (bracketed && host_end == 0) return std::nullopt;
  Authority authority{std::string(text.substr(0, host_end)), std::nullopt};
  std::ranges::transform(authority.host, authority.host.begin(), lower);
  const bool valid = bracketed ? is_ipv6(authority.host.substr(1, authority.host.size() - 2))
                               : is_host_name(authority.host);
  if (!valid) return std::nullopt;
  text.remove_prefix(host_end);
  if (text.empty()) return authority;
  if (!text.starts_with(':')) return std::nullopt;
  authority.port = parse_port(text.substr(1));
  return authority.port ? std::optional(authority) : std::nullopt;
}

// What is wrong with everything but scheme and host, where something is.
std::optional<std::string> fault_behind_scheme(std::string_view rest,
                                               std::string_view credentials) {
  if (rest.find('@') != std::string_view::npos) {
    return fmt::format("holds a user or password; they belong in {}", credentials);
  }
  if (rest.find_first_of("?#") != std::string_view::npos) return "holds a query or a fragment";
  if (rest.find('/') != std::string_view::npos && rest.find('/') + 1 != rest.size()) {
    return fmt::format("{} has a path; write scheme, host and port alone", quote(rest));
  }
  return std::nullopt;
}

Parsed<Authority> parse_server(std::string_view rest, std::string_view credentials) {
  if (auto fault = fault_behind_scheme(rest, credentials)) return Failure(*std::move(fault));
  if (rest.ends_with('/')) rest.remove_suffix(1);
  auto authority = parse_authority(rest);
  if (authority && authority->port != std::uint16_t{0}) return *std::move(authority);
  return Failure(fmt::format("{} is not a host, or a host and a port (1 to 65535)", quote(rest)));
}

}  // namespace

bool is_loopback(std::string_view host) {
  if (host == "[::1]" || host == "::1" || host == "localhost") return true;
  return host.starts_with("127.") && is_ipv4(std::string(host));
}

Parsed<Url> parse_registry_url(std::string_view text) {
  for (const auto& [scheme, name] : enum_names<Scheme>) {
    const std::string prefix = fmt::format("{}://", name);
    if (!text.starts_with(prefix)) continue;
    auto server = parse_server(text.substr(prefix.size()), "auth");
    if (!server) return Failure(std::move(server).error());
    return Url{scheme, std::move(server->host), server->port};
  }
  return Failure(
      fmt::format("{} is not a URL; write https://HOST or http://HOST, such as "
                  "https://registry.example.com",
                  shown(text)));
}

Parsed<std::string> parse_bus_server(std::string_view text) {
  for (const std::string_view prefix : {"nats://", "tls://"}) {
    if (!text.starts_with(prefix)) continue;
    auto server = parse_server(text.substr(prefix.size()), "credentials_file");
    if (!server) return Failure(std::move(server).error());
    return std::string(text);
  }
  return Failure(
      fmt::format("{} is not a NATS server; write nats://HOST or tls://HOST, such as "
                  "nats://nats.example.com:4222",
                  shown(text)));
}

Parsed<ListenAddress> parse_listen_address(std::string_view text) {
  auto authority = parse_authority(text);
  if (authority && authority->port)
    return ListenAddress{std::move(authority->host), *authority->port};
  return Failure(
      fmt::format("{} is not an address and a port, such as 127.0.0.1:9480, "
                  "0.0.0.0:9480 or [::1]:9480",
                  quote(text)));
}

Parsed<std::string> parse_stream(std::string_view text) {
  constexpr std::size_t max_stream_length = 255;
  const auto is_bad = [](char c) {
    return c <= ' ' || c == '\x7f' || std::string_view(".*>/\\").find(c) != std::string_view::npos;
  };
  if (!text.empty() && text.size() <= max_stream_length && std::ranges::none_of(text, is_bad)) {
    return std::string(text);
  }
  return Failure(
      fmt::format("{} is not a stream's name; it has no blank, '.', '*', '>', '/' or '\\' and 1 to "
                  "{} characters",
                  quote(text), max_stream_length));
}

Parsed<std::string> parse_subject(std::string_view text) {
  constexpr std::size_t max_subject_length = 255;
  std::string_view rest = text;
  bool valid = text.size() <= max_subject_length;
  while (valid) {
    const std::string_view token = rest.substr(0, rest.find('.'));
    const bool last = token.size() == rest.size();
    const bool wildcard = token == "*" || (token == ">" && last);
    const bool bad = std::ranges::any_of(
        token, [](char c) { return c <= ' ' || c == '\x7f' || c == '*' || c == '>'; });
    valid = !token.empty() && (wildcard || !bad);
    if (valid && last) return std::string(text);
    if (valid) rest.remove_prefix(token.size() + 1);
  }
  return Failure(fmt::format("{} is not a NATS subject, such as registry.events.>", quote(text)));
}

bool ends_with_wildcard(std::string_view subject) {
  return subject == ">" || subject == "*" || subject.ends_with(".>") || subject.ends_with(".*");
}

}  // namespace transship::config
