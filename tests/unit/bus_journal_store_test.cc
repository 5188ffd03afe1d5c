#include "daemon/bus/journal_store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace transship::bus {
namespace {

sqlite3* last_opened = nullptr;

int remember(sqlite3* handle, char** /*error*/, const sqlite3_api_routines* /*api*/) {
  last_opened = handle;
  return SQLITE_OK;
}

// A store in a directory of its own, and SQLite's own counters beside it.
class JournalStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "journal_store_test.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    sqlite3_auto_extension(reinterpret_cast<void (*)()>(&remember));
    auto opened = JournalStore::open(directory_ / "journal.db", {});
    sqlite3_reset_auto_extension();
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(directory_);
  }

  // Rows that statements went over because no index led to what they wanted.
  static int scanned_rows() {
    int rows = 0;
    for (sqlite3_stmt* s = nullptr; (s = sqlite3_next_stmt(last_opened, s)) != nullptr;) {
      rows += sqlite3_stmt_status(s, SQLITE_STMTSTATUS_FULLSCAN_STEP, 0);
    }
    return rows;
  }

  std::filesystem::path directory_;
  std::unique_ptr<JournalStore> store_;
};

TEST_F(JournalStoreTest, NoMessageCostsALookAtAllOthers) {
  constexpr int messages = 500;
  ASSERT_TRUE(store_->begin(JournalStore::Survives::process));
  const ConsumerId a = store_->consumer("a").value();
  const ConsumerId b = store_->consumer("b").value();
  for (int i = 0; i < messages; ++i) {
    Message message;
    message.registry = "us-east";
    message.id = std::to_string(i);
    ASSERT_EQ(store_->add(message, Clock::now()).value(), Published::stored);
  }
  for (const ConsumerId consumer : {a, b}) {
    Sequence after = 0;
    while (auto row = store_->first_after(consumer, after).value()) {
      after = row->sequence;
      ASSERT_TRUE(store_->at(consumer, after).value());
      ASSERT_TRUE(store_->count_delivery(consumer, after));
      ASSERT_TRUE(store_->acknowledge(consumer, after));
    }
    EXPECT_EQ(store_->backlog(consumer)->messages, 0U);
  }
  ASSERT_TRUE(store_->commit());
  // The two consumers are gone over for each message stored and removed, and nothing else is.
  EXPECT_LE(scanned_rows(), messages * 2 * 4);
  EXPECT_FALSE(store_->first_after(store_->consumer("c").value(), 0).value());
}

}  // namespace
}  // namespace transship::bus
