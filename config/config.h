#pragma once
// What the operator wrote, checked: plain values and nothing else. reader.h makes a Config from a
// file; README.md explains every key. A Config that came from the reader holds no contradiction.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/pattern.h"

namespace transship::config {

using Path = std::filesystem::path;
using Milliseconds = std::chrono::milliseconds;

enum class Scheme { http, https };

// Where a registry is: scheme, name and port, which together are what credentials belong to.
struct Url {
  Scheme scheme = Scheme::https;
  std::string host;                   // lower case; an IPv6 address keeps its brackets
  std::optional<std::uint16_t> port;  // as written; none is the scheme's own

  std::uint16_t port_or_default() const {
    return port.value_or(scheme == Scheme::https ? 443 : 80);
  }
  bool operator==(const Url&) const = default;
};

struct AnonymousAuth {
  bool operator==(const AnonymousAuth&) const = default;
};
struct BasicAuth {
  std::string username;
  Path password_file;
  bool operator==(const BasicAuth&) const = default;
};
struct DockerConfigAuth {
  bool operator==(const DockerConfigAuth&) const = default;
};
// The program docker-credential-HELPER, found on the PATH.
struct CredentialHelperAuth {
  std::string helper;
  bool operator==(const CredentialHelperAuth&) const = default;
};
struct EcrAuth {
  bool operator==(const EcrAuth&) const = default;
};
using Auth =
    std::variant<AnonymousAuth, BasicAuth, DockerConfigAuth, CredentialHelperAuth, EcrAuth>;

// How the registry tells of a push.
enum class EventFormat { distribution, harbor, cloudevents, ecr, acr, quay, gar, dockerhub };

struct Events {
  EventFormat format = EventFormat::distribution;
  std::optional<Path> token_file;  // this registry's own intake token, in place of http.token_file
  bool operator==(const Events&) const = default;
};

// cert_file and key_file are both given or neither is.
struct Tls {
  std::optional<Path> ca_file;
  std::optional<Path> cert_file;
  std::optional<Path> key_file;
  bool operator==(const Tls&) const = default;
};

// What is not given is not limited.
struct Limits {
  int connections = 32;
  std::optional<double> requests_per_second;
  std::optional<std::uint64_t> upload_bytes_per_second;
  std::optional<std::uint64_t> download_bytes_per_second;
  bool operator==(const Limits&) const = default;
};

struct Registry {
  std::string name;
  Url url;
  std::optional<std::string> region;  // none: every daemon works for it
  Auth auth;
  Events events;
  Tls tls;  // empty unless the URL is https
  Limits limits;
  bool operator==(const Registry&) const = default;
};

struct JournalBus {
  bool operator==(const JournalBus&) const = default;
};
struct JetStreamBus {
  std::vector<std::string> servers;  // nats:// or tls:// URLs, at least one
  std::string stream = "REGISTRY_EVENTS";
  // The first ends with a wildcard, in whose place a registry's name is put to publish its events.
  std::vector<std::string> subjects = {"registry.events.>"};
  std::optional<Path> credentials_file;
  bool operator==(const JetStreamBus&) const = default;
};
using Bus = std::variant<JournalBus, JetStreamBus>;

struct ListenAddress {
  std::string host = "127.0.0.1";  // an IPv6 address keeps its brackets
  std::uint16_t port = 9480;       // 0: the system chooses
  bool operator==(const ListenAddress&) const = default;
};

struct Http {
  ListenAddress listen;
  std::optional<Path> token_file;  // given wherever listen is not loopback
  bool operator==(const Http&) const = default;
};

enum class Deletes { ignore, propagate };
// automatic: where the rule takes every tag.
enum class Prefetch { automatic, always, never };

struct Rule {
  std::string name;
  std::string source;                // names a registry
  std::vector<std::string> targets;  // names of registries, each once, at least one
  RepositoryPatterns repositories;
  TagPatterns tags;
  std::string rename = "{repository}";
  bool referrers = true;
  Deletes deletes = Deletes::ignore;
  Prefetch prefetch = Prefetch::automatic;
  int priority = 0;  // higher goes first

  // What a repository of the source is called at the targets. The reader has made sure that the
  // rename can give a valid name; a long repository may still become too long.
  std::string target_repository(std::string_view source_repository) const;
  bool operator==(const Rule&) const = default;
};

// For each target.
struct Transfers {
  int images = 8;
  int blobs = 16;
  Milliseconds stall = std::chrono::seconds(30);
  bool operator==(const Transfers&) const = default;
};

struct RetryPolicy {
  int attempts = 0;
  Milliseconds first_pause{};
  Milliseconds longest_pause{};
  bool operator==(const RetryPolicy&) const = default;
};

// As written: what is left out means something else to the daemon than to a command that ends.
struct Retry {
  std::optional<int> attempts;
  std::optional<Milliseconds> first_pause;
  std::optional<Milliseconds> longest_pause;

  RetryPolicy for_daemon() const;    // 8 attempts, 1 s, 5 min
  RetryPolicy for_one_shot() const;  // 3 attempts, 1 s, 5 s (or first_pause, where that is longer)
  bool operator==(const Retry&) const = default;
};

struct Reconcile {
  Milliseconds interval = std::chrono::minutes(15);
  bool at_start = true;
  Milliseconds closure = std::chrono::hours(24);
  bool operator==(const Reconcile&) const = default;
};

enum class LogLevel { trace, debug, info, warning, error };
// automatic: journal under systemd, text on a terminal, else json.
enum class LogFormat { automatic, journal, text, json };

struct Log {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::automatic;
  bool operator==(const Log&) const = default;
};

struct Config {
  std::optional<std::string> region;  // none: the daemon serves every target
  std::vector<Registry> registries;   // in the file's order, names are unique
  Bus bus;
  Http http;
  Path state = "/var/lib/transship";
  std::vector<Rule> rules;  // in the file's order, names are unique
  Transfers transfers;
  Retry retry;
  Reconcile reconcile;
  Milliseconds shutdown = std::chrono::seconds(30);
  Log log;

  // Null where there is none of that name.
  const Registry* find_registry(std::string_view name) const;
  const Rule* find_rule(std::string_view name) const;
  bool operator==(const Config&) const = default;
};

std::string to_string(const Url& url);  // scheme://host[:port], no slash at the end
std::string to_string(const ListenAddress& address);

// The words of the configuration file.
std::string_view to_string(Scheme scheme);
std::string_view to_string(EventFormat format);
std::string_view to_string(Deletes deletes);
std::string_view to_string(Prefetch prefetch);
std::string_view to_string(LogLevel level);
std::string_view to_string(LogFormat format);

// True for 127.0.0.0/8, [::1] and localhost: what never leaves this machine.
bool is_loopback(std::string_view host);

}  // namespace transship::config
