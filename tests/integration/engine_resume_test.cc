#include <filesystem>

#include "replicator/blob_send.h"
#include "tests/integration/engine_fixture.h"

// Transfers that break, and go on (promise 9): what a large blob costs when they do.
namespace transship {

namespace {

using testing::EngineTest;
using testing::HostReply;
using testing::HostRequest;
using testing::MemoryRegistry;
using testing::TestImage;

constexpr std::uint64_t mib = 1UL << 20U;
constexpr std::uint64_t layer_bytes = 40 * mib;
constexpr std::uint64_t bound = 16 * mib;  // of what one interruption may cost

class EngineResumeTest : public EngineTest {
 protected:
  void TearDown() override {
    targets_.clear();
    commons_.reset();
    std::error_code error;
    std::filesystem::remove_all(state_path_, error);
  }

  // What a process that starts anew knows: what is in the state directory.
  void restart() {
    targets_.clear();
    commons_ =
        std::make_unique<Commons>(loop_.executor(), std::make_unique<StateDirectory>(state_path_));
  }

  Result<ImageResult> copy(MemoryRegistry& source, MemoryRegistry& target,
                           std::size_t connections = 32) {
    registry::Registry& from =
        connect("source", source.url(), EngineTest::connections(connections));
    registry::Registry& to = connect("target", target.url(), EngineTest::connections(connections));
    return loop_.run(copy_image(job(from, "app:v1", target_of(to), "app")));
  }

  const TestImage image_ = testing::make_image(7, {layer_bytes});
  std::filesystem::path state_path_ =
      std::filesystem::temp_directory_path() / ("transship-test-" + std::to_string(::getpid()));
};

template <class T, class V>
MemoryRegistry::Traits with(T MemoryRegistry::Traits::* trait, V value) {
  MemoryRegistry::Traits traits;
  traits.*trait = value;
  return traits;
}

// Cuts each GET of a large blob after so many bytes, the first `times` times.
MemoryRegistry::Distortion cuts_downloads(int times, std::size_t after) {
  return
      [left = std::make_shared<int>(times), after](const HostRequest& request, HostReply& reply) {
        if (request.method != "GET" || reply.body.size() < after || *left == 0) return;
        --*left;
        reply.cut_after = after;
      };
}

// Cuts the n-th request that brings a part of a blob after so many bytes.
testing::HttpHost::Watch cuts_upload(int number, std::size_t after) {
  auto seen = std::make_shared<int>(0);
  auto mutex = std::make_shared<std::mutex>();
  return [=, last = std::make_shared<std::size_t>(0)](const HostRequest& request) {
    if (request.method != "PATCH" && request.method != "PUT") return true;
    const std::lock_guard lock(*mutex);
    if (request.body.size() < *last || *last == 0) ++*seen;
    *last = request.body.size();
    return *seen != number || request.body.size() < after;
  };
}

TEST_F(EngineResumeTest, ALargeBlobGoesInChunks) {
  MemoryRegistry source;
  MemoryRegistry target;
  source.hold("app", "v1", image_);
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
  EXPECT_GE(target.count("PATCH"), 3U);
  EXPECT_EQ(source.blob_bytes_served(), target.blob_bytes_received());
}

TEST_F(EngineResumeTest, ABrokenDownloadGoesOn) {
  MemoryRegistry source;
  MemoryRegistry target;
  source.hold("app", "v1", image_);
  source.set_distortion(cuts_downloads(3, 9 * mib));
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
  EXPECT_EQ(target.most_sends_of_one_blob(), 1U);
  std::size_t ranged = 0;
  for (const auto& request : source.seen()) ranged += request.headers.contains("range") ? 1 : 0;
  EXPECT_GE(ranged, 3U);
  EXPECT_LT(target.blob_bytes_received(), layer_bytes + mib);  // nothing was sent twice
}

TEST_F(EngineResumeTest, ASourceWithoutRangesIsReadAgainAndNothingIsSentTwice) {
  MemoryRegistry source(with(&MemoryRegistry::Traits::ranges, false));
  MemoryRegistry target;
  source.hold("app", "v1", image_);
  source.set_distortion(cuts_downloads(1, 9 * mib));
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_LT(target.blob_bytes_received(), layer_bytes + mib);
}

TEST_F(EngineResumeTest, ASourceThatBreaksWithoutProgressIsAnError) {
  MemoryRegistry source;
  MemoryRegistry target;
  source.hold("app", "v1", image_);
  source.set_distortion(cuts_downloads(1000, mib / 2));
  const auto copied = copy(source, target);
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::transient);
  EXPECT_LT(source.count("GET", "/blobs/"), 5U);
  EXPECT_EQ(target.digest_of("app", "v1"), "");
}

TEST_F(EngineResumeTest, ABrokenUploadGoesOnWhereTheTargetStands) {
  MemoryRegistry source;
  MemoryRegistry target;
  source.hold("app", "v1", image_);
  target.set_watch(cuts_upload(3, 2 * mib));
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
  EXPECT_EQ(target.count("POST", "/blobs/uploads/"), 2U);  // of the config, and of the layer
  EXPECT_LT(target.blob_bytes_received(), layer_bytes + bound);
  EXPECT_LT(source.blob_bytes_served(), layer_bytes + bound);
  EXPECT_GE(observer_.retries["resume"], 1U);
}

TEST_F(EngineResumeTest, WhereAnUploadCannotGoOnOnlyThatBlobStartsAgain) {
  MemoryRegistry source;
  MemoryRegistry target(with(&MemoryRegistry::Traits::keeps_broken_chunks, false));
  source.hold("app", "v1", image_);
  target.set_watch(cuts_upload(3, 2 * mib));
  const auto broken = copy(source, target);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().kind, ErrorKind::transient);
  EXPECT_NE(broken.error().message.find("cannot go on"), std::string::npos);
  target.set_watch(nullptr);
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(copied->blobs.copied, 1U);  // the config was there
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
}

