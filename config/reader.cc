#include "config/reader.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <map>
#include <system_error>

#include "config/read_sections.h"

namespace transship::config {

namespace {

// Every name in the file, those of registries with mistakes too: rules that name them are right to.
std::vector<std::string> read_registries(Reading& reading, const Node& node,
                                         std::vector<Registry>& registries) {
  std::vector<std::string> names;
  if (node.kind != Node::Kind::map || node.map.empty() || node.map.size() > max_list_items) {
    reading.report(node.position,
                   fmt::format("registries: must be a map of 1 to {} registries", max_list_items));
    return names;
  }
  std::map<std::string_view, int> first_lines;
  for (const Node::Entry& entry : node.map) {
    const auto [first, is_new] = first_lines.emplace(entry.key, entry.position.line);
    if (!is_new) {
      reading.report(entry.position, fmt::format("registries: {} is there twice, first on line {}",
                                                 quote(entry.key), first->second));
      continue;
    }
    if (const auto name = parse_name(entry.key); !name) {
      reading.report(entry.position, fmt::format("registries: {}", name.error()));
    }
    names.push_back(entry.key);
    read_registry(reading, entry.key, *entry.value, registries.emplace_back());
  }
  return names;
}

Config read_config(Reading& reading, const Node& root) {
  using std::chrono::minutes;
  Config config;
  Section section(reading, root, "the file", keys::top);
  section.optional("region", config.region, parse_name);
  section.optional("state", config.state, parse_path);
  section.optional("shutdown", config.shutdown, DurationIn{Milliseconds(0), minutes(10)});

  const auto read = [&](std::string_view key, auto read_section, auto& field) {
    if (const Node* node = section.find(key)) read_section(reading, *node, field);
  };
  read("bus", read_bus, config.bus);
  read("http", read_http, config.http);
  read("transfers", read_transfers, config.transfers);
  read("retry", read_retry, config.retry);
  read("reconcile", read_reconcile, config.reconcile);
  read("log", read_log, config.log);

  std::vector<std::string> names;
  if (section.require("registries")) {
    names = read_registries(reading, *section.find("registries"), config.registries);
  }
  if (section.require("rules")) {
    read_rules(reading, *section.find("rules"), names, config.rules);
  }
  return config;
}

ReadResult unreadable(const std::string& name, std::string message) {
  return tl::unexpected(std::vector<Mistake>{{name, 1, 1, std::move(message)}});
}

std::string too_large() {
  return fmt::format("the file is larger than {} MiB", max_file_bytes >> 20);
}

}  // namespace

ReadResult read_file(const std::filesystem::path& path, const Environment& environment) {
  const std::string name = path.string();
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return unreadable(name, "is a directory");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return unreadable(name, std::generic_category().message(errno));
  std::string text(max_file_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return unreadable(name, "cannot be read");
  text.resize(static_cast<std::size_t>(file.gcount()));
  return read_text(text, name, environment);
}

ReadResult read_text(std::string_view text, const std::string& name,
                     const Environment& environment) {
  if (text.size() > max_file_bytes) return unreadable(name, too_large());
  const auto document = parse_document(text);
  if (!document) {
    const Fault& fault = document.error();
    return tl::unexpected(
        std::vector<Mistake>{{name, fault.position.line, fault.position.column, fault.message}});
  }
  Reading reading(name, environment);
  Config config = read_config(reading, **document);
  if (reading.clean()) return config;
  return tl::unexpected(reading.take_mistakes());
}

}  // namespace transship::config
