#pragma once
// What the tests of the configuration share: texts with the expected places marked in them.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "config/reader.h"

namespace transship::config::testing {

inline Environment environment_of(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

inline ReadResult read(std::string_view text, std::map<std::string, std::string> variables = {}) {
  return read_text(text, "t.yaml", environment_of(std::move(variables)));
}

// A valid file, with something put into one of its maps; `top` is a line of its own.
struct Sample {
  std::string registry = "";
  std::string rule = "";
  std::string top = "";

  std::string text() const {
    return fmt::format(
        "registries:\n"
        "  us: {{url: \"https://us.example.com\"{0}{1}}}\n"
        "  eu: {{url: \"https://eu.example.com\"}}\n"
        "rules:\n"
        "  - {{name: r, source: us, targets: [eu]{2}{3}{4}}}\n"
        "{5}\n",
        registry.empty() ? "" : ", ", registry,
        rule.find("repositories") == std::string::npos ? ", repositories: \"team/**\"" : "",
        rule.empty() ? "" : ", ", rule, top);
  }
};

struct Marked {
  std::string text;                 // without the marks
  std::vector<std::string> places;  // line:column of each mark
};

// A mark is `§`, in front of where a mistake is to be reported.
inline Marked unmark(std::string_view marked) {
  constexpr std::string_view mark = "§";
  Marked result;
  int line = 1;
  int column = 1;
  while (!marked.empty()) {
    if (marked.starts_with(mark)) {
      result.places.push_back(fmt::format("{}:{}", line, column));
      marked.remove_prefix(mark.size());
      continue;
    }
    column = marked.front() == '\n' ? 1 : column + 1;
    line += marked.front() == '\n' ? 1 : 0;
    result.text += marked.front();
    marked.remove_prefix(1);
  }
  return result;
}

inline std::vector<std::string> lines_of(const ReadResult& result) {
  std::vector<std::string> lines;
  if (result) return lines;
  for (const Mistake& mistake : result.error()) lines.push_back(to_string(mistake));
  return lines;
}

// The marked text has these mistakes and no others, each at its mark.
inline void expect_mistakes(std::string_view marked, const std::vector<std::string>& messages,
                            std::map<std::string, std::string> variables = {}) {
  const Marked plain = unmark(marked);
  ASSERT_EQ(plain.places.size(), messages.size()) << marked;
  std::vector<std::string> expected;
  for (std::size_t at = 0; at < messages.size(); ++at) {
    expected.push_back(fmt::format("t.yaml:{}: {}", plain.places[at], messages[at]));
  }
  EXPECT_EQ(lines_of(read(plain.text, std::move(variables))), expected) << plain.text;
}

// Something wrong to put into a Sample, with its mark, and what is to be said of it.
struct Bad {
  std::string text;
  std::string message;
};

inline void expect_in_registry(const std::vector<Bad>& cases) {
  for (const Bad& bad : cases) expect_mistakes(Sample{.registry = bad.text}.text(), {bad.message});
}
inline void expect_in_rule(const std::vector<Bad>& cases) {
  for (const Bad& bad : cases) expect_mistakes(Sample{.rule = bad.text}.text(), {bad.message});
}
inline void expect_at_top(const std::vector<Bad>& cases) {
  for (const Bad& bad : cases) expect_mistakes(Sample{.top = bad.text}.text(), {bad.message});
}

inline std::filesystem::path source_directory() {
  return std::filesystem::path(TRANSSHIP_SOURCE_DIR) / "config";
}

inline std::string contents_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::ostringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

}  // namespace transship::config::testing