TEST_F(EngineResumeTest, AnUploadGoesOnInTheNextProcess) {
  MemoryRegistry source;
  MemoryRegistry target;
  source.hold("app", "v1", image_);
  restart();
  // The process is gone while the layer is on its way: nothing of it runs to an end.
  std::atomic<bool> reached{false};
  target.set_watch([&](const HostRequest& request) {
    if (request.method == "PATCH" && target.blob_bytes_received() > 20 * mib) reached = true;
    return !reached;
  });
  registry::Registry& from = connect("source", source.url());
  registry::Registry& to = connect("target", target.url());
  auto running = loop_.start(copy_image(job(from, "app:v1", target_of(to), "app")));
  ASSERT_TRUE(loop_.run_until([&] { return reached.load() || running->done(); }));
  running->cancel();
  ASSERT_TRUE(loop_.run_until([&] { return running->done(); }));
  restart();
  target.set_watch(nullptr);
  const auto received = target.blob_bytes_received();
  const auto served = source.blob_bytes_served();
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
  EXPECT_LT(target.blob_bytes_received() - received, layer_bytes - 20 * mib + bound);
  EXPECT_LT(source.blob_bytes_served() - served, layer_bytes - 20 * mib + bound);
  EXPECT_EQ(observer_.blobs[BlobOutcome::resumed], 1U);
  restart();  // everything is written
  EXPECT_TRUE(std::filesystem::is_empty(state_path_ / "uploads" / "target"));
}

TEST_F(EngineResumeTest, ARememberedUploadThatTheTargetForgotStartsAnew) {
  MemoryRegistry source;
  MemoryRegistry target;
  source.hold("app", "v1", image_);
  restart();
  registry::Registry& to = connect("target", target.url());
  const std::string layer = [&] {
    for (const auto& [digest, bytes] : image_.blobs)
      if (bytes.size() == layer_bytes) return digest;
    return std::string();
  }();
  const auto digest = *oci::Digest::parse(layer);
  target_of(to).uploads().save(
      repository("app"), digest,
      SavedUpload{{*http::Url::parse(target.url() + "/v2/app/blobs/uploads/gone?x=5"), {}, 0},
                  20 * mib,
                  oci::Hasher(digest.algorithm())});
  restart();
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
}

