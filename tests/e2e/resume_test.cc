// Transfers of a large blob between real registries, interrupted by kill -9 (promise 9).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/link.h"
#include "tests/support/servers.h"

namespace transship::testing {
namespace {

constexpr std::uint64_t mib = 1UL << 20U;
constexpr std::uint64_t block_bytes = 32 * mib;
constexpr std::uint64_t blocks = 32;
constexpr std::uint64_t blob_bytes = blocks * block_bytes;  // 1 GiB

class Resume : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_program("docker-registry")) GTEST_SKIP() << "docker-registry is not installed";
    source_.emplace();
    target_.emplace();
    source_link_.emplace(source_->port());
    target_link_.emplace(target_->port());
    write_file(
        directory_ / "transship.yaml",
        fmt::format("registries:\n"
                    "  source: {{url: 'http://127.0.0.1:{}', limits: {{download_rate: "
                    "150MiB/s}}}}\n"
                    "  target: {{url: 'http://127.0.0.1:{}'}}\n"
                    "state: {}\n"
                    "rules:\n  - {{name: r, source: source, targets: [target], "
                    "repositories: ['team/app']}}\n",
                    source_link_->port(), target_link_->port(), (directory_ / "state").string()));
    push_large();
  }

  // One layer of 1 GiB, pushed in blocks.
  void push_large() {
    const std::string block = noise(1, block_bytes);
    oci::Hasher hasher(oci::Algorithm::sha256);
    const auto started = http("POST", source_->url() + "/v2/team/app/blobs/uploads/");
    std::string location = started.headers.at("location");
    for (std::uint64_t i = 0; i < blocks; ++i) {
      hasher.update(block);
      const auto sent = http("PATCH", location, block, {"Content-Type: application/octet-stream"});
      ASSERT_EQ(sent.status, 202);
      location = sent.headers.at("location");
    }
    const std::string layer = hasher.finish().str();
    ASSERT_EQ(http("PUT", location + "&digest=" + layer).status, 201);
    TestImage image = make_image(1, {});
    auto manifest = nlohmann::json::parse(image.manifest);
    manifest["layers"] = {{{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                           {"digest", layer},
                           {"size", blob_bytes}}};
    image.manifest = manifest.dump();
    push_blobs(source_->url(), "team/app", image);
    push_manifest(source_->url(), "team/app", "v1", image);
    digest_ = image.digest();
  }

  [[nodiscard]] Process sync() {
    return Process(
        {TRANSSHIP_PROGRAM, "sync", "--config", (directory_ / "transship.yaml").string()},
        directory_ / "log");
  }
  [[nodiscard]] bool is_there() const {
    return digest_at(target_->url(), "team/app", "v1") == digest_;
  }

  std::optional<DockerRegistry> source_;
  std::optional<DockerRegistry> target_;
  std::optional<Link> source_link_;
  std::optional<Link> target_link_;
  TemporaryDirectory directory_;
  std::string digest_;
};

// docker-registry can go on with an upload only where it was left between two chunks. While the
// source gives nothing, no chunk is under way.
TEST_F(Resume, AfterKillMinusNineNoMoreThanATenthIsReadOrSentAgain) {
  for (const std::uint64_t after : {200 * mib, 600 * mib, 900 * mib}) {
    Process process = sync();
    ASSERT_TRUE(
        eventually([&] { return source_link_->bytes_from() > after; }, std::chrono::minutes(2)))
        << read_file(directory_ / "log");
    source_link_->hold();
    std::uint64_t before = 0;
    int still = 0;
    ASSERT_TRUE(eventually([&] {  // everything that had come has gone on, and was answered
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      const std::uint64_t now = target_link_->bytes_to() + target_link_->bytes_from();
      still = now == std::exchange(before, now) ? still + 1 : 0;
      return still == 10;
    }));
    ASSERT_TRUE(process.running());
    process.kill();
    source_link_->release();
    EXPECT_FALSE(is_there());
  }
  Process process = sync();
  EXPECT_EQ(process.wait(std::chrono::minutes(3)), 0) << read_file(directory_ / "log");
  EXPECT_TRUE(is_there());
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
  const std::uint64_t allowed = blob_bytes + 3 * blob_bytes / 10;
  EXPECT_LT(source_link_->bytes_from(), allowed + 16 * mib);
  EXPECT_LT(target_link_->bytes_to(), allowed + 16 * mib);
}

// Wherever it strikes: the image is whole in the end, and its tag absent until then.
TEST_F(Resume, AKillAtAnyMomentLeavesNothingHalf) {
  for (const int milliseconds : {300, 700, 1100, 150}) {
    Process process = sync();
    static_cast<void>(process.wait(std::chrono::seconds(0)));
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
    ASSERT_TRUE(eventually([&] { return std::chrono::steady_clock::now() > until; }));
    process.kill();
    if (is_there()) {
      EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
    }
  }
  Process process = sync();
  EXPECT_EQ(process.wait(std::chrono::minutes(3)), 0) << read_file(directory_ / "log");
  EXPECT_TRUE(is_there());
  EXPECT_EQ(incompleteness(target_->url(), "team/app", "v1"), "");
}

}  // namespace
}  // namespace transship::testing
