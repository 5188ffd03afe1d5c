#pragma once
// Every key of the configuration, by the map that it belongs to. The reader refuses what is not
// here, and the JSON Schema is tested against it.

#include <array>
#include <span>
#include <string_view>

namespace transship::config {

struct SectionKeys {
  std::string_view section;  // "" is the file itself, `*` any name, `[]` the items of a list
  std::span<const std::string_view> keys;
};

namespace keys {

namespace words {
using Words = std::string_view;
inline constexpr auto top =
    std::to_array<Words>({"region", "registries", "bus", "http", "state", "rules", "transfers",
                          "retry", "reconcile", "shutdown", "log"});
inline constexpr auto registry =
    std::to_array<Words>({"url", "region", "auth", "events", "tls", "limits"});
inline constexpr auto auth = std::to_array<Words>({"type", "username", "password_file", "helper"});
inline constexpr auto events = std::to_array<Words>({"format", "token_file"});
inline constexpr auto tls = std::to_array<Words>({"ca_file", "cert_file", "key_file"});
inline constexpr auto limits =
    std::to_array<Words>({"connections", "requests_per_second", "upload_rate", "download_rate"});
inline constexpr auto bus =
    std::to_array<Words>({"type", "servers", "stream", "subjects", "credentials_file"});
inline constexpr auto http = std::to_array<Words>({"listen", "token_file"});
inline constexpr auto rule =
    std::to_array<Words>({"name", "source", "targets", "repositories", "tags", "rename",
                          "referrers", "deletes", "prefetch", "priority"});
inline constexpr auto tag = std::to_array<Words>({"semver", "regex"});
inline constexpr auto transfers = std::to_array<Words>({"images", "blobs", "stall"});
inline constexpr auto retry = std::to_array<Words>({"attempts", "first_pause", "longest_pause"});
inline constexpr auto reconcile = std::to_array<Words>({"interval", "at_start", "closure"});
inline constexpr auto log = std::to_array<Words>({"level", "format"});
}  // namespace words

inline constexpr SectionKeys top{"", words::top};
inline constexpr SectionKeys registry{"registries.*", words::registry};
inline constexpr SectionKeys auth{"registries.*.auth", words::auth};
inline constexpr SectionKeys events{"registries.*.events", words::events};
inline constexpr SectionKeys tls{"registries.*.tls", words::tls};
inline constexpr SectionKeys limits{"registries.*.limits", words::limits};
inline constexpr SectionKeys bus{"bus", words::bus};
inline constexpr SectionKeys http{"http", words::http};
inline constexpr SectionKeys rule{"rules[]", words::rule};
inline constexpr SectionKeys tag{"rules[].tags[]", words::tag};
inline constexpr SectionKeys transfers{"transfers", words::transfers};
inline constexpr SectionKeys retry{"retry", words::retry};
inline constexpr SectionKeys reconcile{"reconcile", words::reconcile};
inline constexpr SectionKeys log{"log", words::log};

inline constexpr auto all =
    std::to_array<SectionKeys>({top, registry, auth, events, tls, limits, bus, http, rule, tag,
                                transfers, retry, reconcile, log});

}  // namespace keys

// The words of `type`, in auth and in bus.
inline constexpr auto auth_types = std::to_array<std::string_view>(
    {"anonymous", "basic", "docker_config", "credential_helper", "ecr"});
inline constexpr auto bus_types = std::to_array<std::string_view>({"journal", "jetstream"});

}  // namespace transship::config
