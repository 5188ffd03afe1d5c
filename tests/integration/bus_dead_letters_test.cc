#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <memory>
#include <string>

#include "daemon/bus/jetstream.h"
#include "daemon/bus/journal.h"
#include "tests/integration/bus_fixture.h"
#include "tests/integration/bus_nats_server.h"

// What both buses promise of dead letters, tried on each.
namespace transship::bus {
namespace {

using testing::Loop;
using testing::NatsServer;
using testing::TemporaryDirectory;

class DeadLettersContract : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (GetParam() == std::string("jetstream")) {
      if (!NatsServer::installed()) GTEST_SKIP() << "nats-server is not installed";
      server_.emplace();
      server_->start();
    }
    reopen();
  }
  void TearDown() override {
    if (bus_) loop_.run(bus_->close());
  }

  // A restart of the daemon.
  void reopen() {
    if (bus_) loop_.run(bus_->close());
    bus_ = make();
    auto opened = loop_.run(bus_->open());
    ASSERT_TRUE(opened) << opened.error().message;
  }
  std::unique_ptr<Bus> make() {
    if (server_)
      return std::make_unique<JetStream>(JetStreamOptions{.servers = {server_->url()},
                                                          .stream = "REGISTRY_EVENTS",
                                                          .subjects = {"registry.events.>"}});
    return std::make_unique<Journal>(JournalOptions{.directory = directory_.path() / "state"});
  }

  static DeadLetter letter(const std::string& target, const std::string& image) {
    const LetterTime at(std::chrono::milliseconds(1'700'000'000'123));
    return {dead_letter_id("all", target, image),
            target,
            "all",
            image,
            8,
            at,
            at + std::chrono::seconds(5),
            "not_found",
            "the blob sha256:… is missing: \"why\"\xff",
            {at - std::chrono::seconds(9), at}};
  }
  void put(const DeadLetter& letter) { ASSERT_TRUE(loop_.run(bus_->dead_letters().put(letter))); }
  void remove(const DeadLetter& letter) {
    ASSERT_TRUE(loop_.run(bus_->dead_letters().remove(letter.target, letter.id)));
  }
  std::vector<DeadLetter> all() {
    auto listing = loop_.run(bus_->dead_letters().list({}));
    if (!listing) throw std::runtime_error(listing.error().message);
    std::vector<DeadLetter> letters = std::move(*listing->letters);
    std::sort(letters.begin(), letters.end(),
              [](const auto& a, const auto& b) { return a.image < b.image; });
    return letters;
  }

  TemporaryDirectory directory_;
  std::optional<NatsServer> server_;
  Loop loop_;
  std::unique_ptr<Bus> bus_;
};

TEST_P(DeadLettersContract, KeepsThemOverARestart) {
  EXPECT_TRUE(all().empty());
  DeadLetter one = letter("eu-west", "team/app:v1");
  put(one);
  put(letter("ap_south", "team/app:v2"));
  reopen();
  const auto kept = all();
  ASSERT_EQ(kept.size(), 2U);
  one.error_message = "the blob sha256:… is missing: \"why\"\xef\xbf\xbd";  // valid UTF-8
  EXPECT_EQ(kept[0], one);
  EXPECT_EQ(kept[1].target, "ap_south");
}

TEST_P(DeadLettersContract, HasOneForARuleTargetAndImage) {
  DeadLetter one = letter("eu-west", "team/app:v1");
  put(one);
  one.attempts = 9;
  put(one);
  ASSERT_EQ(all().size(), 1U);
  EXPECT_EQ(all()[0].attempts, 9U);
}

TEST_P(DeadLettersContract, RemovesOneForGood) {
  const DeadLetter one = letter("eu-west", "team/app:v1");
  put(one);
  put(letter("eu-west", "team/app:v2"));
  remove(one);
  remove(one);  // no longer there: no error
  EXPECT_EQ(all().size(), 1U);
  reopen();
  ASSERT_EQ(all().size(), 1U);
  EXPECT_EQ(all()[0].image, "team/app:v2");
}

TEST_P(DeadLettersContract, ReadsNothingAgainWhileNothingChanged) {
  put(letter("eu-west", "team/app:v1"));
  DeadLetters& letters = bus_->dead_letters();
  const auto first = loop_.run(letters.list({}));
  ASSERT_TRUE(first && first->letters);
  const auto same = loop_.run(letters.list(first->version));
  ASSERT_TRUE(same);
  EXPECT_FALSE(same->letters);
  remove(letter("eu-west", "team/app:v1"));
  const auto changed = loop_.run(letters.list(first->version));
  ASSERT_TRUE(changed && changed->letters);
  EXPECT_TRUE(changed->letters->empty());
}

TEST_P(DeadLettersContract, ListsMoreThanOneRead) {
  for (int i = 0; i < 600; ++i) put(letter("eu-west", "team/app:v" + std::to_string(i)));
  EXPECT_EQ(all().size(), 600U);
}

TEST_P(DeadLettersContract, AnswersAfterTheEnd) {
  loop_.run(bus_->close());
  EXPECT_FALSE(loop_.run(bus_->dead_letters().put(letter("eu-west", "team/app:v1"))));
  EXPECT_FALSE(loop_.run(bus_->dead_letters().list("?")));
}

TEST_P(DeadLettersContract, AJournalOfTheFormatBeforeThemGetsThem) {
  if (server_) GTEST_SKIP() << "of the journal alone";
  loop_.run(bus_->close());
  bus_.reset();
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open((directory_.path() / "state" / "journal.db").c_str(), &handle), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(handle, "DROP TABLE dead_letters; PRAGMA user_version=1", nullptr, nullptr,
                         nullptr),
            SQLITE_OK);
  sqlite3_close(handle);
  reopen();
  put(letter("eu-west", "team/app:v1"));
  EXPECT_EQ(all().size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Both, DeadLettersContract, ::testing::Values("journal", "jetstream"),
                         [](const auto& info) { return std::string(info.param); });

TEST(DeadLetter, KeepsTheOldestPushAndTheNewest) {
  std::vector<LetterTime> pushes;
  for (int i = 40; i > 0; --i) pushes.emplace_back(std::chrono::seconds(i));
  pushes.emplace_back(std::chrono::seconds(40));
  const auto kept = pushes_kept(pushes);
  ASSERT_EQ(kept.size(), DeadLetter::pushes_max);
  EXPECT_EQ(kept.front(), LetterTime(std::chrono::seconds(1)));
  EXPECT_EQ(kept.back(), LetterTime(std::chrono::seconds(40)));
}

TEST(DeadLetter, WhatIsNoneOfOursIsNotRead) {
  for (const char* text : {"", "{", "[]", "{}", R"({"id":"1"})", "\xff"})
    EXPECT_FALSE(parse_dead_letter(text)) << text;
}

}  // namespace
}  // namespace transship::bus
