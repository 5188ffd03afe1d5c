#include "config/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/enum_names.h"

namespace transship::config {

using std::chrono::minutes;
using std::chrono::seconds;

std::string Rule::target_repository(std::string_view source_repository) const {
  constexpr std::string_view placeholder = "{repository}";
  std::string result = rename;
  for (std::size_t at = result.find(placeholder); at != std::string::npos;
       at = result.find(placeholder, at + source_repository.size())) {
    result.replace(at, placeholder.size(), source_repository);
  }
  return result;
}

RetryPolicy Retry::for_daemon() const {
  return {attempts.value_or(8), first_pause.value_or(seconds(1)),
          longest_pause.value_or(minutes(5))};
}

RetryPolicy Retry::for_one_shot() const {
  const Milliseconds first = first_pause.value_or(seconds(1));
  return {attempts.value_or(3), first,
          longest_pause.value_or(std::max<Milliseconds>(first, seconds(5)))};
}

const Registry* Config::find_registry(std::string_view name) const {
  const auto found = std::ranges::find(registries, name, &Registry::name);
  return found == registries.end() ? nullptr : &*found;
}

const Rule* Config::find_rule(std::string_view name) const {
  const auto found = std::ranges::find(rules, name, &Rule::name);
  return found == rules.end() ? nullptr : &*found;
}

std::string to_string(const Url& url) {
  const std::string_view scheme = to_string(url.scheme);
  if (!url.port) return fmt::format("{}://{}", scheme, url.host);
  return fmt::format("{}://{}:{}", scheme, url.host, *url.port);
}

std::string to_string(const ListenAddress& address) {
  return fmt::format("{}:{}", address.host, address.port);
}

std::string_view to_string(Scheme scheme) { return name_of(scheme); }
std::string_view to_string(EventFormat format) { return name_of(format); }
std::string_view to_string(Deletes deletes) { return name_of(deletes); }
std::string_view to_string(Prefetch prefetch) { return name_of(prefetch); }
std::string_view to_string(LogLevel level) { return name_of(level); }
std::string_view to_string(LogFormat format) { return name_of(format); }

}  // namespace transship::config