TEST_F(EngineResumeTest, WhatWasSentBeforeAndDoesNotFitIsSentAgain) {
  MemoryRegistry source;
  MemoryRegistry target;
  source.hold("app", "v1", image_);
  // Another process sent other bytes under this session, and wrote down what it believed.
  target.set_watch(cuts_upload(3, 2 * mib));
  registry::Registry& to = connect("target", target.url());
  const auto digest = [&] {
    for (const auto& [name, bytes] : image_.blobs)
      if (bytes.size() == layer_bytes) return *oci::Digest::parse(name);
    return oci::Digest::of("");
  }();
  target.set_watch(nullptr);
  Target& remembered = target_of(to);
  auto started = loop_.run(to.start_blob(repository("app"), digest, std::nullopt));
  ASSERT_TRUE(started);
  auto session = std::get<registry::Registry::UploadSession>(*started);
  const std::string wrong = testing::noise(99, 2 * mib);
  const auto sent =
      loop_.run([](registry::Registry& registry, auto at,
                   std::string bytes) -> asio::awaitable<Result<registry::Registry::Standing>> {
        auto upload =
            co_await registry.send_chunk(*oci::Repository::parse("app"), at, 0, bytes.size());
        const std::size_t size = bytes.size();
        static_cast<void>(
            co_await upload->exchange.write(std::make_shared<const std::string>(std::move(bytes))));
        auto standing = co_await registry.finish_chunk(std::move(*upload),
                                                       *oci::Repository::parse("app"), at, size);
        co_return **standing;
      }(to, session, wrong));
  ASSERT_TRUE(sent);
  oci::Hasher hasher(digest.algorithm());
  hasher.update(wrong);
  remembered.uploads().save(repository("app"), digest, {sent->session, wrong.size(), hasher});
  registry::Registry& from = connect("source", source.url());
  const auto first = loop_.run(copy_image(job(from, "app:v1", remembered, "app")));
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().kind, ErrorKind::transient);
  EXPECT_NE(first.error().message.find("sent again"), std::string::npos);
  EXPECT_EQ(target.digest_of("app", "v1"), "");
  const auto second = loop_.run(copy_image(job(from, "app:v1", remembered, "app")));
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
}

TEST_F(EngineResumeTest, ARegistryWithoutPatchGetsTheBlobInOneRequest) {
  MemoryRegistry source;
  MemoryRegistry target(with(&MemoryRegistry::Traits::chunks, false));
  source.hold("app", "v1", image_);
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
  EXPECT_EQ(target.open_uploads(), 0U);
}

TEST_F(EngineResumeTest, NoChunkIsShorterThanTheRegistryWants) {
  MemoryRegistry source;
  MemoryRegistry target(with(&MemoryRegistry::Traits::chunk_bytes_min, 18 * mib));
  source.hold("app", "v1", image_);
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  std::vector<std::size_t> chunks;
  for (const auto& request : target.seen())
    if (request.method == "PATCH") chunks.push_back(request.body_bytes);
  ASSERT_GE(chunks.size(), 2U);
  for (std::size_t i = 0; i + 1 < chunks.size(); ++i) EXPECT_GE(chunks[i], 18 * mib);
}

TEST_F(EngineResumeTest, ARegistryThatTakesChunksAsAmazonDoesGetsWhatItWants) {
  MemoryRegistry source;
  MemoryRegistry target(with(&MemoryRegistry::Traits::chunks_as_ecr, true));
  source.hold("app", "v1", image_);
  source.set_distortion(
      [](const HostRequest& request, HostReply& reply) {  // slow, so that it is gathered
        if (request.method == "GET" && reply.body.size() > mib)
          reply.per_piece = std::chrono::milliseconds(2);
      });
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
  EXPECT_GE(target.count("PATCH"), 3U);
}

