#include "daemon/bus/journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <asio/detached.hpp>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <thread>

#include "daemon/bus/journal_thread.h"
#include "tests/integration/bus_fixture.h"

namespace transship::bus {
namespace {

using testing::Loop;
using testing::message;
using testing::one;
using testing::TemporaryDirectory;

// An SQLite VFS around the system's: counts syncs, and can hold them back or have no room left.
class Disk {
 public:
  Disk() {
    system_ = sqlite3_vfs_find(nullptr);
    vfs_ = *system_;
    vfs_.zName = name;
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + system_->szOsFile;
    vfs_.pAppData = this;
    vfs_.xOpen = open;
    sqlite3_vfs_register(&vfs_, 0);
  }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  ~Disk() { sqlite3_vfs_unregister(&vfs_); }

  static constexpr const char* name = "test-disk";

  std::atomic<int> syncs{0};
  std::atomic<bool> full{false};

  // Syncs wait until release().
  void hold() { set_held(true); }
  void release() { set_held(false); }

 private:
  struct File {
    sqlite3_file base;
    Disk* disk;
    sqlite3_file* real;
  };
  static File& self(sqlite3_file* file) { return *reinterpret_cast<File*>(file); }

  void set_held(bool held) {
    {
      const std::lock_guard lock(mutex_);
      held_ = held;
    }
    changed_.notify_all();
  }

  static int open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out) {
    auto* disk = static_cast<Disk*>(vfs->pAppData);
    File& mine = self(file);
    mine.disk = disk;
    mine.real = reinterpret_cast<sqlite3_file*>(&mine + 1);
    mine.base.pMethods = nullptr;
    const int code = disk->system_->xOpen(disk->system_, path, mine.real, flags, out);
    if (code == SQLITE_OK) mine.base.pMethods = methods();
    return code;
  }

  static const sqlite3_io_methods* methods() {
    static const sqlite3_io_methods all = [] {
      sqlite3_io_methods m{};
      m.iVersion = 2;
      m.xClose = [](sqlite3_file* f) { return real(f)->pMethods->xClose(real(f)); };
      m.xRead = [](sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
        return real(f)->pMethods->xRead(real(f), to, n, at);
      };
      m.xWrite = [](sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
        if (self(f).disk->full) return SQLITE_FULL;
        return real(f)->pMethods->xWrite(real(f), from, n, at);
      };
      m.xTruncate = [](sqlite3_file* f, sqlite3_int64 n) {
        return real(f)->pMethods->xTruncate(real(f), n);
      };
      m.xSync = sync;
      m.xFileSize = [](sqlite3_file* f, sqlite3_int64* n) {
        return real(f)->pMethods->xFileSize(real(f), n);
      };
      m.xLock = [](sqlite3_file* f, int l) { return real(f)->pMethods->xLock(real(f), l); };
      m.xUnlock = [](sqlite3_file* f, int l) { return real(f)->pMethods->xUnlock(real(f), l); };
      m.xCheckReservedLock = [](sqlite3_file* f, int* r) {
        return real(f)->pMethods->xCheckReservedLock(real(f), r);
      };
      m.xFileControl = [](sqlite3_file* f, int op, void* arg) {
        return real(f)->pMethods->xFileControl(real(f), op, arg);
      };
      m.xSectorSize = [](sqlite3_file* f) { return real(f)->pMethods->xSectorSize(real(f)); };
      m.xDeviceCharacteristics = [](sqlite3_file* f) {
        return real(f)->pMethods->xDeviceCharacteristics(real(f));
      };
      m.xShmMap = [](sqlite3_file* f, int page, int n, int extend, void volatile** to) {
        return real(f)->pMethods->xShmMap(real(f), page, n, extend, to);
      };
      m.xShmLock = [](sqlite3_file* f, int at, int n, int flags) {
        return real(f)->pMethods->xShmLock(real(f), at, n, flags);
      };
      m.xShmBarrier = [](sqlite3_file* f) { real(f)->pMethods->xShmBarrier(real(f)); };
      m.xShmUnmap = [](sqlite3_file* f, int remove) {
        return real(f)->pMethods->xShmUnmap(real(f), remove);
      };
      return m;
    }();
    return &all;
  }

