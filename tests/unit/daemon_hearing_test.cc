#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <asio.hpp>
#include <functional>

#include "config/reader.h"
#include "daemon/hearing.h"

namespace transship {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const monitoring::Pair pair{"r", "a", "b"};

monitoring::Time at(int second) { return monitoring::Time(seconds(1'000'000 + second)); }

// It is there, or not, and takes nothing while it is full.
class FakeBus final : public bus::Bus {
 public:
  bool there = true;
  bool full = false;
  std::uint64_t lost = 0;

  asio::awaitable<Result<void>> open() override { co_return Result<void>{}; }
  asio::awaitable<Result<std::vector<bus::Published>>> publish(
      std::vector<bus::Message> messages) override {
    if (full) co_return fail(ErrorKind::transient, "the disk is full");
    co_return std::vector(messages.size(), bus::Published::stored);
  }
  asio::awaitable<Result<std::unique_ptr<bus::Inbox>>> open_inbox(std::string) override {
    co_return fail(ErrorKind::unsupported, "not here");
  }
  asio::awaitable<Result<void>> forget_other_inboxes(std::set<std::string>) override {
    co_return Result<void>{};
  }
  bus::DeadLetters& dead_letters() override { throw std::logic_error("not here"); }
  [[nodiscard]] std::size_t max_message_bytes() const override { return 1U << 20U; }
  [[nodiscard]] bool connected() const override { return there; }
  [[nodiscard]] std::uint64_t times_lost() const override { return lost; }
  [[nodiscard]] std::string_view type() const override { return "journal"; }
  asio::awaitable<void> close() override { co_return; }
};

class HearingTest : public ::testing::Test {
 protected:
  HearingTest() {
    ledger.reconciled(ledger.add_pair(pair), at(0));
    status.adopt();
    status.set_consumers_ready();
    EXPECT_THAT(hearing.look(at(1)), IsEmpty());
  }
  static config::Config read() {
    return *config::read_text(
        "registries:\n  a: {url: 'http://127.0.0.1:1'}\n  b: {url: 'http://127.0.0.1:2'}\n"
        "rules:\n  - {name: r, source: a, targets: [b], repositories: '**'}\n",
        "test");
  }
  int post_a_push() {
    HttpRequest request;
    request.method = "POST";
    request.body = R"({"events":[{"id":"1","timestamp":"2026-01-02T03:04:05Z","action":"push",
        "target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","repository":"x",
        "tag":"v1","digest":"sha256:)" +
                   std::string(64, 'a') + R"("}}]})";
    int code = 0;
    asio::co_spawn(
        loop, intake.take(*generations.config().find_registry("a"), {}, request),
        [&](const std::exception_ptr&, const HttpResponse& response) { code = response.status; });
    loop.run();
    loop.restart();
    return code;
  }
  void run_until(const std::function<bool()>& condition) {
    loop.restart();
    while (!condition() && loop.run_one() > 0) {
    }
    ASSERT_TRUE(condition());
  }
  std::optional<monitoring::Time> until(int second) {
    return ledger.report(at(second)).at(0).replicated_until;
  }

  asio::io_context loop;
  http::Client client{loop.get_executor(), "test"};
  Observer observer;
  FakeBus bus;
  monitoring::Ledger ledger;
  monitoring::Metrics metrics{"0", ""};
  Generations generations{std::make_shared<Generation>(read(), client, observer, nullptr)};
  Status status{generations, bus, ledger, metrics};
  Intake intake{bus, status, metrics, "instance", [](const BlobHint&) { return false; }};
  bool answers = false;
  Outages outages{loop.get_executor(),
                  generations.config().retry.for_daemon(),
                  {[this](const std::string&) -> asio::awaitable<Result<void>> {
                     Error error;
                     error.unanswered = true;
                     if (answers) co_return Result<void>{};
                     co_return fail(std::move(error));
                   },
                   [this](asio::awaitable<void> part) {
                     asio::co_spawn(loop, std::move(part), asio::detached);
                   },
                   [](const std::string&, bool) {}}};
  Hearing hearing{{generations, bus, intake, outages, status, ledger}};
};

TEST_F(HearingTest, TheBusWasAway) {
  bus.there = false;
  EXPECT_THAT(hearing.look(at(5)), IsEmpty());
  EXPECT_EQ(until(9), at(1)) << "it was there at the look before";
  bus.there = true;
  EXPECT_THAT(hearing.look(at(10)), ElementsAre(pair));
  EXPECT_THAT(hearing.look(at(11)), IsEmpty()) << "once is enough";
  EXPECT_EQ(until(20), at(1)) << "until somebody has looked";
}

TEST_F(HearingTest, TheBusWasAwayBetweenTwoLooks) {
  ++bus.lost;
  EXPECT_THAT(hearing.look(at(5)), IsEmpty());
  EXPECT_EQ(until(9), at(1));
  EXPECT_THAT(hearing.look(at(6)), ElementsAre(pair));
}

TEST_F(HearingTest, IntakeRefusedAnEvent) {
  EXPECT_EQ(post_a_push(), 202);
  EXPECT_THAT(hearing.look(at(2)), IsEmpty());
  EXPECT_EQ(until(9), at(8));
  bus.full = true;
  EXPECT_TRUE(status.bus_works());
  EXPECT_EQ(post_a_push(), 503);
  EXPECT_FALSE(status.bus_works()) << "though it is there";
  EXPECT_TRUE(status.takes_events()) << "how else would it be known that it works again?";
  EXPECT_THAT(hearing.look(at(3)), IsEmpty());
  EXPECT_EQ(until(9), at(2));
  bus.full = false;
  EXPECT_EQ(post_a_push(), 202);
  EXPECT_TRUE(status.bus_works());
  EXPECT_THAT(hearing.look(at(4)), ElementsAre(pair));
}

TEST_F(HearingTest, TheSourceDoesNotAnswer) {
  status.set_reachable("a");
  outages.suspect("a");
  run_until([&] { return outages.is_out("a"); });
  EXPECT_THAT(hearing.look(at(5)), IsEmpty());
  EXPECT_EQ(until(9), at(5)) << "its last answer, or the look before, whichever was first";
  answers = true;
  run_until([&] { return !outages.is_out("a"); });
  EXPECT_THAT(hearing.look(at(6)), ElementsAre(pair));
  answers = false;
  outages.suspect("b");
  run_until([&] { return outages.is_out("b"); });
  EXPECT_THAT(hearing.look(at(7)), IsEmpty()) << "a target is told of nothing";
  outages.stop();
  loop.restart();
  loop.run();
}

}  // namespace
}  // namespace transship
