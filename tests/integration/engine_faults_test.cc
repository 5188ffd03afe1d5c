#include <fmt/format.h>

#include <mutex>
#include <random>

#include "replicator/blob_copy.h"
#include "tests/integration/engine_fixture.h"

// Sources and targets that fail, lie or stop: the error has the right kind, and the target never
// shows a tag for what it has not got.
namespace transship::testing {
namespace {

using std::chrono::milliseconds;

class EngineFaultsTest : public EngineTest {
 protected:
  void SetUp() override { from_.hold("a", "v1", image_); }

  static bool is_blob_get(const HostRequest& request) {
    return request.method == "GET" && request.path.find("/blobs/") != std::string::npos;
  }
  bool is_layer_get(const HostRequest& request) const {
    return is_blob_get(request) && request.path.ends_with(layer_);
  }
  static HostReply hang_up() {
    HostReply reply;
    reply.hang_up = true;
    return reply;
  }
  Result<ImageResult> copy() {
    Options options;
    options.timeouts.stall = stall_;
    auto& source = connect("source", from_.url(), options);
    // One blob after the other: of a session that is being opened when its copy is given up, nobody
    // learns.
    auto& target = target_of(connect("target", to_.url(), options), 1);
    return loop_.run(copy_image(job(source, "a:v1", target, "a")));
  }
  // The copy fails with this kind; nothing wrong is at the target, and no session is left open.
  void expect_failure(ErrorKind kind) {
    const auto copied = copy();
    ASSERT_FALSE(copied);
    EXPECT_EQ(copied.error().kind, kind) << copied.error().message;
    EXPECT_EQ(to_.digest_of("a", "v1"), "");
    EXPECT_FALSE(to_.has_blob("a", layer_));
    EXPECT_TRUE(loop_.run_until([&] { return to_.open_uploads() == 0; })) << to_.open_uploads();
    EXPECT_EQ(observer_.under_way, 0);
  }
  void expect_success() {
    const auto copied = copy();
    ASSERT_TRUE(copied) << copied.error().message;
    EXPECT_EQ(to_.digest_of("a", "v1"), image_.digest());
    EXPECT_EQ(incompleteness(to_.url(), "a", "v1"), "");
  }

  const std::string content_ = noise(1, 1'000'000);
  const std::string layer_ = oci::Digest::of(content_).str();
  const TestImage image_ = make_image_of({content_}, 1);
  milliseconds stall_{30'000};
  // What faults refer to: a request of a copy that was given up may be served after its test.
  std::mt19937 random_{11};  // NOLINT: the same failures in every run
  std::mutex mutex_;
  std::atomic<int> gets_{0};
  std::atomic<bool> sending_{false};
  MemoryRegistry from_;
  MemoryRegistry to_;
};

// --- the source
// ---------------------------------------------------------------------------------------------------------

TEST_F(EngineFaultsTest, ASourceThatSendsWrongBytes) {
  from_.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (is_layer_get(request)) reply.body.back() ^= 1;
  });
  expect_failure(ErrorKind::corrupt);
}

TEST_F(EngineFaultsTest, ASourceThatTellsOfAnotherLength) {
  from_.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (is_layer_get(request)) reply.body += "more";
  });
  expect_failure(ErrorKind::corrupt);
}

TEST_F(EngineFaultsTest, ASourceThatSendsFewerOrMoreBytesAndDoesNotTell) {
  from_.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (!is_layer_get(request)) return;
    reply.without_length = true;
    reply.body.resize(reply.body.size() - 1);
  });
  expect_failure(ErrorKind::corrupt);
  from_.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (!is_layer_get(request)) return;
    reply.without_length = true;
    reply.body.insert(0, "more");
  });
  expect_failure(ErrorKind::corrupt);
}

TEST_F(EngineFaultsTest, ASourceWithoutLengthsIsFine) {
  from_.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (is_blob_get(request)) reply.without_length = true;
  });
  expect_success();
}

TEST_F(EngineFaultsTest, ASourceThatHangsUpInTheMiddle) {
  from_.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (is_layer_get(request)) reply.cut_after = 500'000;
  });
  expect_failure(ErrorKind::transient);
}

TEST_F(EngineFaultsTest, ASourceThatStopsSending) {
  stall_ = milliseconds(500);
  from_.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (!is_layer_get(request)) return;
    reply.piece_bytes = 500'000;
    reply.per_piece = std::chrono::minutes(10);
  });
  expect_failure(ErrorKind::transient);
}

