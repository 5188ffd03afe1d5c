#include "config/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace transship::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class Parsed>
std::string error_of(const Parsed& parsed) {
  return parsed ? "no error" : parsed.error();
}

TEST(GlobTest, MatchesAsTheContractSays) {
  const struct {
    const char* glob;
    const char* name;
    bool matches;
  } cases[] = {
      {"team/app", "team/app", true},
      {"team/app", "team/apps", false},
      {"team/app", "team/ap", false},
      {"team/app", "", false},
      {"*", "app", true},
      {"*", "", true},
      {"*", "team/app", false},
      {"team/*", "team/app", true},
      {"team/*", "team/", true},
      {"team/*", "team", false},
      {"team/*", "team/a/b", false},
      {"*/app", "team/app", true},
      {"*/app", "a/b/app", false},
      {"*/*", "a/b", true},
      {"*/*", "a/b/c", false},
      {"a*c", "abc", true},
      {"a*c", "ac", true},
      {"a*c", "abcd", false},
      {"a*c", "abcc", true},
      {"*-rc*", "v1.2-rc.1", true},
      {"*-rc*", "v1.2-r", false},
      {"*a*b*", "xaxxbx", true},
      {"*a*b*", "xbxxax", false},
      {"?", "a", true},
      {"?", "", false},
      {"?", "ab", false},
      {"?", "/", false},
      {"v?.?", "v1.2", true},
      {"v?.?", "v1.12", false},
      {"a?c", "a/c", false},
      {"**", "", true},
      {"**", "a/b/c", true},
      {"team/**", "team/a/b", true},
      {"team/**", "team/a", true},
      {"team/**", "team", false},
      {"team/**", "steam/a", false},
      {"**/app", "app", false},
      {"**/app", "a/b/app", true},
      {"a/**/z", "a/b/c/z", true},
      {"a/**/z", "a/z", false},
      {"a**z", "a/b/z", true},
      {"**-test", "a/b-test", true},
      {"**/*-test", "a/b/c-test", true},
      {"**/x/*", "a/x/b/x/c", true},
      {"**/x/*", "a/x/b/c", false},
      {"*/**", "a/b/c", true},
      {"*/**", "a", false},
      {"**?", "", false},
      {"**?", "a/b", true},
      {"**?", "a/", false},
      {"v1.2", "v1x2", false},
      {"a+b", "a+b", true},
      {"a+b", "aab", false},
      {"(a|b)", "a", false},
      {"^a$", "a", false},
      {"App", "app", false},
  };
  for (const auto& [text, name, matches] : cases) {
    const auto glob = Glob::parse(text);
    ASSERT_TRUE(glob) << text;
    EXPECT_EQ(glob->matches(name), matches) << text << " and " << name;
  }
}

TEST(GlobTest, RefusesWhatIsSpecial) {
  const struct {
    std::string glob;
    const char* message;
  } cases[] = {
      {"", "is empty"},
      {"v[0-9]", "special character"},
      {"v]", "special character"},
      {"{a,b}", "special character"},
      {"a}", "special character"},
      {"a\\*", "special character"},
      {"***", "more than two '*'"},
      {"team/****", "more than two '*'"},
      {"!", "'!'"},
      {"a!b", "'!'"},
      {"a b", "blank"},
      {" a", "blank"},
      {"a\t", "blank"},
      {"a\n", "blank"},
      {std::string(256, 'a'), "longer than 255"},
  };
  for (const auto& [text, message] : cases) {
    const auto glob = Glob::parse(text);
    ASSERT_FALSE(glob) << text;
    EXPECT_THAT(glob.error(), HasSubstr(message));
  }
  EXPECT_TRUE(Glob::parse(std::string(255, 'a')));
}

// The straightforward matcher, which may take for ever, to compare with.
bool matches_slowly(std::string_view glob, std::string_view name) {
  if (glob.empty()) return name.empty();
  if (glob.front() == '*') {
    const bool crosses = glob.starts_with("**");
    if (matches_slowly(glob.substr(crosses ? 2 : 1), name)) return true;
    return !name.empty() && (crosses || name.front() != '/') &&
           matches_slowly(glob, name.substr(1));
  }
  if (name.empty()) return false;
  const bool same = glob.front() == '?' ? name.front() != '/' : glob.front() == name.front();
  return same && matches_slowly(glob.substr(1), name.substr(1));
}

// Every text of at most `longest` characters out of the letters.
std::vector<std::string> all_texts(std::string_view letters, std::size_t longest) {
  std::vector<std::string> texts = {""};
  for (std::size_t at = 0; at < texts.size() && texts[at].size() < longest; ++at) {
    for (const char letter : letters) texts.push_back(texts[at] + letter);
  }
  return texts;
}