  static sqlite3_file* real(sqlite3_file* file) { return self(file).real; }
  static int sync(sqlite3_file* file, int flags) {
    Disk& disk = *self(file).disk;
    ++disk.syncs;
    {
      std::unique_lock lock(disk.mutex_);
      disk.changed_.wait(lock, [&disk] { return !disk.held_; });
    }
    return real(file)->pMethods->xSync(real(file), flags);
  }

  sqlite3_vfs* system_ = nullptr;
  sqlite3_vfs vfs_{};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
};

class JournalTest : public ::testing::Test {
 protected:
  JournalOptions options() { return {.directory = directory_.path() / "state"}; }
  JournalOptions on_disk() {
    JournalOptions made = options();
    made.vfs = Disk::name;
    return made;
  }
  std::filesystem::path file() { return directory_.path() / "state" / "journal.db"; }

  TemporaryDirectory directory_;
  Loop loop_;
};

TEST_F(JournalTest, MakesItsDirectoryForItselfAlone) {
  Journal journal(options());
  EXPECT_FALSE(journal.connected());
  ASSERT_TRUE(loop_.run(journal.open()));
  EXPECT_TRUE(journal.connected());
  struct stat status{};
  ASSERT_EQ(::stat(options().directory.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0700U);
}

TEST_F(JournalTest, AThousandConcurrentPublishesShareAHandfulOfSyncs) {
  Disk disk;
  Journal journal(on_disk());
  ASSERT_TRUE(loop_.run(journal.open()));
  auto inbox = loop_.run(journal.open_inbox("eu-west"));
  ASSERT_TRUE(inbox);
  const int before = disk.syncs;
  int stored = 0;
  const auto publish = [](Journal& bus, int number, int& count) -> asio::awaitable<void> {
    auto done = co_await bus.publish(
        one(message(std::string(1200, 'x'), "event-" + std::to_string(number))));
    if (done && done->front() == Published::stored) ++count;
  };
  for (int i = 0; i < 1000; ++i) loop_.start(publish(journal, i, stored));
  loop_.run_until([&stored] { return stored == 1000; });
  const int syncs = disk.syncs - before;
  RecordProperty("syncs", syncs);
  EXPECT_LE(syncs, 20);
  EXPECT_EQ(loop_.run((*inbox)->backlog())->messages, 1000U);
}

// On a disk that is faster than the loop each would have a sync to itself.
TEST_F(JournalTest, AThousandPublishesThatKeepTheLoopBusyShareAHandfulOfSyncs) {
  Disk disk;
  Journal journal(on_disk());
  ASSERT_TRUE(loop_.run(journal.open()));
  const int before = disk.syncs;
  int stored = 0;
  const auto publish = [](Journal& bus, int& count) -> asio::awaitable<void> {
    std::this_thread::sleep_for(std::chrono::microseconds(200));  // what a request takes the loop
    if ((co_await bus.publish(one(message("m")))).has_value()) ++count;
  };
  for (int i = 0; i < 1000; ++i) loop_.start(publish(journal, stored));
  loop_.run_until([&stored] { return stored == 1000; });
  const int syncs = disk.syncs - before;
  RecordProperty("syncs", syncs);
  EXPECT_LE(syncs, 20);
}

TEST_F(JournalTest, TimedPublishesOneAfterTheOtherWaitForNobody) {
  Disk disk;
  Journal journal(on_disk());
  ASSERT_TRUE(loop_.run(journal.open()));
  const int before = disk.syncs;
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(loop_.run(journal.publish(one(message("m")))));
  EXPECT_GE(disk.syncs - before, 50) << "each was durable when it was answered";
  EXPECT_LT(std::chrono::steady_clock::now() - began, 25 * JournalThread::gathering_max);
}

TEST_F(JournalTest, AnAnswerThatNobodyTakesHoldsNothingUp) {
  Journal journal(options());
  ASSERT_TRUE(loop_.run(journal.open()));
  asio::io_context other;  // stands still once it has asked
  asio::co_spawn(other, journal.publish(one(message("first"))), asio::detached);
  other.poll();
  auto inbox = loop_.run(journal.open_inbox("eu-west"));
  ASSERT_EQ(loop_.run((*inbox)->fetch(1))->size(), 1U);
  ASSERT_TRUE(loop_.run(journal.publish(one(message("second")))));
}

TEST_F(JournalTest, AcknowledgementsNeedNoSync) {
  Disk disk;
  Journal journal(on_disk());
  ASSERT_TRUE(loop_.run(journal.open()));
  auto inbox = loop_.run(journal.open_inbox("eu-west"));
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(loop_.run(journal.publish(one(message("m")))));
  const int before = disk.syncs;
  auto got = loop_.run((*inbox)->fetch(100));
  ASSERT_EQ(got->size(), 50U);
  for (const Delivery& delivery : *got) (*inbox)->acknowledge(delivery);
  EXPECT_EQ(loop_.run((*inbox)->backlog())->messages, 0U);
  EXPECT_EQ(disk.syncs, before);
}

TEST_F(JournalTest, ASlowDiskDoesNotBlockTheLoop) {
  Disk disk;
  Journal journal(on_disk());
  ASSERT_TRUE(loop_.run(journal.open()));
  disk.hold();
  bool stored = false;
  const auto publish = [](Journal& bus, bool& flag) -> asio::awaitable<void> {
    flag = (co_await bus.publish(one(message("m")))).has_value();
  };
  loop_.start(publish(journal, stored));
  for (int turns = 0; turns < 1000; ++turns) {
    bool turned = false;
    asio::post(loop_.io(), [&turned] { turned = true; });
    loop_.run_until([&turned] { return turned; });
  }
  EXPECT_FALSE(stored);
  disk.release();
  loop_.run_until([&stored] { return stored; });
}

TEST_F(JournalTest, WhatWaitsForASlowDiskIsBounded) {
  Disk disk;
  Journal journal(on_disk());
  ASSERT_TRUE(loop_.run(journal.open()));
  disk.hold();
  int answered = 0;
  int throttled = 0;
  const auto publish = [](Journal& bus, int& done, int& refused) -> asio::awaitable<void> {
    auto outcome = co_await bus.publish(one(message(std::string(8U << 20U, 'x'))));
    if (outcome) {
      ++done;
    } else if (outcome.error().kind == ErrorKind::throttled) {
      ++refused;
    }
  };
  for (int i = 0; i < 6; ++i) loop_.start(publish(journal, answered, throttled));
  loop_.run_until([&throttled] { return throttled == 3; });
  disk.release();
  loop_.run_until([&answered] { return answered == 3; });
}

TEST_F(JournalTest, AFullDiskIsATransientErrorAndPasses) {
  Disk disk;
  Journal journal(on_disk());
  ASSERT_TRUE(loop_.run(journal.open()));
  auto inbox = loop_.run(journal.open_inbox("eu-west"));
  ASSERT_TRUE(loop_.run(journal.publish(one(message("before")))));
  auto got = loop_.run((*inbox)->fetch(1));
  disk.full = true;
  auto refused = loop_.run(journal.publish(one(message("during", "id-1"))));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::transient);
  EXPECT_NE(refused.error().message.find("full"), std::string::npos) << refused.error().message;
  (*inbox)->acknowledge(got->front());  // kept, and written once there is room
  disk.full = false;
  auto stored = loop_.run(journal.publish(one(message("during", "id-1"))));
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->front(), Published::stored);
  EXPECT_EQ(loop_.run((*inbox)->backlog())->messages, 1U);
  got = loop_.run((*inbox)->fetch(10));
  ASSERT_EQ(got->size(), 1U);
  EXPECT_EQ(got->front().message.body, "during");
}