TEST_F(EngineFaultsTest, ASourceThatLacksABlob) {
  from_.drop_blob("a", layer_);
  expect_failure(ErrorKind::not_found);
}

TEST_F(EngineFaultsTest, ASourceThatRefusesABlob) {
  from_.set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    if (is_layer_get(request)) return HostReply{500, {}, {}};
    return std::nullopt;
  });
  expect_failure(ErrorKind::transient);
}

TEST_F(EngineFaultsTest, AnIndexWhoseChildIsMissing) {
  const TestImage index = make_index({make_image(5), make_image(6)});
  from_.hold("a", "v1", index);
  const std::string lost = index.children[1].digest();
  from_.set_fault([lost](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path.ends_with(lost)) return HostReply{404, {}, {}};
    return std::nullopt;
  });
  const auto copied = copy();
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::not_found);
  EXPECT_NE(copied.error().message.find(lost), std::string::npos);
  EXPECT_EQ(to_.digest_of("a", "v1"), "");
  EXPECT_EQ(to_.count("PUT"), 0u);
}

TEST_F(EngineFaultsTest, IndexesThatAreTooDeepOrTooWide) {
  TestImage deep = make_image(5);
  for (int i = 0; i < 10; ++i) deep = make_index({deep});
  from_.hold("a", "v1", deep);
  auto copied = copy();
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::invalid);

  std::vector<TestImage> many;
  for (std::uint64_t i = 0; i < 1'001; ++i) many.push_back(make_image(i, {}));
  from_.hold("a", "v1", make_index(std::move(many)));
  copied = copy();
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::invalid);
  EXPECT_EQ(to_.count("PUT"), 0u);
}

TEST_F(EngineFaultsTest, ALevelOfHugeManifestsIsGivenUpBeforeAllAreRead) {
  std::vector<TestImage> many;
  for (std::uint64_t i = 0; i < 100; ++i) {
    many.push_back(make_image(i, {}));
    many.back().manifest += std::string(4'000'000, ' ');
  }
  from_.hold("a", "v1", make_index(std::move(many)));
  const auto copied = copy();
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::invalid) << copied.error().message;
  EXPECT_LT(from_.count("GET", "/manifests/"), 90u);
}

// --- the target
// ---------------------------------------------------------------------------------------------------------

TEST_F(EngineFaultsTest, AnImmutableTagIsAConflict) {
  MemoryRegistry::Traits traits;
  traits.immutable_tags = true;
  MemoryRegistry to(traits);
  const TestImage old = make_image(9);
  to.hold("a", "v1", old);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to.url()));
  const auto copied = loop_.run(copy_image(job(source, "a:v1", target, "a")));
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::conflict);
  EXPECT_EQ(to.digest_of("a", "v1"), old.digest());
}

TEST_F(EngineFaultsTest, ARepositoryThatMustBeMadeFirst) {
  MemoryRegistry::Traits traits;
  traits.creates_repositories = false;
  MemoryRegistry to(traits);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to.url()));
  const auto copied = loop_.run(copy_image(job(source, "a:v1", target, "mirror/a")));
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::not_found);
  EXPECT_NE(copied.error().message.find("mirror/a"), std::string::npos) << copied.error().message;
  EXPECT_NE(copied.error().message.find("made first"), std::string::npos) << copied.error().message;
}

TEST_F(EngineFaultsTest, ATargetThatRefusesEachUploadAtOnce) {
  to_.set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method == "PUT") return HostReply{413, {}, {}};
    return std::nullopt;
  });
  expect_failure(ErrorKind::invalid);
}

TEST_F(EngineFaultsTest, ATargetThatIsBusyPassesItsWishOn) {
  to_.set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method == "PUT") return HostReply{503, {{"Retry-After", "7"}}, {}};
    return std::nullopt;
  });
  const auto copied = copy();
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::throttled);
  EXPECT_EQ(copied.error().retry_after, std::chrono::seconds(7));
}

TEST_F(EngineFaultsTest, ATargetThatHangsUpInsteadOfAnswering) {
  to_.set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method == "PUT") return hang_up();
    return std::nullopt;
  });
  expect_failure(ErrorKind::transient);
}

