// Files that mean harm, or were damaged: a mistake with its place, in little time, and never a
// crash.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/document.h"
#include "config/reader.h"
#include "tests/unit/config_testing.h"

namespace transship::config {
namespace {

using ::testing::ElementsAre;
using testing::expect_mistakes;
using ::testing::HasSubstr;
using testing::lines_of;
using testing::read;
using testing::Sample;
using ::testing::SizeIs;

std::string repeat(std::string_view text, std::size_t times) {
  std::string result;
  while (times-- > 0) result += text;
  return result;
}

TEST(ConfigHostileTest, WhatIsNotYaml) {
  expect_mistakes("§[1\n", {"a key must be a plain word; or is a bracket not closed?"});
  expect_mistakes("a: [1\nb§: 2\n", {"not YAML: end of sequence flow not found"});
  expect_mistakes("a: b§: c\n", {"not YAML: illegal map value"});
  expect_mistakes("a: 1\n§\tb: 2\n", {"not YAML: illegal tab when looking for indentation"});
  expect_mistakes("a: §*b\n", {"not YAML: the referenced anchor is not defined"});
  expect_mistakes("a: \"\\q§\"\n", {"not YAML: unknown escape character: q"});
  expect_mistakes("- a\n§b: c\n",
                  {"does not belong to what is above it; is the indentation right?"});
  expect_mistakes("a: 1\n§---\nb: 2\n", {"a second document; write one document in a file"});
  expect_mistakes(
      "a: {r: $§{X}}\n",
      {"not YAML: end of map flow not found; inside {…} and […], quote it: \"${NAME}\""});
}

TEST(ConfigHostileTest, AQuoteThatIsNotClosed) {
  for (const char* text :
       {"state: §'/s", "state: §\"/s", "state: §\"/s\\\"", "state: §'it''s", "state: §'a\nb: c"}) {
    expect_mistakes(fmt::format("{}\n", text), {"a quote that is not closed"});
  }
  EXPECT_TRUE(read(Sample{.top = "state: 'it''s'"}.text()));
  EXPECT_TRUE(read(Sample{.top = "state: \"a\\\"b\\\\\""}.text()));
  EXPECT_TRUE(read(Sample{.top = "state: \"a\n  b\""}.text()));
}

TEST(ConfigHostileTest, TagsAnchorsAndOddKeys) {
  const std::string key = "a key must be a plain word; or is a bracket not closed?";
  expect_mistakes("state: §!!str x\n", {"the tag tag:yaml.org,2002:str has no meaning here"});
  expect_mistakes("log: §!x {}\n", {"the tag !x has no meaning here"});
  expect_mistakes("log: §!x []\n", {"the tag !x has no meaning here"});
  expect_mistakes("a: &x [§*x]\n", {"an alias inside its own anchor"});
  expect_mistakes("? §[a]\n: b\n", {key});
  expect_mistakes("? §{a: b}\n: b\n", {key});
  expect_mistakes("§~: b\n", {key});
}

TEST(ConfigHostileTest, BytesThatAreNotText) {
  using namespace std::string_literals;
  const auto control = [](const char* code) {
    return std::vector{fmt::format("not text: the control character 0x{}", code)};
  };
  expect_mistakes("a: b\nc: §\0d"s, control("00"));
  expect_mistakes("a: §\x04"s, control("04"));
  expect_mistakes("a: §\x1b[2J"s, control("1b"));
  expect_mistakes("a: §\x7f"s, control("7f"));
  for (const std::string bytes :
       {"\xff", "\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xe2\x82", "\xe2\x28\xa1"}) {
    expect_mistakes("é: §" + bytes, {"not text: a byte that is not UTF-8"});
  }
  expect_mistakes(
      "§\xff\xfe"
      "a\0"s,
      {"not text: a byte that is not UTF-8"});
  EXPECT_TRUE(read(Sample{.top = "state: \"é€𝄞\"\r"}.text()));
}

TEST(ConfigHostileTest, EscapedControlCharactersReachNoValueAndNoMessage) {
  const std::string message = "state: holds a line break or a control character";
  for (const char* text : {"\"\\0\"", "\"a\\nb\"", "\"\\e[2J\"", "\"\\x7f\"", "|\n  a\n  b"}) {
    expect_mistakes(Sample{.top = fmt::format("state: §{}", text)}.text(), {message});
  }
  expect_mistakes(Sample{.top = "§\"\\e[2J\": x"}.text(),
                  {"the file: \"?[2J\" is not a known key"});
}

TEST(ConfigHostileTest, LongValuesAreCutInMessages) {
  const auto lines = lines_of(read(Sample{.top = "region: x" + repeat("é", 100'000)}.text()));
  ASSERT_THAT(lines, SizeIs(1));
  EXPECT_THAT(lines.front(), HasSubstr("\"x" + repeat("é", 39) + "…\" is not a name"));
  const auto pattern = lines_of(read(Sample{.rule = "tags: " + repeat("a", 100'000)}.text()));
  ASSERT_THAT(pattern, SizeIs(1));
  EXPECT_LT(pattern.front().size(), 300U);
}

TEST(ConfigHostileTest, TheFileIsAtMostOneMebibyte) {
  std::string text = Sample{}.text() + "#";
  text.resize(max_file_bytes, 'x');
  EXPECT_TRUE(read(text));
  EXPECT_THAT(lines_of(read(text + "x")), ElementsAre("t.yaml:1:1: the file is larger than 1 MiB"));
}

TEST(ConfigHostileTest, NestingIsBounded) {
  const std::string message = "nested more than 64 deep";
  expect_mistakes("a: " + repeat("[", 63) + "§[" + repeat("]", 64), {message});
  expect_mistakes(repeat("- ", 64) + "§- a", {message});
  expect_mistakes(repeat("a: [", 32) + "§a: [", {message});
  std::string block;
  for (int depth = 0; depth < 64; ++depth)
    block += std::string(static_cast<std::size_t>(depth), ' ') + "a:\n";
  expect_mistakes(block + std::string(64, ' ') + "§a:\n" + std::string(65, ' ') + "a: 1\n",
                  {message});
}

// A mebibyte of each: what it is called does not matter, that it ends does.
TEST(ConfigHostileTest, RepeatedPiecesOfYamlEndInMistakes) {
  for (const char* piece :
       {"[",    "{",  "- ",     "? ",    "{a: ",  "[{",    "\"",   "'",     "&a ",  "*",
        "!",    "%",  "|\n",    ": ",    "a: ",   "a:\n ", "-\n",  "\t",    "[a, ", "{a ",
        "x",    "#",  "\n",     "--- ",  "---\n", "...\n", "\\",   ",",     "]",    "}",
        "[[] ", "!<", "a: b\n", "- a\n", "[? ",   "{? ",   "a: [", " a:\n", "${",   "&a [*a, "}) {
    const ReadResult result = read(repeat(piece, max_file_bytes / std::string_view(piece).size()));
    ASSERT_FALSE(result) << piece;
    EXPECT_FALSE(result.error().empty()) << piece;
  }
}

TEST(ConfigHostileTest, CountsAreBounded) {
  EXPECT_THAT(lines_of(read("a: [" + repeat("x,", max_nodes) + "]")).front(),
              HasSubstr("more than 100000 values"));
  expect_mistakes(Sample{.rule = "tags: §[" + repeat("x,", 1001) + "]"}.text(),
                  {"tags: has more than 1000 items"});
  EXPECT_TRUE(read(Sample{.rule = "tags: [" + repeat("x,", 1000) + "]"}.text()));
  EXPECT_TRUE(read(Sample{.rule = "tags: [" + repeat("{regex: x},", 256) + "]"}.text()));
  expect_mistakes(Sample{.rule = "tags: [" + repeat("{regex: x},", 256) + "{regex: §x}]"}.text(),
                  {"regex: more than 256 in one file"});
}

TEST(ConfigHostileTest, AliasesOfAliasesDoNotMultiply) {
  std::string text = "a0: &a0 [x, x]\n";
  for (int level = 1; level < 1000; ++level) {
    text += fmt::format("a{0}: &a{0} [*a{1}, *a{1}, *a{1}]\n", level, level - 1);
  }
  text += "rules: *a999\nregistries: *a999\n";
  EXPECT_FALSE(read(text));
}

TEST(ConfigHostileTest, FilesThatCannotBeRead) {
  EXPECT_THAT(lines_of(read_file("/nonexistent/t.yaml")),
              ElementsAre("/nonexistent/t.yaml:1:1: No such file or directory"));
  const auto directory = std::filesystem::temp_directory_path();
  EXPECT_THAT(lines_of(read_file(directory)),
              ElementsAre(directory.string() + ":1:1: is a directory"));
  EXPECT_THAT(lines_of(read_file("/dev/zero")),
              ElementsAre("/dev/zero:1:1: the file is larger than 1 MiB"));
  EXPECT_THAT(lines_of(read_file("/dev/null")), SizeIs(2));
}

}  // namespace
}  // namespace transship::config
