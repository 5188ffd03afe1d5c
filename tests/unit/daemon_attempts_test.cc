#include <fmt/format.h>
#include <gtest/gtest.h>

#include <asio/io_context.hpp>

#include "daemon/attempts.h"
#include "tests/support/process.h"

namespace transship {
namespace {

using Time = Attempts::Time;
using testing::eventually;

Time at(int seconds) { return Time(std::chrono::seconds(1'000'000'000 + seconds)); }

Tries tries(unsigned attempts, int first, int last, std::string message = "it breaks") {
  return {attempts, at(first), {"corrupt", std::move(message), at(last)}};
}

class AttemptsTest : public ::testing::Test {
 protected:
  void open(Time now) {
    close();
    state_.emplace(directory_.path());
    attempts_.emplace(loop_.get_executor(), &*state_, "eu-west", now);
  }
  void close() {
    attempts_.reset();
    state_.reset();  // everything is written
  }
  [[nodiscard]] std::string text() const {
    return testing::read_file(directory_ / "attempts/eu-west");
  }

  testing::TemporaryDirectory directory_;
  asio::io_context loop_;
  std::optional<StateDirectory> state_;
  std::optional<Attempts> attempts_;
};

TEST_F(AttemptsTest, AreRememberedByTheStateDirectory) {
  open(at(0));
  EXPECT_EQ(attempts_->find("all team/app:v1"), nullptr);
  attempts_->note("all team/app:v1", tries(2, 10, 20));
  attempts_->note("all team/app:v2", tries(1, 11, 11));
  attempts_->note("all team/app:v2", tries(2, 11, 12));
  attempts_->note("all team/app:v3", tries(1, 13, 13));
  attempts_->forget("all team/app:v3");
  open(at(100));
  const Tries* kept = attempts_->find("all team/app:v1");
  ASSERT_NE(kept, nullptr);
  EXPECT_EQ(kept->attempts, 2u);
  EXPECT_EQ(kept->first_failed, at(10));
  EXPECT_EQ(kept->last_error.kind, "corrupt");
  EXPECT_EQ(kept->last_error.message, "it breaks");
  EXPECT_EQ(kept->last_error.at, at(20));
  ASSERT_NE(attempts_->find("all team/app:v2"), nullptr);
  EXPECT_EQ(attempts_->find("all team/app:v2")->attempts, 2u);
  EXPECT_EQ(attempts_->find("all team/app:v3"), nullptr);
}

TEST_F(AttemptsTest, TheFileGoesWithTheLastOfThem) {
  open(at(0));
  attempts_->note("all team/app:v1", tries(1, 0, 0));
  open(at(1));
  EXPECT_FALSE(text().empty());
  attempts_->forget("all team/app:v1");
  close();
  EXPECT_FALSE(std::filesystem::exists(directory_ / "attempts/eu-west"));
}

// Without an end in good order: whoever is killed has lost the last second at most.
TEST_F(AttemptsTest, AreWrittenSoonAndTogether) {
  open(at(0));
  attempts_->note("all team/app:v1", tries(1, 0, 0));
  loop_.run();
  ASSERT_TRUE(eventually([&] { return !text().empty(); }));
  const std::string before = text();
  const auto began = std::chrono::steady_clock::now();
  for (int i = 1; i < 100; ++i) attempts_->note("all team/app:v1", tries(2, 0, i));
  loop_.restart();
  loop_.run();
  EXPECT_GE(std::chrono::steady_clock::now() - began + std::chrono::milliseconds(500),
            Attempts::write_every)
      << "not at once again";
  ASSERT_TRUE(eventually([&] { return text() != before; }));
  EXPECT_NE(text().find(std::to_string(at(99).time_since_epoch().count())), std::string::npos);
}

TEST_F(AttemptsTest, WhatNobodyWantsGoes) {
  open(at(0));
  attempts_->note("all team/app:v1", tries(1, 0, 0));
  attempts_->note("gone team/app:v1", tries(1, 0, 0));
  open(at(1));
  attempts_->keep_only([](const std::string& key) { return key.starts_with("all "); });
  open(at(2));
  EXPECT_NE(attempts_->find("all team/app:v1"), nullptr);
  EXPECT_EQ(attempts_->find("gone team/app:v1"), nullptr);
}

TEST_F(AttemptsTest, AreNotKeptForEver) {
  open(at(0));
  attempts_->note("all team/app:v1", tries(1, 0, 0));
  open(at(0) + Attempts::kept_for);
  EXPECT_NE(attempts_->find("all team/app:v1"), nullptr);
  open(at(1) + Attempts::kept_for);
  EXPECT_EQ(attempts_->find("all team/app:v1"), nullptr);
  open(at(-1));
  EXPECT_EQ(attempts_->find("all team/app:v1"), nullptr) << "a clock that was wrong";
}

TEST_F(AttemptsTest, HaveALimitAndKeepThoseThatWereTriedMost) {
  open(at(0));
  const std::string long_message(100'000, '\xff');  // six bytes each as it is written
  attempts_->note("all team/app:old", tries(5, 0, 0, long_message));
  for (std::size_t i = 0; i < Attempts::images_max + 10; ++i)
    attempts_->note(fmt::format("all team/app:v{}", i),
                    tries(1, 1, 1 + static_cast<int>(i), long_message));
  open(at(5000));
  EXPECT_LT(text().size(), Attempts::bytes_max);
  ASSERT_NE(attempts_->find("all team/app:old"), nullptr);
  EXPECT_EQ(attempts_->find("all team/app:old")->attempts, 5u);
  EXPECT_EQ(attempts_->find("all team/app:v0"), nullptr);
  EXPECT_NE(attempts_->find(fmt::format("all team/app:v{}", Attempts::images_max + 9)), nullptr);
}

TEST_F(AttemptsTest, TakeNoHarmFromABrokenFile) {
  open(at(0));
  attempts_->note("all team/app:v1", tries(1, 0, 0));
  close();
  const std::string whole = text();
  for (const std::string& broken :
       {std::string(), whole.substr(0, whole.size() / 2), std::string("\0\0\0\0", 4),
        std::string("[]"), std::string("{}"), std::string(R"({"version":2,"images":[]})"),
        std::string(R"({"version":1,"images":[{"image":1}]})"),
        std::string(R"({"version":1,"images":[{"image":"a b","attempts":"x"}]})")}) {
    testing::write_file(directory_ / "attempts/eu-west", broken);
    ::testing::internal::CaptureStderr();
    open(at(1));
    const std::string told = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(told.find("begin anew"), std::string::npos) << broken;
    EXPECT_EQ(attempts_->find("all team/app:v1"), nullptr) << broken;
  }
}

TEST_F(AttemptsTest, WithoutAStateDirectoryNothingIsKept) {
  Attempts none(loop_.get_executor(), nullptr, "eu-west", at(0));
  none.note("all team/app:v1", tries(1, 0, 0));
  none.forget("all team/app:v1");
  none.flush();
  EXPECT_EQ(none.find("all team/app:v1"), nullptr);
}

}  // namespace
}  // namespace transship