TEST_F(JournalTest, ASecondDaemonIsRefused) {
  Journal first(options());
  ASSERT_TRUE(loop_.run(first.open()));
  Journal second(options());
  auto opened = loop_.run(second.open());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::conflict);
  EXPECT_NE(opened.error().message.find("journal.lock"), std::string::npos);
  EXPECT_NE(opened.error().message.find("another daemon"), std::string::npos);
  loop_.run(first.close());
  EXPECT_TRUE(loop_.run(second.open()));
}

TEST_F(JournalTest, AFileThatIsNoJournalIsCorrupt) {
  std::filesystem::create_directories(options().directory);
  std::ofstream(file()) << std::string(8192, 'x');
  Journal journal(options());
  auto opened = loop_.run(journal.open());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::corrupt);
  EXPECT_NE(opened.error().message.find("move it away"), std::string::npos);
}

TEST_F(JournalTest, ADamagedPageIsFoundAtOpening) {
  {
    Journal journal(options());
    ASSERT_TRUE(loop_.run(journal.open()));
    ASSERT_TRUE(loop_.run(journal.open_inbox("eu-west")));
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(loop_.run(journal.publish(one(message(std::string(3000, 'b'))))));
    }
    loop_.run(journal.close());
  }
  {
    std::fstream damaged(file(), std::ios::in | std::ios::out | std::ios::binary);
    for (int page = 2; page < 12; ++page) {
      damaged.seekp(page * 4096);
      damaged << std::string(64, '\xff');
    }
  }
  Journal journal(options());
  auto opened = loop_.run(journal.open());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::corrupt) << opened.error().message;
}