TEST_F(EngineFaultsTest, ATargetWithOddLocations) {
  for (const char* location : {"", "gopher://x/", "http://user:secret@127.0.0.1/", "http://"}) {
    to_.set_distortion([location](const HostRequest& request, HostReply& reply) {
      if (request.method != "POST") return;
      reply.headers.clear();
      if (*location != '\0') reply.headers.emplace_back("Location", location);
    });
    const auto copied = copy();
    ASSERT_FALSE(copied) << location;
    EXPECT_EQ(copied.error().kind, ErrorKind::invalid) << copied.error().message;
    EXPECT_EQ(copied.error().message.find("secret"), std::string::npos);
  }
}

TEST_F(EngineFaultsTest, ABlobThatTheTargetNeverShowsIsTriedOnceMoreOnly) {
  to_.set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method == "PUT" && request.path.find("/manifests/") != std::string::npos) {
      return HostReply{
          400, {}, R"({"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]})"};
    }
    return std::nullopt;
  });
  const auto copied = copy();
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::transient);
  EXPECT_EQ(to_.count("PUT", "/manifests/"), 2u);
}

TEST_F(EngineFaultsTest, OneAnswerInEightAFailureAndItStillArrives) {
  const auto flaky = [&](const HostRequest&) -> std::optional<HostReply> {
    const std::lock_guard lock(mutex_);
    if (random_() % 8 == 0) return HostReply{500, {}, {}};
    return std::nullopt;
  };
  from_.set_fault(flaky);
  to_.set_fault(flaky);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  bool arrived = false;
  for (int tries = 0; tries < 100 && !arrived; ++tries) {
    arrived = loop_.run(copy_image(job(source, "a:v1", target, "a"))).has_value();
    EXPECT_TRUE(arrived || to_.digest_of("a", "v1").empty());
  }
  EXPECT_TRUE(arrived);
  from_.set_fault(nullptr);
  to_.set_fault(nullptr);
  EXPECT_EQ(incompleteness(to_.url(), "a", "v1"), "");
}

// --- cancellation
// -------------------------------------------------------------------------------------------------------

TEST_F(EngineFaultsTest, ACancelledCopyLeavesNoTagNoSessionAndNoPlaceTaken) {
  from_.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (!is_layer_get(request)) return;
    reply.piece_bytes = 300'000;
    reply.per_piece = std::chrono::minutes(10);
    sending_ = true;
  });
  auto& source = connect("source", from_.url(), single());
  auto& target = target_of(connect("target", to_.url(), single()), 1);
  const auto copying = loop_.start(copy_image(job(source, "a:v1", target, "a")));
  ASSERT_TRUE(loop_.run_until([&] { return sending_ && observer_.moved > 0; }));
  copying->cancel();
  ASSERT_TRUE(loop_.run_until([&] { return copying->done(); }));
  EXPECT_TRUE(copying->threw || copying->result->error().kind == ErrorKind::cancelled);
  EXPECT_EQ(to_.digest_of("a", "v1"), "");
  EXPECT_FALSE(to_.has_blob("a", layer_));
  EXPECT_TRUE(loop_.run_until([&] { return to_.open_uploads() == 0; }));
  EXPECT_EQ(target.places().in_use(), 0u);
  EXPECT_EQ(observer_.under_way, 0);
  // Whoever comes next finds connections, places and the blob free.
  from_.set_distortion(nullptr);
  const auto copied = loop_.run(copy_image(job(source, "a:v1", target, "a")));
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(incompleteness(to_.url(), "a", "v1"), "");
}

// One image fails while another waits for the same blob: the other sends it itself.
TEST_F(EngineFaultsTest, WhoWaitedForABlobThatFailedSendsIt) {
  from_.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (is_layer_get(request) && gets_++ == 0) reply.cut_after = 500'000;
  });
  from_.hold("a", "v2", make_image_of({content_}, 2));
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  const auto one = loop_.start(copy_image(job(source, "a:v1", target, "a")));
  const auto two = loop_.start(copy_image(job(source, "a:v2", target, "a")));
  const bool first = loop_.await(one).has_value();
  const bool second = loop_.await(two).has_value();
  EXPECT_NE(first, second);
  EXPECT_EQ(gets_, 2);
  EXPECT_EQ(incompleteness(to_.url(), "a", first ? "v1" : "v2"), "");
}

}  // namespace
}  // namespace transship::testing
