#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "config/read_sections.h"

namespace transship::config {

namespace {

using Failure = tl::unexpected<std::string>;

struct RegistryAmong {
  const std::vector<std::string>& names;
  Parsed<std::string> operator()(std::string_view text) const {
    if (std::ranges::find(names, text) != names.end()) return std::string(text);
    const std::vector<std::string_view> words(names.begin(), names.end());
    return Failure(quote(text) + " is no registry of this file" + suggestion(text, words));
  }
};

// The braces; what comes of the template is looked at once the repositories are known.
Parsed<std::string> parse_rename(std::string_view text) {
  constexpr std::string_view placeholder = "{repository}";
  constexpr std::size_t max_rename_length = 255;  // what comes of it is no longer either
  if (text.size() > max_rename_length) {
    return Failure(fmt::format("is longer than {} characters", max_rename_length));
  }
  std::string_view rest = text;
  while (true) {
    const std::size_t brace = rest.find_first_of("{}");
    if (brace == std::string_view::npos) return parse_text(text);
    rest.remove_prefix(brace);
    if (!rest.starts_with(placeholder)) {
      return Failure(quote(text) + " has braces around something else than {repository}");
    }
    rest.remove_prefix(placeholder.size());
  }
}

// False where some item is wrong.
bool read_repositories(Reading& reading, Section& section, RepositoryPatterns& repositories) {
  bool sound = section.require("repositories");
  section.each("repositories", [&](const Node& item) {
    const auto text = reading.text(item, "repositories");
    const Added added = text ? repositories.add(*text) : Added();
    if (!added) section.report("repositories", item, added.error());
    sound = sound && text && added;
  });
  const auto literal = repositories.literal();
  if (!sound || !literal || !literal->empty()) return sound && !repositories.empty();
  section.report("repositories", *section.find("repositories"), "leaves no repository");
  return false;
}

// {semver: …} or {regex: …}
void read_tag_map(Reading& reading, const Node& item, TagPatterns& tags) {
  Section section(reading, item, "tags", keys::tag);
  const Node* semver = section.find("semver");
  const Node* regex = section.find("regex");
  if ((semver == nullptr) == (regex == nullptr)) {
    reading.report(item.position, "tags: write either {semver: …} or {regex: …}");
    return;
  }
  const std::string_view key = semver != nullptr ? "semver" : "regex";
  const Node& node = semver != nullptr ? *semver : *regex;
  const auto text = reading.text(node, key);
  if (!text || (regex != nullptr && !reading.admit_regex(node.position))) return;
  const Added added = semver != nullptr ? tags.add_semver(*text) : tags.add_regex(*text);
  if (!added) section.report(key, node, added.error());
}

void read_tags(Reading& reading, Section& section, TagPatterns& tags) {
  section.each("tags", [&](const Node& item) {
    if (item.kind == Node::Kind::map) return read_tag_map(reading, item, tags);
    const auto text = reading.text(item, "tags");
    if (!text) return;
    if (const Added added = tags.add_glob(*text); !added) {
      section.report("tags", item, added.error());
    }
  });
}

// What a repository that the pattern matches may be called.
std::string sample_of(const Glob& glob) {
  std::string sample;
  for (const char c : glob.text()) {
    if (c == '*' && sample.ends_with('*')) continue;
    sample += c;
  }
  std::ranges::replace_if(sample, [](char c) { return c == '*' || c == '?'; }, 'x');
  return sample;
}

// What the rename makes of the rule's repositories; none where it is sound.
std::optional<std::string> fault_of_rename(const Rule& rule) {
  const auto literal = rule.repositories.literal();
  const bool renames_one = literal && literal->size() == 1;
  if (rule.rename.find("{repository}") == std::string::npos && !renames_one) {
    return "without {repository} it gives every repository the same name; that is for a rule of "
           "one repository, named in full";
  }
  for (const std::string& name : literal.value_or(std::vector<std::string>{"sample/app"})) {
    if (is_repository_name(rule.target_repository(name))) continue;
    return fmt::format("{} makes {} of {}, which is not a repository name", quote(rule.rename),
                       quote(rule.target_repository(name)), quote(name));
  }
  return std::nullopt;
}

// A rule from a registry to itself must not match its own copies: they would be copied in their
// turn.
std::optional<std::string> fault_of_self_target(const Rule& rule) {
  for (const RepositoryPattern& item : rule.repositories.items()) {
    const std::string from = sample_of(item.glob);
    const std::string to = rule.target_repository(from);
    if (item.exclude || !rule.repositories.matches(from)) continue;
    if (from == to) return "is the rule's own source; a rename is needed";
    if (item.glob.has_wildcard() && rule.repositories.matches(to)) {
      return fmt::format(
          "is the rule's own source, and the copies would be copied again: {} becomes {}, which "
          "repositories match too; exclude them there",
          quote(from), quote(to));
    }
  }
  return std::nullopt;
}

void check_self_target(Section& section, const Rule& rule) {
  const Node* targets = section.find("targets");
  if (targets == nullptr || std::ranges::find(rule.targets, rule.source) == rule.targets.end()) {
    return;
  }
  const auto fault = fault_of_self_target(rule);
  if (!fault) return;
  const auto is_source = [&](const NodePtr& item) { return item->scalar == rule.source; };
  const auto item = std::ranges::find_if(targets->list, is_source);
  section.report("targets", item == targets->list.end() ? *targets : **item, *fault);
}

}  // namespace

void read_rule(Reading& reading, const Node& node, const std::vector<std::string>& registries,
               Rule& rule) {
  Section section(reading, node, "rule", keys::rule);
  section.required("name", rule.name, parse_name);
  const RegistryAmong registry{registries};
  section.required("source", rule.source, registry);
  if (section.require("targets")) section.list("targets", rule.targets, registry);
  const bool repositories_sound = read_repositories(reading, section, rule.repositories);
  read_tags(reading, section, rule.tags);
  const bool rename_sound =
      section.find("rename") == nullptr || section.optional("rename", rule.rename, parse_rename);
  section.optional("referrers", rule.referrers, parse_boolean);
  section.optional("deletes", rule.deletes, parse_enum<Deletes>);
  section.optional("prefetch", rule.prefetch, parse_enum<Prefetch>);
  using Int = std::numeric_limits<int>;
  section.optional("priority", rule.priority, IntegerIn{Int::min(), Int::max()});

  if (!repositories_sound || !rename_sound) return;
  if (const auto fault = fault_of_rename(rule)) {
    section.report("rename", *section.find("rename"), *fault);
  } else {
    check_self_target(section, rule);
  }
}

void read_rules(Reading& reading, const Node& node, const std::vector<std::string>& registries,
                std::vector<Rule>& rules) {
  if (node.kind != Node::Kind::list || node.list.empty() || node.list.size() > max_list_items) {
    reading.report(node.position,
                   fmt::format("rules: must be a list of 1 to {} rules", max_list_items));
    return;
  }
  std::map<std::string, int> first_lines;
  for (const NodePtr& item : node.list) {
    Rule& rule = rules.emplace_back();
    read_rule(reading, *item, registries, rule);
    const auto [first, is_new] = first_lines.emplace(rule.name, item->position.line);
    if (is_new || rule.name.empty()) continue;
    const auto name = std::ranges::find(item->map, std::string_view("name"), &Node::Entry::key);
    reading.report(name->value->position,
                   fmt::format("name: the rule {} is there twice, first on line {}",
                               quote(rule.name), first->second));
  }
}

}  // namespace transship::config