TEST(GlobTest, AgreesWithTheStraightforwardMatcherOnAllShortTexts) {
  const auto names = all_texts("a/", 5);
  for (const std::string& text : all_texts("a/*?", 5)) {
    const auto glob = Glob::parse(text);
    if (!glob) continue;
    for (const std::string& name : names) {
      ASSERT_EQ(glob->matches(name), matches_slowly(text, name)) << text << " and " << name;
    }
  }
}

TEST(GlobTest, IsQuickWithHostilePatterns) {
  std::string stars;
  std::string crossing;
  for (int i = 0; i < 80; ++i) stars += "a*";
  for (int i = 0; i < 80; ++i) crossing += "**a";
  const std::string name(255, 'a');
  for (const std::string& text : {stars + "b", crossing + "b", crossing + "/", stars + "?b"}) {
    const auto glob = Glob::parse(text);
    ASSERT_TRUE(glob);
    for (int i = 0; i < 100; ++i) EXPECT_FALSE(glob->matches(name));
  }
  EXPECT_TRUE(Glob::parse(stars)->matches(name));
  EXPECT_FALSE(Glob::parse("a*b")->matches(std::string(1 << 20, 'a')));
}

RepositoryPatterns repositories(const std::vector<std::string>& items) {
  auto patterns = RepositoryPatterns::parse(items);
  EXPECT_TRUE(patterns) << patterns.error();
  return patterns.value_or(RepositoryPatterns());
}

TagPatterns tags(const std::vector<std::string>& items) {
  auto patterns = TagPatterns::parse(items);
  EXPECT_TRUE(patterns) << patterns.error();
  return patterns.value_or(TagPatterns());
}

TEST(RepositoryPatternsTest, TheLastMatchWins) {
  const auto list = repositories({"team/**", "!team/scratch/**", "team/scratch/keep"});
  EXPECT_TRUE(list.matches("team/app"));
  EXPECT_FALSE(list.matches("team/scratch/x"));
  EXPECT_TRUE(list.matches("team/scratch/keep"));
  EXPECT_FALSE(list.matches("other/app"));
  EXPECT_FALSE(repositories({"a", "!**"}).matches("a"));
  EXPECT_TRUE(repositories({"!**", "a"}).matches("a"));
}

TEST(RepositoryPatternsTest, AListThatStartsWithAnExclusionStartsFromEverything) {
  const auto list = repositories({"!scratch/**"});
  EXPECT_TRUE(list.matches("team/app"));
  EXPECT_FALSE(list.matches("scratch/x"));
  EXPECT_FALSE(repositories({"team/*", "!scratch/**"}).matches("other"));
  EXPECT_FALSE(RepositoryPatterns().matches("a"));
}

TEST(RepositoryPatternsTest, KnowsWhichRepositoriesAreNamedInFull) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(repositories({"team/app"}).literal(), Names{"team/app"});
  EXPECT_THAT(*repositories({"b", "a", "b"}).literal(), ElementsAre("b", "a"));
  EXPECT_THAT(*repositories({"a/x", "a/y", "!a/x"}).literal(), ElementsAre("a/y"));
  EXPECT_THAT(*repositories({"a/x", "b", "!a/**"}).literal(), ElementsAre("b"));
  EXPECT_EQ(repositories({"a", "!a"}).literal(), Names{});
  EXPECT_EQ(repositories({"a", "b*"}).literal(), std::nullopt);
  EXPECT_EQ(repositories({"a?"}).literal(), std::nullopt);
  EXPECT_EQ(repositories({"!a", "b"}).literal(), std::nullopt);
  EXPECT_EQ(RepositoryPatterns().literal(), std::nullopt);
}

TEST(RepositoryPatternsTest, RefusesWhatIsNoPattern) {
  EXPECT_THAT(error_of(RepositoryPatterns::parse({"!!a"})), HasSubstr("more than one leading '!'"));
  EXPECT_THAT(error_of(RepositoryPatterns::parse({"a", "!"})), HasSubstr("is empty"));
  EXPECT_THAT(error_of(RepositoryPatterns::parse({"Team/App"})),
              HasSubstr("not a repository name"));
  EXPECT_THAT(error_of(RepositoryPatterns::parse({"../etc"})), HasSubstr("not a repository name"));
  EXPECT_TRUE(RepositoryPatterns::parse({"Team/*"}));
}

TEST(RepositoryNameTest, FollowsTheDistributionSpecification) {
  for (const char* name : {"a", "library/debian", "a.b_c__d-e---f/0", "a/b/c/d"}) {
    EXPECT_TRUE(is_repository_name(name)) << name;
  }
  for (const char* name : {"", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "a-", "_a",
                           "a:b", "a@b", "a b", "a%2fb", ".", ".."}) {
    EXPECT_FALSE(is_repository_name(name)) << name;
  }
  EXPECT_TRUE(is_repository_name(std::string(255, 'a')));
  EXPECT_FALSE(is_repository_name(std::string(256, 'a')));
}

