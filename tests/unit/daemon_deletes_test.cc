#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <asio.hpp>

#include "daemon/bus/sqlite.h"
#include "daemon/delete_breaker.h"
#include "daemon/placed_tags.h"
#include "daemon/routes.h"
#include "tests/support/process.h"

namespace transship {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const PlacedBy by{"rule", "https://source", "https://target"};

TEST(DeleteBreaker, LetsTenGoAndATenth) {
  EXPECT_FALSE(DeleteBreaker::trips(10, 10));
  EXPECT_TRUE(DeleteBreaker::trips(11, 11));
  EXPECT_TRUE(DeleteBreaker::trips(11, 109));
  EXPECT_FALSE(DeleteBreaker::trips(11, 110));
  EXPECT_FALSE(DeleteBreaker::trips(1000, 10'000));
  EXPECT_TRUE(DeleteBreaker::trips(1001, 10'000));
}

TEST(DeleteBreaker, CountsTheEventsOfAnHour) {
  DeleteBreaker breaker;
  const DeleteBreaker::Time start{};
  std::uint64_t tags = 50;
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(breaker.allows(by, tags--, start));
  EXPECT_FALSE(breaker.allows(by, tags, start));
  PlacedBy other = by;
  other.target = "https://other";
  EXPECT_TRUE(breaker.allows(other, tags, start)) << "each target for itself";
  breaker.take_back(by);
  EXPECT_TRUE(breaker.allows(by, tags, start + std::chrono::minutes(59)));
  EXPECT_FALSE(breaker.allows(by, tags, start + std::chrono::minutes(59)));
  EXPECT_TRUE(breaker.allows(by, tags, start + std::chrono::minutes(60)));
  EXPECT_EQ(breaker.within_window(by), 2u);
  breaker.reset(by);
  EXPECT_EQ(breaker.within_window(by), 0u);
}

TEST(SourceOf, UndoesTheRename) {
  config::Rule rule;
  rule.repositories = *config::RepositoryPatterns::parse({"team/**"});
  EXPECT_EQ(source_of(rule, "team/app"), "team/app");
  EXPECT_EQ(source_of(rule, "other/app"), std::nullopt) << "it does not match";
  rule.rename = "mirror/{repository}/copy";
  EXPECT_EQ(source_of(rule, "mirror/team/app/copy"), "team/app");
  EXPECT_EQ(source_of(rule, "team/app"), std::nullopt);
  EXPECT_EQ(source_of(rule, "mirror/copy"), std::nullopt);
  rule.rename = "{repository}/of/{repository}";
  EXPECT_EQ(source_of(rule, "team/a/of/team/a"), "team/a");
  EXPECT_EQ(source_of(rule, "team/a/of/team/b"), std::nullopt);
}

class PlacedTagsTest : public ::testing::Test {
 protected:
  std::unique_ptr<PlacedTags> open() {
    return std::make_unique<PlacedTags>(loop.get_executor(), directory.path(),
                                        [this](const Error& error) { trouble.push_back(error); });
  }
  template <class T>
  T wait(asio::awaitable<T> work) {
    std::optional<T> result;
    asio::co_spawn(loop, std::move(work),
                   [&](const std::exception_ptr&, T value) { result = std::move(value); });
    loop.restart();
    loop.run();
    return std::move(*result);
  }
  static PlacedTag tag(const std::string& name, const std::string& digest = "sha256:1") {
    return {"team/app", name, "mirror/team/app", digest, pushed};
  }
  static constexpr monitoring::Time pushed{std::chrono::milliseconds(1'767'323'045'000)};

  testing::TemporaryDirectory directory;
  asio::io_context loop;
  std::vector<Error> trouble;
};

TEST_F(PlacedTagsTest, RemembersAcrossProcessesAndForgets) {
  open()->note(by, tag("v1"));  // written at the end
  const auto one = open();
  const auto other = open();  // at the same time
  EXPECT_EQ(wait(one->find(by, "team/app", "v1")), tag("v1"));
  one->note(by, tag("v1", "sha256:2"));
  one->note(by, tag("v2"));
  EXPECT_THAT(wait(one->in_repository(by, "team/app")),
              UnorderedElementsAre(tag("v1", "sha256:2"), tag("v2")));
  EXPECT_EQ(wait(other->find(by, "team/app", "v1")), tag("v1", "sha256:2"));
  EXPECT_EQ(wait(other->standing(by)).tags, 2u);
  EXPECT_THAT(wait(other->repositories(by)), ElementsAre("team/app"));
  other->forget(by, tag("v1"));
  EXPECT_EQ(wait(other->standing(by)).tags, 1u);
  EXPECT_EQ(wait(one->find(by, "team/app", "v1")), std::nullopt);
  EXPECT_THAT(trouble, IsEmpty());
}

TEST_F(PlacedTagsTest, BelongsToARuleAndBothRegistries) {
  const auto placed = open();
  placed->note(by, tag("v1"));
  for (const PlacedBy& other :
       {PlacedBy{"other", by.source, by.target}, PlacedBy{by.rule, "https://elsewhere", by.target},
        PlacedBy{by.rule, by.source, "https://elsewhere"}}) {
    EXPECT_EQ(wait(placed->find(other, "team/app", "v1")), std::nullopt);
    EXPECT_EQ(wait(placed->standing(other)).tags, 0u);
  }
}

TEST_F(PlacedTagsTest, KeepsTheNewestTimeThatWasToldOfADigest) {
  const auto placed = open();
  const auto found = [&] { return *wait(placed->find(by, "team/app", "v1")); };
  PlacedTag seen = tag("v1");
  seen.pushed_at.reset();
  placed->note(by, seen);
  EXPECT_TRUE(found().pushed_before) << "it was seen, and pushed some time before";
  EXPECT_GT(found().pushed_at, pushed);
  placed->note(by, tag("v1"));
  EXPECT_EQ(found(), tag("v1")) << "what is told is better";
  placed->note(by, seen);
  EXPECT_EQ(found(), tag("v1"));
  PlacedTag again = tag("v1");
  again.pushed_at = pushed + std::chrono::seconds(5);
  placed->note(by, again);
  placed->note(by, tag("v1"));
  EXPECT_EQ(found(), again);
  placed->note(by, tag("v1", "sha256:2"));
  EXPECT_EQ(found(), tag("v1", "sha256:2")) << "of another digest it says nothing";
}

TEST_F(PlacedTagsTest, AFileFromBeforeTheTimesIsTakenOver) {
  {
    auto database = bus::sqlite::Database::open((directory / "placed-tags.db").string(), {});
    for (const char* sql :
         {"CREATE TABLE placers (id INTEGER PRIMARY KEY, rule TEXT NOT NULL, source TEXT NOT NULL, "
          "target TEXT NOT NULL, stopped INTEGER NOT NULL DEFAULT 0, UNIQUE (rule, source, "
          "target))",
          "CREATE TABLE placed (placer INTEGER NOT NULL, source_repository TEXT NOT NULL, tag TEXT "
          "NOT NULL, repository TEXT NOT NULL, digest TEXT NOT NULL, seen_day INTEGER NOT NULL, "
          "PRIMARY KEY (placer, source_repository, tag)) WITHOUT ROWID",
          "PRAGMA user_version = 1"})
      ASSERT_TRUE(database->execute(sql));
    ASSERT_TRUE(database->execute("INSERT INTO placers VALUES (1, '" + by.rule + "', '" +
                                  by.source + "', '" + by.target + "', 1)"));
    ASSERT_TRUE(database->execute(
        "INSERT INTO placed VALUES (1, 'team/app', 'v1', 'mirror/team/app', 'sha256:1', 20000)"));
  }
  const auto placed = open();
  PlacedTag untold = tag("v1");
  untold.pushed_at.reset();
  EXPECT_EQ(wait(placed->find(by, "team/app", "v1")), untold);
  EXPECT_TRUE(wait(placed->standing(by)).stopped);
  placed->note(by, tag("v2"));
  EXPECT_EQ(wait(placed->find(by, "team/app", "v2")), tag("v2"));
  EXPECT_THAT(trouble, IsEmpty());
}

TEST_F(PlacedTagsTest, RemembersWhatTheBreakerStopped) {
  const auto placed = open();
  EXPECT_FALSE(wait(placed->standing(by)).stopped);
  placed->set_stopped(by, true);
  EXPECT_TRUE(wait(placed->standing(by)).stopped);
  const auto other = open();
  EXPECT_TRUE(wait(other->standing(by)).stopped);
  placed->set_stopped(by, false);
  EXPECT_FALSE(wait(placed->standing(by)).stopped);
}

TEST_F(PlacedTagsTest, ABrokenFileIsBegunAnew) {
  testing::write_file(directory / "placed-tags.db", std::string(5000, 'x'));
  const auto placed = open();
  placed->note(by, tag("v1"));
  EXPECT_EQ(wait(placed->find(by, "team/app", "v1")), tag("v1"));
  EXPECT_THAT(trouble, IsEmpty());
}

TEST_F(PlacedTagsTest, WithoutAFileThereAreNoneAndThatIsSaidOnce) {
  testing::write_file(directory / "file", "");
  PlacedTags placed(loop.get_executor(), directory / "file",
                    [this](const Error& error) { trouble.push_back(error); });
  placed.note(by, tag("v1"));
  EXPECT_EQ(wait(placed.find(by, "team/app", "v1")), std::nullopt);
  EXPECT_EQ(wait(placed.standing(by)).tags, 0u);
  EXPECT_EQ(trouble.size(), 1u);
}

}  // namespace
}  // namespace transship
