#include <gtest/gtest.h>

#include "daemon/work_queue.h"

namespace transship {
namespace {

using namespace std::chrono_literals;

class WorkQueueTest : public ::testing::Test {
 protected:
  WorkItem& item(const std::string& tag, int priority = 0, const std::string& source = "us",
                 const std::string& rule = "all", const std::string& repository = "team/app") {
    auto made =
        std::unique_ptr<WorkItem>(new WorkItem{WorkItem::key_of(rule, repository + ":" + tag),
                                               0,
                                               {rule, source, "eu"},
                                               priority,
                                               *oci::Repository::parse(repository),
                                               oci::Reference(*oci::Tag::parse(tag)),
                                               *oci::Repository::parse(repository)});
    return queue.add(std::move(made));
  }
  WorkItem& ready(const std::string& tag, int priority = 0, const std::string& source = "us") {
    WorkItem& made = item(tag, priority, source);
    queue.make_ready(made);
    return made;
  }
  WorkItem& ready_in(const std::string& rule, const std::string& repository,
                     const std::string& tag) {
    WorkItem& made = item(tag, 0, "us", rule, repository);
    queue.make_ready(made);
    return made;
  }
  std::string started() {
    WorkItem* next = queue.start_next();
    return next == nullptr ? "" : next->reference.str();
  }

  WorkQueue queue;
  WorkItem::Clock::time_point begin{};
};

TEST_F(WorkQueueTest, StartsByPriorityThenWhatIsFreshThenInOrder) {
  ready("a");
  ready("b");
  queue.set_fresh(ready("c"));
  ready("d", 5);
  EXPECT_EQ(started(), "d");
  EXPECT_EQ(started(), "c");
  EXPECT_EQ(started(), "a");
  EXPECT_EQ(started(), "b");
  EXPECT_EQ(started(), "");
}

TEST_F(WorkQueueTest, AFloodInOneRepositoryHoldsUpNoOther) {
  for (int i = 0; i < 100; ++i) ready_in("all", "flood", "f" + std::to_string(i));
  EXPECT_EQ(started(), "f0");
  ready_in("all", "calm", "a");
  ready_in("all", "calm", "b");
  EXPECT_EQ(started(), "a");
  EXPECT_EQ(started(), "f1");
  EXPECT_EQ(started(), "b");
  EXPECT_EQ(started(), "f2");
  ready_in("all", "calm", "c");
  EXPECT_EQ(started(), "c") << "what it did not take earlier is not made up for";
  EXPECT_EQ(started(), "f3");
}

TEST_F(WorkQueueTest, SaysWhatWouldWaitLongest) {
  for (int i = 0; i < 5; ++i) ready_in("all", "flood", "f" + std::to_string(i));
  ready_in("all", "calm", "a");
  ready_in("other", "calm", "b");
  ready("urgent", 5);
  queue.make_ready_at(item("later"), begin + 1s);
  std::vector<std::string> last;
  for (const WorkItem* waits : queue.ready_from_last()) last.push_back(waits->reference.str());
  ASSERT_EQ(last.size(), 8U);
  EXPECT_EQ(std::vector(last.begin(), last.begin() + 3),
            (std::vector<std::string>{"f4", "f3", "f2"}));
  EXPECT_EQ(last.back(), "urgent");
}

TEST_F(WorkQueueTest, AFloodByOneRuleHoldsUpNoOther) {
  for (int i = 0; i < 100; ++i)
    ready_in("flood", "team/" + std::to_string(i), "f" + std::to_string(i));
  EXPECT_EQ(started(), "f0");
  ready_in("calm", "other", "a");
  ready_in("calm", "other", "b");
  EXPECT_EQ(started(), "a");
  EXPECT_EQ(started(), "f1");
  EXPECT_EQ(started(), "b");
  // One that always has just one image more takes no more than its turn.
  int floods = 0;
  for (int i = 0; i < 10; ++i) {
    ready_in("calm", "other", "c" + std::to_string(i));
    floods += started().starts_with("f") ? 1 : 0;
  }
  EXPECT_EQ(floods, 5);
}

TEST_F(WorkQueueTest, WhatReconciliationFoundTakesNoTurnOfAPush) {
  for (int i = 0; i < 10; ++i) ready_in("all", "busy", "r" + std::to_string(i));
  for (int i = 0; i < 10; ++i) queue.set_fresh(ready_in("all", "other", "p" + std::to_string(i)));
  queue.set_fresh(ready_in("all", "busy", "push"));
  EXPECT_EQ(started(), "p0");
  EXPECT_EQ(started(), "push");
}

TEST_F(WorkQueueTest, NeverRunsTwoForOneTagOfTheTarget) {
  WorkItem& one = item("a");
  WorkItem& two = item("a", 0, "us", "other");
  queue.make_ready(one);
  queue.make_ready(two);
  EXPECT_EQ(queue.start_next(), &one);
  EXPECT_EQ(queue.start_next(), nullptr);
  queue.ended(one);
  EXPECT_EQ(queue.start_next(), &two);
}

TEST_F(WorkQueueTest, DelaysUntilItIsTime) {
  WorkItem& later = item("a");
  queue.make_ready_at(later, begin + 5s);
  queue.make_ready_at(item("b"), begin + 2s);
  EXPECT_EQ(queue.next_due(), begin + 2s);
  queue.pass_time(begin + 4s);
  EXPECT_EQ(started(), "b");
  EXPECT_EQ(started(), "");
  queue.make_ready(later);  // a push: at once
  EXPECT_EQ(queue.next_due(), std::nullopt);
  EXPECT_EQ(started(), "a");
}

TEST_F(WorkQueueTest, HoldsWhatNeedsARegistryThatIsAwayAndLetsAllGoOnInOrder) {
  ready("a");
  ready("b", 0, "ap");
  ready("c");
  queue.hold("us");
  EXPECT_EQ(started(), "b") << "of a source that answers";
  EXPECT_EQ(started(), "");
  WorkItem& pushed_late = ready("d");
  EXPECT_EQ(started(), "");
  EXPECT_EQ(pushed_late.state, WorkItem::State::held);
  EXPECT_EQ(queue.held_for("us").size(), 3u);
  queue.release("us");
  EXPECT_EQ(started(), "a");
  EXPECT_EQ(started(), "c");
  EXPECT_EQ(started(), "d");
}

TEST_F(WorkQueueTest, WhatFailedByTheOutageWaitsForItsEndAndNotForItsPause) {
  WorkItem& failed = item("a");
  failed.unanswered = 3;
  WorkItem& refused = item("b");
  refused.attempts = 1;
  queue.hold("eu");
  queue.make_ready_at(failed, begin + 300s);
  queue.make_ready_at(refused, begin + 300s);
  EXPECT_EQ(started(), "");
  queue.release("eu");
  EXPECT_EQ(started(), "a");
  EXPECT_EQ(failed.unanswered, 0u);
  EXPECT_EQ(started(), "") << "it was answered, and keeps its pause";
}

TEST_F(WorkQueueTest, AnItemThatGoesLeavesItsLine) {
  WorkItem& gone = ready("a");
  queue.hold("us");
  EXPECT_EQ(started(), "");
  queue.remove(gone);
  queue.release("us");
  EXPECT_EQ(started(), "");
  EXPECT_EQ(queue.size(), 0u);
}

}  // namespace
}  // namespace transship