TEST(TagPatternsTest, TakeEveryTagByDefault) {
  EXPECT_TRUE(TagPatterns().matches("anything"));
  EXPECT_TRUE(TagPatterns().matches_everything());
}

TEST(TagPatternsTest, TheLastMatchWinsAcrossKinds) {
  TagPatterns list;
  ASSERT_TRUE(list.add_glob("v*"));
  ASSERT_TRUE(list.add_semver(">=1.4 <3"));
  ASSERT_TRUE(list.add_glob("!*-bad"));
  ASSERT_TRUE(list.add_regex("release-[0-9]{8}"));
  ASSERT_TRUE(list.add_glob("latest"));
  EXPECT_TRUE(list.matches("v0.1"));
  EXPECT_TRUE(list.matches("1.4.0"));
  EXPECT_TRUE(list.matches("v2.9.9"));
  EXPECT_FALSE(list.matches("3.0.0"));
  EXPECT_FALSE(list.matches("v1-bad"));
  EXPECT_TRUE(list.matches("release-20240131"));
  EXPECT_TRUE(list.matches("latest"));
  EXPECT_FALSE(list.matches("latest2"));
}

TEST(TagPatternsTest, AListThatStartsWithAnExclusionStartsFromEverything) {
  EXPECT_TRUE(tags({"!*-rc*"}).matches("v1"));
  EXPECT_FALSE(tags({"!*-rc*"}).matches("v1-rc1"));
  EXPECT_FALSE(tags({"v*", "!*-rc*"}).matches("latest"));
}

TEST(TagPatternsTest, KnowsWhenNoTagIsLeftOut) {
  EXPECT_TRUE(tags({"*"}).matches_everything());
  EXPECT_TRUE(tags({"!a", "**"}).matches_everything());
  EXPECT_TRUE(tags({"*", "v*"}).matches_everything());
  EXPECT_FALSE(tags({"*", "!a"}).matches_everything());
  EXPECT_FALSE(tags({"!a"}).matches_everything());
  EXPECT_FALSE(tags({"v*"}).matches_everything());
}

TEST(TagRegexTest, MatchesTheWholeTag) {
  const auto regex = TagRegex::parse("v[0-9]+|edge");
  ASSERT_TRUE(regex);
  EXPECT_TRUE(regex->matches("v12"));
  EXPECT_TRUE(regex->matches("edge"));
  EXPECT_FALSE(regex->matches("v12x"));
  EXPECT_FALSE(regex->matches("xv12"));
  EXPECT_FALSE(regex->matches("edges"));
}

TEST(TagRegexTest, RefusesWhatIsNoneOrTooLarge) {
  EXPECT_THAT(error_of(TagRegex::parse("(")), HasSubstr("missing )"));
  EXPECT_THAT(error_of(TagRegex::parse("(?=a)")), HasSubstr("not a regular expression"));
  EXPECT_THAT(error_of(TagRegex::parse("")), HasSubstr("empty"));
  EXPECT_THAT(error_of(TagRegex::parse("((a{100}){100}){100}")), HasSubstr("not a regular"));
  EXPECT_THAT(error_of(TagRegex::parse("[\\p{L}\\p{N}]{1000}")), HasSubstr("too large"));
  EXPECT_THAT(error_of(TagRegex::parse(std::string(1025, 'a'))), HasSubstr("longer than 1024"));
}

TEST(TagRegexTest, IsQuickWithHostileExpressions) {
  const auto regex = TagRegex::parse("(a*)*(a|aa)+(a?){20}b");
  ASSERT_TRUE(regex);
  EXPECT_FALSE(regex->matches(std::string(100'000, 'a')));
}

TEST(PatternsTest, AreEqualWhereTheyWereWrittenAlike) {
  EXPECT_EQ(tags({"v*", "!a"}), tags({"v*", "!a"}));
  EXPECT_NE(tags({"v*", "!a"}), tags({"v*", "a"}));
  EXPECT_EQ(repositories({"a/*"}), repositories({"a/*"}));
  EXPECT_NE(repositories({"a/*"}), repositories({"a/**"}));
  TagPatterns one;
  TagPatterns other;
  ASSERT_TRUE(one.add_regex("a") && one.add_semver("^1"));
  ASSERT_TRUE(other.add_regex("a") && other.add_semver("^1"));
  EXPECT_EQ(one, other);
  ASSERT_TRUE(other.add_regex("b"));
  EXPECT_NE(one, other);
}

}  // namespace
}  // namespace transship::config
