#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <asio.hpp>

#include "config/reader.h"
#include "daemon/generation.h"

namespace transship {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class GenerationTest : public ::testing::Test {
 protected:
  static config::Config read(const std::string& text) {
    auto config = config::read_text(text, "test");
    if (!config) throw std::runtime_error(to_string(config.error().front()));
    return std::move(*config);
  }
  static std::string registries(const std::string& more_of_b = {}) {
    return "registries:\n  a: {url: 'http://127.0.0.1:1'}\n  b: {url: 'http://127.0.0.1:2'" +
           more_of_b + "}\n";
  }
  static std::string rule(const std::string& name, const std::string& repositories = "'**'") {
    return "  - {name: " + name + ", source: a, targets: [b], repositories: " + repositories +
           "}\n";
  }
  std::shared_ptr<Generation> first(const std::string& text) {
    return std::make_shared<Generation>(read(text), client, observer, nullptr);
  }

  asio::io_context loop;
  http::Client client{loop.get_executor(), "test"};
  Observer observer;
};

TEST_F(GenerationTest, SharesWhatDidNotChange) {
  const auto before = first(registries() + "rules:\n" + rule("r"));
  Target& target = before->fleet.target("b");
  Generation same(read(registries() + "rules:\n" + rule("s")), *before);
  EXPECT_EQ(&same.fleet.registry("a"), &before->fleet.registry("a"));
  EXPECT_EQ(&same.fleet.target("b"), &target) << "with what was learnt of it";
  Generation limited(read(registries(", limits: {connections: 3}") + "rules:\n" + rule("r")),
                     *before);
  EXPECT_EQ(&limited.fleet.registry("a"), &before->fleet.registry("a"));
  EXPECT_NE(&limited.fleet.registry("b"), &before->fleet.registry("b"));
  EXPECT_NE(&limited.fleet.target("b"), &target);
  Generation region(read(registries(", region: eu") + "rules:\n" + rule("r")), *before);
  EXPECT_EQ(&region.fleet.registry("b"), &before->fleet.registry("b"));
}

TEST_F(GenerationTest, KnowsWhichPairsAreNewAndGone) {
  const auto before =
      first(registries() + "rules:\n" + rule("kept") + rule("wider", "'x/**'") + rule("gone"));
  const Generation after(
      read(registries() + "rules:\n" + rule("kept") + rule("wider") + rule("new")), *before);
  EXPECT_THAT(pairs_that_are_new(*before, after),
              ElementsAre(monitoring::Pair{"wider", "a", "b"}, monitoring::Pair{"new", "a", "b"}));
  EXPECT_THAT(pairs_that_are_gone(*before, after), ElementsAre(monitoring::Pair{"gone", "a", "b"}));
}

TEST_F(GenerationTest, WhoKeepsOneKeepsTheLaterOnesToo) {
  Generations generations(first(registries() + "rules:\n" + rule("r")));
  const auto kept = generations.now();
  const config::Config* second = nullptr;
  std::weak_ptr<Generation> watched;
  {
    auto next = std::make_shared<Generation>(read(registries() + "rules:\n" + rule("s")), *kept);
    watched = next;
    generations.replace(std::move(next));
    second = &generations.config();
    generations.replace(
        std::make_shared<Generation>(read(registries() + "rules:\n" + rule("t")), *kept));
  }
  ASSERT_FALSE(watched.expired());
  EXPECT_EQ(second->rules.front().name, "s");
  EXPECT_EQ(generations.config().rules.front().name, "t");
  EXPECT_EQ(kept->config.rules.front().name, "r");
}

TEST(KeysThatNeedARestart, AreNamed) {
  const config::Config before;
  config::Config after = before;
  EXPECT_THAT(keys_that_need_a_restart(before, after), IsEmpty());
  after.http.listen.port = 1;
  after.state = "/elsewhere";
  after.shutdown = std::chrono::seconds(1);
  EXPECT_THAT(keys_that_need_a_restart(before, after), ElementsAre("http", "state"));
  after.region = "eu";
  after.bus = config::JetStreamBus{};
  EXPECT_THAT(keys_that_need_a_restart(before, after),
              ElementsAre("region", "bus", "http", "state"));
}

}  // namespace
}  // namespace transship
