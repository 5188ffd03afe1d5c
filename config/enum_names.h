#pragma once
// The words that the configuration file has for each enumeration: one table for reading, printing
// and the schema's test.

#include <array>
#include <string_view>
#include <utility>

#include "config/config.h"

namespace transship::config {

template <class Enum>
using Named = std::pair<Enum, std::string_view>;

// enum_names<E> lists every value of E once, in the order in which it is explained.
template <class Enum>
inline constexpr auto enum_names = nullptr;

template <>
inline constexpr auto enum_names<Scheme> = std::to_array<Named<Scheme>>({
    {Scheme::http, "http"},
    {Scheme::https, "https"},
});

template <>
inline constexpr auto enum_names<EventFormat> = std::to_array<Named<EventFormat>>({
    {EventFormat::distribution, "distribution"},
    {EventFormat::harbor, "harbor"},
    {EventFormat::cloudevents, "cloudevents"},
    {EventFormat::ecr, "ecr"},
    {EventFormat::acr, "acr"},
    {EventFormat::quay, "quay"},
    {EventFormat::gar, "gar"},
    {EventFormat::dockerhub, "dockerhub"},
});

template <>
inline constexpr auto enum_names<Deletes> = std::to_array<Named<Deletes>>({
    {Deletes::ignore, "ignore"},
    {Deletes::propagate, "propagate"},
});

template <>
inline constexpr auto enum_names<Prefetch> = std::to_array<Named<Prefetch>>({
    {Prefetch::automatic, "auto"},
    {Prefetch::always, "always"},
    {Prefetch::never, "never"},
});

template <>
inline constexpr auto enum_names<LogLevel> = std::to_array<Named<LogLevel>>({
    {LogLevel::trace, "trace"},
    {LogLevel::debug, "debug"},
    {LogLevel::info, "info"},
    {LogLevel::warning, "warning"},
    {LogLevel::error, "error"},
});

template <>
inline constexpr auto enum_names<LogFormat> = std::to_array<Named<LogFormat>>({
    {LogFormat::automatic, "auto"},
    {LogFormat::journal, "journal"},
    {LogFormat::text, "text"},
    {LogFormat::json, "json"},
});

template <class Enum>
constexpr std::string_view name_of(Enum value) {
  for (const auto& [each, name] : enum_names<Enum>) {
    if (each == value) return name;
  }
  return "?";
}

}  // namespace transship::config