TEST_F(EngineResumeTest, ATokenThatExpiresInTheMiddleCostsNoByteTwice) {
  MemoryRegistry source;
  MemoryRegistry target(with(&MemoryRegistry::Traits::bearer_auth, true));
  source.hold("app", "v1", image_);
  int patches = 0;
  target.set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method != "PATCH" || ++patches != 2) return std::nullopt;
    return HostReply{
        401,
        {{"WWW-Authenticate", "Bearer realm=\"" + target.url() + "/token\",service=\"memory\""}},
        "{}"};
  });
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
}

TEST_F(EngineResumeTest, OneConnectionAtEachSideIsEnough) {
  MemoryRegistry source;
  MemoryRegistry target;
  source.hold("app", "v1", image_);
  source.set_distortion(cuts_downloads(2, 9 * mib));
  target.set_watch(cuts_upload(4, 2 * mib));
  const auto copied = copy(source, target, 1);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
}

TEST_F(EngineResumeTest, ASlowSourceIsReadInSeveralRanges) {
  MemoryRegistry source;
  MemoryRegistry target;
  source.hold("app", "v1", image_);
  source.set_distortion([](const HostRequest& request, HostReply& reply) {
    if (request.method == "GET" && reply.body.size() > mib) {
      reply.piece_bytes = 256UL << 10U;
      reply.per_piece = std::chrono::milliseconds(15);  // some 17 MiB/s
    }
  });
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(target.digest_of("app", "v1"), image_.digest());
  std::size_t ranged = 0;
  for (const auto& request : source.seen()) ranged += request.headers.contains("range") ? 1 : 0;
  EXPECT_GE(ranged, 4U);
  EXPECT_LT(target.blob_bytes_received(), layer_bytes + mib);
}

TEST_F(EngineResumeTest, LocationsAreKeptBetweenRuns) {
  MemoryRegistry source;
  MemoryRegistry target;
  const TestImage small = testing::make_image(3);
  source.hold("app", "v1", small);
  source.hold("other", "v1", small);
  restart();
  ASSERT_TRUE(copy(source, target));
  restart();
  registry::Registry& from = connect("source", source.url());
  registry::Registry& to = connect("target", target.url());
  const auto copied = loop_.run(copy_image(job(from, "other:v1", target_of(to), "other")));
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(copied->blobs.mounted, 3U);
  EXPECT_EQ(copied->blobs.copied, 0U);
}

TEST_F(EngineResumeTest, ALocationThatIsNotTrueAnyMoreCostsARequestAndNoError) {
  MemoryRegistry source;
  MemoryRegistry target;
  const TestImage small = testing::make_image(3);
  source.hold("app", "v1", small);
  restart();
  ASSERT_TRUE(copy(source, target));
  for (const auto& [digest, bytes] : small.blobs) target.drop_blob("app", digest);
  source.hold("app", "v2", testing::make_image_of({testing::noise(3, 100)}, 3));
  source.hold("app", "v1", testing::make_image(3, {1000, 2000, 3000}));
  restart();
  const auto copied = copy(source, target);
  ASSERT_TRUE(copied) << copied.error().message;
}

TEST_F(EngineResumeTest, WhatIsKeptOfARegistryIsNotBelievedOfAnotherOfItsName) {
  MemoryRegistry source;
  MemoryRegistry one;
  MemoryRegistry other;
  const TestImage small = testing::make_image(3);
  source.hold("app", "v1", small);
  restart();
  ASSERT_TRUE(copy(source, one));
  restart();
  registry::Registry& to = connect("target", other.url());
  EXPECT_EQ(target_of(to).locations().size(), 0U);
  restart();
  registry::Registry& again = connect("target", one.url());
  EXPECT_EQ(target_of(again).locations().size(), 3U);
}

}  // namespace

}  // namespace transship
