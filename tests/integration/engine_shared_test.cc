#include "tests/integration/engine_fixture.h"

// What several targets lack is read from the source once (promise 8), and what a registry asks for
// when it is asked too much.
namespace transship {

namespace {

using testing::EngineTest;
using testing::HostReply;
using testing::HostRequest;
using testing::MemoryRegistry;
using testing::TestImage;

constexpr std::uint64_t mib = 1UL << 20U;

class EngineSharedTest : public EngineTest {
 protected:
  using Copying = std::shared_ptr<testing::Loop::Running<Result<ImageResult>>>;
  Copying begin(registry::Registry& from, MemoryRegistry& target, const std::string& name) {
    registry::Registry& to = connect(name, target.url());
    return loop_.start(copy_image(job(from, "app:v1", target_of(to), "app")));
  }
  static std::uint64_t size_of(const TestImage& image) {
    std::uint64_t bytes = 0;
    for (const auto& [digest, content] : image.blobs) bytes += content.size();
    return bytes;
  }
};

TEST_F(EngineSharedTest, ThreeTargetsReadTheSourceOnce) {
  MemoryRegistry source;
  std::array<MemoryRegistry, 3> targets;
  const TestImage image = testing::make_image(1, {3 * mib, 24 * mib, 500});
  source.hold("app", "v1", image);
  registry::Registry& from = connect("source", source.url());
  std::vector<Copying> copies;
  for (std::size_t i = 0; i < targets.size(); ++i)
    copies.push_back(begin(from, targets.at(i), "target" + std::to_string(i)));
  for (auto& copy : copies) {
    const auto result = loop_.await(copy);
    ASSERT_TRUE(result) << result.error().message;
  }
  for (auto& target : targets) EXPECT_EQ(target.digest_of("app", "v1"), image.digest());
  EXPECT_LE(source.blob_bytes_served(), size_of(image) * 102 / 100);
  EXPECT_EQ(source.count("GET", "/blobs/"), 4U);
}

TEST_F(EngineSharedTest, ATargetThatComesALittleLaterReadsNothingEither) {
  MemoryRegistry source;
  std::array<MemoryRegistry, 2> targets;
  const TestImage image = testing::make_image(1, {2 * mib, 20 * mib});
  source.hold("app", "v1", image);
  targets[1].set_distortion([](const HostRequest&, HostReply& reply) {
    reply.delay = std::chrono::milliseconds(60);  // far away
  });
  registry::Registry& from = connect("source", source.url());
  auto first = begin(from, targets[0], "near");
  auto second = begin(from, targets[1], "far");
  ASSERT_TRUE(loop_.await(first));
  ASSERT_TRUE(loop_.await(second));
  EXPECT_LE(source.blob_bytes_served(), size_of(image) * 102 / 100);
}

TEST_F(EngineSharedTest, ATargetThatFailsDoesNotDisturbTheOther) {
  MemoryRegistry source;
  std::array<MemoryRegistry, 2> targets;
  const TestImage image = testing::make_image(1, {20 * mib});
  source.hold("app", "v1", image);
  targets[1].set_watch([](const HostRequest& request) { return request.body.size() < mib; });
  registry::Registry& from = connect("source", source.url());
  auto good = begin(from, targets[0], "good");
  auto bad = begin(from, targets[1], "bad");
  const auto copied = loop_.await(good);
  EXPECT_TRUE(copied) << copied.error().message;
  EXPECT_FALSE(loop_.await(bad));
  EXPECT_EQ(targets[0].digest_of("app", "v1"), image.digest());
}

TEST_F(EngineSharedTest, ATargetThatStallsHoldsTheOtherBackForAMomentOnly) {
  MemoryRegistry source;
  std::array<MemoryRegistry, 2> targets;
  const TestImage image = testing::make_image(1, {48 * mib});
  source.hold("app", "v1", image);
  std::atomic<bool> go_on{false};
  targets[1].set_watch([&](const HostRequest& request) {
    while (request.body.size() > 4 * mib && !go_on)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return true;
  });
  registry::Registry& from = connect("source", source.url());
  auto quick = begin(from, targets[0], "quick");
  auto slow = begin(from, targets[1], "slow");
  const auto copied = loop_.await(quick);  // while the other one stands still
  EXPECT_TRUE(copied) << copied.error().message;
  go_on = true;
  const auto late = loop_.await(slow);
  EXPECT_TRUE(late) << late.error().message;
  EXPECT_EQ(targets[1].digest_of("app", "v1"), image.digest());
  EXPECT_LE(source.blob_bytes_served(), 2 * size_of(image));
}

TEST_F(EngineSharedTest, ACopyThatIsCancelledLeavesTheReadingToTheOther) {
  MemoryRegistry source;
  std::array<MemoryRegistry, 2> targets;
  const TestImage image = testing::make_image(1, {30 * mib});
  source.hold("app", "v1", image);
  registry::Registry& from = connect("source", source.url());
  auto first = begin(from, targets[0], "first");
  auto second = begin(from, targets[1], "second");
  ASSERT_TRUE(loop_.run_until([&] { return source.blob_bytes_served() > 5 * mib; }));
  first->cancel();
  const auto copied = loop_.await(second);
  EXPECT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(targets[1].digest_of("app", "v1"), image.digest());
  ASSERT_TRUE(loop_.run_until([&] { return first->done(); }));
}

TEST_F(EngineSharedTest, ARegistryThatIsAskedTooMuchIsAskedLess) {
  MemoryRegistry source;
  MemoryRegistry target;
  std::vector<std::string> layers;
  for (std::uint64_t i = 0; i < 60; ++i) layers.push_back(testing::noise(i, 100));
  const TestImage image = testing::make_image_of(layers, 5);
  source.hold("app", "v1", image);
  // Allows 10 requests at once, then asks for a pause.
  auto counted = std::make_shared<int>(0);
  auto since = std::make_shared<std::chrono::steady_clock::time_point>();
  auto refused = std::make_shared<int>(0);
  auto mutex = std::make_shared<std::mutex>();
  target.set_fault([=](const HostRequest&) -> std::optional<HostReply> {
    const std::lock_guard lock(*mutex);
    const auto now = std::chrono::steady_clock::now();
    if (now - *since > std::chrono::milliseconds(200)) {
      *since = now;
      *counted = 0;
    }
    if (++*counted <= 10) return std::nullopt;
    ++*refused;
    return HostReply{429, {{"Retry-After", "1"}}, "{}"};
  });
  registry::Registry& from = connect("source", source.url());
  registry::Registry& to = connect("target", target.url());
  const auto copied = loop_.run(copy_image(job(from, "app:v1", target_of(to), "app")));
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_LT(*refused, 70);  // of more than 120 requests that had to come through
}

}  // namespace

}  // namespace transship