TEST_F(JournalTest, ANewerVersionIsRefused) {
  {
    Journal journal(options());
    ASSERT_TRUE(loop_.run(journal.open()));
  }
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(file().c_str(), &handle), SQLITE_OK);
  sqlite3_exec(handle, "PRAGMA user_version=99", nullptr, nullptr, nullptr);
  sqlite3_close(handle);
  Journal journal(options());
  auto opened = loop_.run(journal.open());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::invalid);
  EXPECT_NE(opened.error().message.find("newer"), std::string::npos);
}

TEST_F(JournalTest, ARemovedTargetKeepsNothing) {
  Journal journal(options());
  ASSERT_TRUE(loop_.run(journal.open()));
  auto kept = loop_.run(journal.open_inbox("kept"));
  {
    auto removed = loop_.run(journal.open_inbox("removed"));
  }
  ASSERT_TRUE(loop_.run(journal.publish(one(message("a")))));
  ASSERT_TRUE(loop_.run(journal.publish(one(message("b")))));
  auto got = loop_.run((*kept)->fetch(1));
  (*kept)->acknowledge(got->front());
  ASSERT_TRUE(loop_.run(journal.forget_other_inboxes({"kept"})));
  // A consumer made now starts with the oldest message still kept: "a" is gone.
  auto fresh = loop_.run(journal.open_inbox("fresh"));
  got = loop_.run((*fresh)->fetch(10));
  ASSERT_EQ(got->size(), 1U);
  EXPECT_EQ(got->front().message.body, "b");
}

