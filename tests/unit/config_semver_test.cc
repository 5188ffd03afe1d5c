#include "config/semver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace transship::config {
namespace {

using ::testing::HasSubstr;

template <class Parsed>
std::string error_of(const Parsed& parsed) {
  return parsed ? "no error" : parsed.error();
}

TEST(VersionTest, TakesThreeNumbersAndWhatMayFollow) {
  for (const char* text : {"0.0.0", "1.2.3", "v1.2.3", "10.20.30", "1.2.3-rc.1", "1.2.3-0",
                           "1.2.3-alpha-beta.--", "1.2.3-0a.01b", "1.2.3+build.007", "1.2.3-a+b",
                           "9007199254740991.0.0", "1.0.0-99999999999999999999999999"}) {
    EXPECT_TRUE(Version::parse(text)) << text;
  }
  for (const char* text : {"",
                           "1",
                           "1.2",
                           "1.2.3.4",
                           "v",
                           "vv1.2.3",
                           "V1.2.3",
                           " 1.2.3",
                           "1.2.3 ",
                           "01.2.3",
                           "1.02.3",
                           "1.2.03",
                           "-1.2.3",
                           "+1.2.3",
                           "1..3",
                           "1.2.",
                           "1.2.3-",
                           "1.2.3+",
                           "1.2.3-a..b",
                           "1.2.3-01",
                           "1.2.3-a_b",
                           "1.2.x",
                           "latest",
                           "1.2.3-a+",
                           "1.2.3rc1",
                           "0x1.2.3",
                           "9007199254740992.0.0",
                           "99999999999999999999.0.0"}) {
    EXPECT_FALSE(Version::parse(text)) << text;
  }
}

TEST(VersionTest, HasThePrecedenceOfTheSpecification) {
  const std::vector<std::string> ascending = {"0.0.0-0",
                                              "0.0.0",
                                              "0.0.1",
                                              "0.9.9",
                                              "0.10.0",
                                              "1.0.0-0",
                                              "1.0.0-2",
                                              "1.0.0-11",
                                              "1.0.0-99999999999999999998",
                                              "1.0.0-99999999999999999999",
                                              "1.0.0-100000000000000000000",
                                              "1.0.0--",
                                              "1.0.0-Alpha",
                                              "1.0.0-alpha",
                                              "1.0.0-alpha.1",
                                              "1.0.0-alpha.beta",
                                              "1.0.0-beta",
                                              "1.0.0-beta.2",
                                              "1.0.0-beta.11",
                                              "1.0.0-rc.1",
                                              "1.0.0",
                                              "1.2.0",
                                              "1.10.0",
                                              "2.0.0",
                                              "10.0.0"};
  for (std::size_t left = 0; left < ascending.size(); ++left) {
    for (std::size_t right = 0; right < ascending.size(); ++right) {
      const auto order = *Version::parse(ascending[left]) <=> *Version::parse(ascending[right]);
      EXPECT_TRUE(order == (left <=> right)) << ascending[left] << " and " << ascending[right];
    }
  }
  EXPECT_TRUE((*Version::parse("1.2.3+a") <=> *Version::parse("v1.2.3+b")) == 0);
}

struct Case {
  const char* range;
  std::vector<const char*> inside;
  std::vector<const char*> outside;
};

void expect_cases(const std::vector<Case>& cases) {
  for (const auto& [text, inside, outside] : cases) {
    const auto range = VersionRange::parse(text);
    ASSERT_TRUE(range) << range.error();
    for (const char* version : inside)
      EXPECT_TRUE(range->contains(version)) << text << " " << version;
    for (const char* version : outside) {
      EXPECT_FALSE(range->contains(version)) << text << " " << version;
    }
  }
}

TEST(VersionRangeTest, Comparators) {
  expect_cases({
      {"1.2.3", {"1.2.3", "v1.2.3", "1.2.3+b"}, {"1.2.4", "1.2.2", "1.2.3-a"}},
      {"=1.2.3", {"1.2.3"}, {"1.2.4"}},
      {"=v1.2.3", {"1.2.3"}, {"1.2.4"}},
      {">1.2.3", {"1.2.4", "2.0.0"}, {"1.2.3", "1.2.2"}},
      {">=1.2.3", {"1.2.3", "1.2.4"}, {"1.2.2"}},
      {"<1.2.3", {"1.2.2", "0.0.0"}, {"1.2.3", "1.2.3-rc.1"}},
      {"<=1.2.3", {"1.2.3", "1.2.2"}, {"1.2.4"}},
      {">= 1.2.3", {"1.2.3"}, {"1.2.2"}},
      {">=1.4 <3", {"1.4.0", "2.99.0", "v1.4.0"}, {"1.3.9", "3.0.0", "latest", "1.4", "2"}},
      {" >=1.4.0   <3.0.0 ", {"1.4.0"}, {"3.0.0"}},
      {">=1.2.7 <1.3.0", {"1.2.7", "1.2.8", "1.2.99"}, {"1.2.6", "1.3.0", "1.1.0"}},
      {"1.2.7 || >=1.2.9 <2.0.0", {"1.2.7", "1.2.9", "1.4.6"}, {"1.2.8", "2.0.0"}},
      {"1.0.0||2.0.0", {"1.0.0", "2.0.0"}, {"1.5.0"}},
      {">1.2", {"1.3.0"}, {"1.2.0", "1.2.9", "1.3.0-a"}},
      {">=1.2", {"1.2.0"}, {"1.1.9", "1.2.0-a"}},
      {"<1.2", {"1.1.9"}, {"1.2.0", "1.2.0-a"}},
      {"<=1.2", {"1.2.9"}, {"1.3.0", "1.3.0-a"}},
      {">1", {"2.0.0"}, {"1.9.9"}},
      {"<=1", {"1.9.9"}, {"2.0.0"}},
      {">=*", {"0.0.0", "9.9.9"}, {"1.0.0-a"}},
      {"<=9007199254740991", {"9007199254740991.1.1"}, {}},
  });
}

TEST(VersionRangeTest, PartialVersionsAndWildcards) {
  expect_cases({
      {"*", {"0.0.0", "1.2.3"}, {"1.2.3-a", "latest"}},
      {"x", {"1.2.3"}, {}},
      {"1", {"1.0.0", "1.9.9"}, {"2.0.0", "0.9.9", "2.0.0-a"}},
      {"1.x", {"1.0.0", "1.9.9"}, {"2.0.0"}},
      {"1.X.x", {"1.0.0", "1.9.9"}, {"2.0.0"}},
      {"1.2", {"1.2.0", "1.2.9"}, {"1.3.0", "1.1.9"}},
      {"1.2.*", {"1.2.0", "1.2.9"}, {"1.3.0"}},
      {"1.*", {"1.5.0"}, {"2.0.0"}},
      {"v1.2.x", {"1.2.3"}, {"1.3.0"}},
      {"0", {"0.9.0"}, {"1.0.0"}},
  });
}

TEST(VersionRangeTest, HyphenTildeAndCaret) {
  expect_cases({
      {"1.2.3 - 2.3.4", {"1.2.3", "2.3.4"}, {"1.2.2", "2.3.5"}},
      {"1.2 - 2.3.4", {"1.2.0", "2.3.4"}, {"1.1.9"}},
      {"1.2.3 - 2.3", {"2.3.9"}, {"2.4.0", "2.4.0-a"}},
      {"1.2.3 - 2", {"2.9.9"}, {"3.0.0"}},
      {"1.2 - 2.3 || 5", {"5.1.0"}, {"4.0.0"}},
      {"~1.2.3", {"1.2.3", "1.2.9"}, {"1.3.0", "1.2.2"}},
      {"~1.2", {"1.2.0", "1.2.9"}, {"1.3.0"}},
      {"~1", {"1.0.0", "1.9.9"}, {"2.0.0"}},
      {"~0.2.3", {"0.2.3", "0.2.9"}, {"0.3.0"}},
      {"~0", {"0.9.9"}, {"1.0.0"}},
      {"~1.2.3-beta.2", {"1.2.3-beta.4", "1.2.3"}, {"1.2.4-beta.2", "1.2.3-beta.1"}},
      {"^1.2.3", {"1.2.3", "1.9.9"}, {"2.0.0", "1.2.2", "2.0.0-a"}},
      {"^0.2.3", {"0.2.3", "0.2.9"}, {"0.3.0"}},
      {"^0.0.3", {"0.0.3"}, {"0.0.4"}},
      {"^1.2.3-beta.2", {"1.2.3-beta.4", "1.5.0"}, {"1.2.4-beta.2", "2.0.0"}},
      {"^0.0.3-beta", {"0.0.3-pr.2"}, {"0.0.4"}},
      {"^1.2.x", {"1.2.0", "1.9.9"}, {"2.0.0", "1.1.9"}},
      {"^0.0.x", {"0.0.9"}, {"0.1.0"}},
      {"^0.0", {"0.0.9"}, {"0.1.0"}},
      {"^1.x", {"1.9.9"}, {"2.0.0"}},
      {"^0.x", {"0.9.9"}, {"1.0.0"}},
      {"^ 1.2", {"1.2.0"}, {"2.0.0"}},
      {"^*", {"1.0.0"}, {}},
  });
}

// The examples of node-semver's documentation.
TEST(VersionRangeTest, PrereleasesOnlyWhereTheRangeNamesOneOfTheSameNumbers) {
  expect_cases({
      {">1.2.3-alpha.3", {"1.2.3-alpha.7", "3.4.5", "1.2.3"}, {"3.4.5-alpha.9", "1.2.3-alpha.3"}},
      {">=1.2.3-rc.1 <2", {"1.2.3-rc.2", "1.2.4"}, {"1.2.4-rc.1", "2.0.0-rc.1"}},
      {"<2.0.0-rc.2", {"2.0.0-rc.1", "1.0.0"}, {"2.0.0-rc.2", "1.9.0-rc.1"}},
      {"1.2.3-a || 1.2.4", {"1.2.3-a", "1.2.4"}, {"1.2.4-a"}},
      {">=1.0.0 <1.2.3-rc.1 || >=3", {"1.2.3-alpha"}, {"3.0.0-a"}},
  });
}

TEST(VersionRangeTest, RefusesWhatIsNone) {
  for (const char* text : {"",
                           " ",
                           "||",
                           "1 ||",
                           "|| 1",
                           "1 | 2",
                           "latest",
                           "1.2.3.4",
                           "=>1",
                           ">>1",
                           "><1",
                           ">",
                           "^",
                           ">= ",
                           "1.2 -",
                           "- 1.2",
                           "1 - 2 - 3",
                           "1.2 - x.y",
                           "1.x.3",
                           "*.1",
                           "1.2-beta",
                           "01.2.3",
                           "1,2",
                           ">=1.4, <3",
                           "~>1.2",
                           "!1.2",
                           "1.2.3-",
                           "9007199254740992",
                           "18446744073709551616",
                           "1.2.3-01",
                           ">1 -",
                           "1..2"}) {
    const auto range = VersionRange::parse(text);
    EXPECT_FALSE(range) << text;
    if (!range) EXPECT_THAT(range.error(), HasSubstr("not a semver range"));
  }
  EXPECT_THAT(error_of(VersionRange::parse(">*")), HasSubstr("takes no version at all"));
  EXPECT_THAT(error_of(VersionRange::parse("<x")), HasSubstr("takes no version at all"));
  EXPECT_THAT(error_of(VersionRange::parse(std::string(1025, ' '))), HasSubstr("longer than 1024"));
  EXPECT_THAT(error_of(VersionRange::parse(">=1.2 <y")), HasSubstr("\"y\" is not"));
}

}  // namespace
}  // namespace transship::config