TEST_F(JournalTest, TheWallClockDecidesWhatIsADuplicate) {
  std::atomic<std::int64_t> seconds{1'800'000'000};
  JournalOptions with_clock = options();
  with_clock.clock = [&seconds] { return Clock::time_point(std::chrono::seconds(seconds)); };
  Journal journal(with_clock);
  ASSERT_TRUE(loop_.run(journal.open()));
  const auto publish = [&] {
    return loop_.run(journal.publish(one(message("m", "same"))))->front();
  };
  EXPECT_EQ(publish(), Published::stored);
  seconds += 119;
  EXPECT_EQ(publish(), Published::duplicate);
  seconds += 1;
  EXPECT_EQ(publish(), Published::stored);
  seconds -= 60;  // a clock that is set back a little
  EXPECT_EQ(publish(), Published::duplicate);
  auto inbox = loop_.run(journal.open_inbox("eu-west"));
  EXPECT_EQ(loop_.run((*inbox)->fetch(1))->front().stored_at,
            Clock::time_point(std::chrono::seconds(1'800'000'000)));
}

TEST_F(JournalTest, TheFileShrinksAgain) {
  Journal journal(options());
  ASSERT_TRUE(loop_.run(journal.open()));
  auto inbox = loop_.run(journal.open_inbox("eu-west"));
  for (int i = 0; i < 40; ++i) {
    std::vector<Message> many;
    for (int j = 0; j < 100; ++j) many.push_back(message(std::string(4000, 'x')));
    ASSERT_TRUE(loop_.run(journal.publish(std::move(many))));
  }
  const auto all_bytes = [this] {
    std::uintmax_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(options().directory)) {
      bytes += entry.file_size();
    }
    return bytes;
  };
  EXPECT_GT(all_bytes(), 16U << 20U);
  for (std::size_t seen = 0; seen < 4000;) {
    auto got = loop_.run((*inbox)->fetch(500));
    ASSERT_TRUE(got);
    for (const Delivery& delivery : *got) (*inbox)->acknowledge(delivery);
    seen += got->size();
  }
  ASSERT_EQ(loop_.run((*inbox)->backlog())->messages, 0U);
  loop_.run_until([&] { return all_bytes() < 12U << 20U; });
}

// What the child has been told is durable, it writes to a pipe; then it is killed at a random
// moment.
TEST_F(JournalTest, NothingAcknowledgedIsLostByAKill) {
  int published = 0;
  for (int round = 0; round < 5; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      Loop loop;
      Journal journal(options());
      if (!loop.run(journal.open()) || !loop.run(journal.open_inbox("eu-west"))) ::_exit(1);
      for (int i = 0;; ++i) {
        const std::string body = std::to_string(round) + "/" + std::to_string(i);
        if (!loop.run(journal.publish(one(message(body))))) ::_exit(1);
        if (::write(pipe_ends[1], (body + "\n").data(), body.size() + 1) < 0) ::_exit(1);
      }
    }
    ::close(pipe_ends[1]);
    std::string told;
    char some[256];
    const std::size_t enough = 40U + static_cast<std::size_t>(round) * 117U;
    while (told.size() < enough) {
      const auto n = ::read(pipe_ends[0], some, sizeof(some));
      ASSERT_GT(n, 0);
      told.append(some, static_cast<std::size_t>(n));
    }
    ::kill(child, SIGKILL);
    for (ssize_t n; (n = ::read(pipe_ends[0], some, sizeof(some))) > 0;) {
      told.append(some, static_cast<std::size_t>(n));
    }
    ::close(pipe_ends[0]);
    ::waitpid(child, nullptr, 0);

    Journal journal(options());
    ASSERT_TRUE(loop_.run(journal.open()));
    auto inbox = loop_.run(journal.open_inbox("eu-west"));
    std::set<std::string> there;
    while (loop_.run((*inbox)->backlog())->messages > 0) {
      auto got = loop_.run((*inbox)->fetch(1000));
      for (const Delivery& delivery : *got) {
        there.insert(delivery.message.body);
        (*inbox)->acknowledge(delivery);
      }
    }
    for (std::size_t at = 0, end; (end = told.find('\n', at)) != std::string::npos; at = end + 1) {
      EXPECT_TRUE(there.contains(told.substr(at, end - at))) << told.substr(at, end - at);
      ++published;
    }
    loop_.run(journal.close());
  }
  EXPECT_GT(published, 50);
}

}  // namespace
}  // namespace transship::bus
