#include <fmt/format.h>

#include "replicator/base/base64.h"
#include "replicator/blob_copy.h"
#include "tests/integration/engine_fixture.h"

// Images of every shape arrive whole, with the fewest requests.
namespace transship::testing {
namespace {

class EngineCopyTest : public EngineTest {
 protected:
  Result<ImageResult> copy(registry::Registry& source, const std::string& image, Target& target,
                           const std::string& to) {
    return loop_.run(copy_image(job(source, image, target, to)));
  }
  void expect_whole(const MemoryRegistry& registry, const std::string& name,
                    const std::string& reference, const TestImage& image) {
    EXPECT_EQ(incompleteness(registry.url(), name, reference), "");
    EXPECT_EQ(registry.manifest_of(name, reference), image.manifest);
    EXPECT_EQ(registry.media_type_of(name, reference), image.media_type);
  }
  void forget_seen() {
    from_.forget_seen();
    to_.forget_seen();
  }
  static std::string layer(const std::string& bytes, const std::string& more = {},
                           const std::string& type = "application/vnd.oci.image.layer.v1.tar",
                           oci::Algorithm algorithm = oci::Algorithm::sha256) {
    return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":{}{}}})", type,
                       oci::Digest::of(bytes, algorithm).str(), bytes.size(), more);
  }
  // An image whose layers are written as they are given.
  static TestImage image_with(const std::string& layers) {
    TestImage image = make_image_of({}, 77);
    const std::size_t at = image.manifest.find("\"layers\":[") + 10;
    image.manifest.insert(at, layers);
    return image;
  }
  static void add(TestImage& image, const std::string& bytes,
                  oci::Algorithm algorithm = oci::Algorithm::sha256) {
    image.blobs[oci::Digest::of(bytes, algorithm).str()] = bytes;
  }

  MemoryRegistry from_;
  MemoryRegistry to_;
};

TEST_F(EngineCopyTest, AFreshRepositoryCostsTwoRequestsABlob) {
  const TestImage image = make_image(1, {1000, 300'000, 70'000});
  from_.hold("team/app", "v1", image);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  const auto copied = copy(source, "team/app:v1", target, "mirror/app");
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(copied->outcome, ImageOutcome::copied);
  EXPECT_EQ(copied->digest->str(), image.digest());
  EXPECT_EQ(copied->blobs.copied, 4u);
  EXPECT_EQ(to_.count("POST"), 4u);
  EXPECT_EQ(to_.count("PUT", "/blobs/"), 4u);
  EXPECT_EQ(to_.count("PUT", "/manifests/"), 1u);
  EXPECT_EQ(to_.count("HEAD"), 1u);  // the tag
  EXPECT_EQ(to_.count("GET"), 1u);   // whether the repository is there at all
  EXPECT_EQ(from_.count("GET", "/blobs/"), 4u);
  EXPECT_EQ(from_.count("GET", "/manifests/"), 1u);
  EXPECT_EQ(from_.seen().size(), 5u);
  EXPECT_EQ(observer_.blobs[BlobOutcome::copied], 4u);
  EXPECT_EQ(observer_.moved, copied->bytes.sent);
  EXPECT_EQ(observer_.under_way, 0);
  expect_whole(to_, "mirror/app", "v1", image);
}

TEST_F(EngineCopyTest, AnUnchangedTagCostsOneLookAtEachSide) {
  const TestImage image = make_image(1);
  from_.hold("a", "v1", image);
  to_.hold("a", "v1", image);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  const auto looked = copy(source, "a:v1", target, "a");
  ASSERT_TRUE(looked);
  EXPECT_EQ(looked->outcome, ImageOutcome::unchanged);
  EXPECT_EQ(looked->digest->str(), image.digest());
  EXPECT_EQ(from_.seen().size(), 1u);
  EXPECT_EQ(to_.seen().size(), 1u);
}

TEST_F(EngineCopyTest, APresentBlobCostsOneRequestAndAKnownOneNone) {
  const TestImage first = make_image_of({"shared layer"}, 1);
  const TestImage second = make_image_of({"shared layer"}, 2);
  const TestImage third = make_image_of({"shared layer"}, 3);
  to_.hold("a", "v1", first);
  from_.hold("a", "v2", second);
  from_.hold("a", "v3", third);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()), 1);
  const auto copied = copy(source, "a:v2", target, "a");
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(copied->blobs.copied, 1u);
  EXPECT_EQ(copied->blobs.present, 1u);
  EXPECT_EQ(to_.count("POST"), 2u);
  forget_seen();
  const auto again = copy(source, "a:v3", target, "a");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->blobs.present, 1u);
  EXPECT_EQ(to_.count("POST"), 1u);  // its config
  EXPECT_EQ(to_.count("HEAD", "/blobs/"), 0u);
  expect_whole(to_, "a", "v3", third);
}

TEST_F(EngineCopyTest, WhatTheTargetHasElsewhereIsMounted) {
  const TestImage image = make_image(1);
  from_.hold("a", "v1", image);
  from_.hold("b", "v1", image);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  ASSERT_TRUE(copy(source, "a:v1", target, "a"));
  forget_seen();
  const auto mounted = copy(source, "b:v1", target, "b");
  ASSERT_TRUE(mounted);
  EXPECT_EQ(mounted->blobs.mounted, 3u);
  EXPECT_EQ(to_.count("POST"), 3u);
  EXPECT_EQ(to_.count("PUT"), 1u);
  EXPECT_EQ(from_.count("GET", "/blobs/"), 0u);
  expect_whole(to_, "b", "v1", image);
}

TEST_F(EngineCopyTest, ABlobThatTwoImagesNeedAtOnceIsSentOnce) {
  const std::string shared = noise(9, 2'000'000);
  const TestImage first = make_image_of({shared}, 1);
  const TestImage second = make_image_of({shared}, 2);
  from_.hold("a", "v1", first);
  from_.hold("a", "v2", second);
  from_.hold("b", "v2", second);
  auto& source = connect("source", from_.url());
  for (const bool across_repositories : {false, true}) {
    MemoryRegistry to;
    auto& target = target_of(connect("target", to.url()));
    const std::string other = across_repositories ? "b" : "a";
    from_.forget_seen();
    const auto one = loop_.start(copy_image(job(source, "a:v1", target, "a")));
    const auto two = loop_.start(copy_image(job(source, other + ":v2", target, other)));
    const auto first_copied = loop_.await(one);
    const auto second_copied = loop_.await(two);
    ASSERT_TRUE(first_copied && second_copied);
    EXPECT_EQ(from_.count("GET", oci::Digest::of(shared).str()), 1u);
    EXPECT_EQ(to.most_sends_of_one_blob(), 1u);
    EXPECT_EQ(first_copied->blobs.mounted + second_copied->blobs.mounted,
              across_repositories ? 1u : 0u);
    expect_whole(to, "a", "v1", first);
    expect_whole(to, other, "v2", second);
  }
}

TEST_F(EngineCopyTest, WhereMountsAreRefusedBlobsAreSent) {
  MemoryRegistry::Traits traits;
  traits.mounts = false;
  MemoryRegistry to(traits);
  const TestImage image = make_image(1);
  from_.hold("a", "v1", image);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to.url()));
  ASSERT_TRUE(copy(source, "a:v1", target, "a"));
  const auto sent = copy(source, "a:v1", target, "b");
  ASSERT_TRUE(sent) << sent.error().message;
  EXPECT_EQ(sent->blobs.copied, 3u);
  expect_whole(to, "b", "v1", image);
  // What is there already is found by a look, and its session is given back.
  from_.hold("a", "v2", make_image_of({"new"}, 1));
  to.hold("a", "old", make_image_of({"new"}, 5));
  auto& forgetful = target_of(target.registry());
  const auto found = copy(source, "a:v2", forgetful, "a");
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->blobs.present, 2u);
  EXPECT_TRUE(loop_.run_until([&] { return to.open_uploads() == 0; }));
}

TEST_F(EngineCopyTest, AStaleBeliefCostsOneRequestAndNoError) {
  const TestImage image = make_image(1);
  from_.hold("a", "v1", image);
  from_.hold("b", "v1", image);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  ASSERT_TRUE(copy(source, "a:v1", target, "a"));
  // The place to mount from has lost it.
  const std::string lost = image.blobs.begin()->first;
  to_.drop_blob("a", lost);
  forget_seen();
  const auto copied = copy(source, "b:v1", target, "b");
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(copied->blobs.copied, 1u);
  EXPECT_EQ(copied->blobs.mounted, 2u);
  EXPECT_EQ(to_.count("POST"), 3u);
  expect_whole(to_, "b", "v1", image);
}

TEST_F(EngineCopyTest, ALostBlobThatWeBelievedInIsSentAgain) {
  const TestImage first = make_image_of({"shared layer"}, 1);
  const TestImage second = make_image_of({"shared layer"}, 2);
  from_.hold("a", "v1", first);
  from_.hold("a", "v2", second);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  ASSERT_TRUE(copy(source, "a:v1", target, "a"));
  to_.drop_blob("a", oci::Digest::of("shared layer").str());
  const auto copied = copy(source, "a:v2", target, "a");
  ASSERT_TRUE(copied) << copied.error().message;
  expect_whole(to_, "a", "v2", second);
}

TEST_F(EngineCopyTest, IndexesArriveWithAllBelow) {
  const TestImage amd64 = make_image(1);
  const TestImage arm64 = make_image(2);
  const TestImage riscv = make_image(3);
  const TestImage flat = make_index({amd64, arm64, riscv});
  const TestImage nested = make_index({flat, make_image(4), amd64});
  from_.hold("a", "flat", flat);
  from_.hold("a", "nested", nested);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  const auto copied = copy(source, "a:flat", target, "a");
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(copied->blobs.copied, 9u);
  EXPECT_EQ(to_.count("PUT", "/manifests/"), 4u);
  expect_whole(to_, "a", "flat", flat);
  ASSERT_TRUE(copy(source, "a:nested", target, "b"));
  expect_whole(to_, "b", "nested", nested);
  EXPECT_EQ(to_.most_sends_of_one_blob(), 1u);
}

TEST_F(EngineCopyTest, OfAMovedIndexOnlyTheNewIsRead) {
  const TestImage old_child = make_image(1);
  const TestImage before = make_index({old_child, make_image(2)});
  const TestImage after = make_index({old_child, make_image(3)});
  from_.hold("a", "v1", after);
  to_.hold("a", "v1", before);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  const auto copied = copy(source, "a:v1", target, "a");
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(from_.count("GET", "/manifests/" + old_child.digest()), 0u);
  expect_whole(to_, "a", "v1", after);
}

TEST_F(EngineCopyTest, TheSameBlobTwiceAndTheEmptyBlob) {
  const TestImage image = make_image_of({"twice", "twice", "", "{}"}, 1);
  from_.hold("a", "v1", image);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  const auto copied = copy(source, "a:v1", target, "a");
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(copied->blobs.copied, 4u);
  EXPECT_EQ(from_.count("GET", oci::Digest::of("").str()), 0u);
  expect_whole(to_, "a", "v1", image);
}

TEST_F(EngineCopyTest, EmbeddedContentNeedsNoSource) {
  TestImage image =
      image_with(layer("inside", fmt::format(R"(,"data":"{}")", base64_encoded("inside"))) + "," +
                 layer("outside", fmt::format(R"(,"data":"{}")", base64_encoded("a lie"))));
  add(image, "inside");
  add(image, "outside");
  from_.hold("a", "v1", image);
  from_.drop_blob("a", oci::Digest::of("inside").str());
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  const auto copied = copy(source, "a:v1", target, "a");
  ASSERT_TRUE(copied) << copied.error().message;
  expect_whole(to_, "a", "v1", image);
}

TEST_F(EngineCopyTest, NonDistributableLayersMayBeAbsentAtTheSource) {
  TestImage image = image_with(layer("windows base", R"(,"urls":["https://example.invalid/base"])",
                                     "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip") +
                               "," + layer("mine"));
  add(image, "mine");
  from_.hold("a", "v1", image);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  const auto copied = copy(source, "a:v1", target, "a");
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(to_.digest_of("a", "v1"), image.digest());
  EXPECT_FALSE(to_.has_blob("a", oci::Digest::of("windows base").str()));
  EXPECT_TRUE(loop_.run_until([&] { return to_.open_uploads() == 0; }));
}

TEST_F(EngineCopyTest, OtherDigestsThanSha256) {
  TestImage image = image_with(layer("long digest", "", "application/x", oci::Algorithm::sha512));
  add(image, "long digest", oci::Algorithm::sha512);
  const std::string digest = oci::Digest::of(image.manifest, oci::Algorithm::sha512).str();
  from_.hold_by_digest("a", digest, image);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  const auto copied = copy(source, "a@" + digest, target, "a");
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(copied->digest->str(), digest);
  EXPECT_EQ(to_.manifest_of("a", digest), image.manifest);
  EXPECT_TRUE(to_.has_blob("a", oci::Digest::of("long digest", oci::Algorithm::sha512).str()));
  EXPECT_EQ(copy(source, "a@" + digest, target, "a")->outcome, ImageOutcome::unchanged);
}

TEST_F(EngineCopyTest, WithinOneRegistryBlobsAreMounted) {
  const TestImage image = make_image(1);
  from_.hold("a", "v1", image);
  auto& both = connect("both", from_.url(), single());
  auto& target = target_of(both);
  const auto copied = copy(both, "a:v1", target, "b");
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(copied->blobs.mounted, 3u);
  EXPECT_EQ(from_.count("GET", "/blobs/"), 0u);
  expect_whole(from_, "b", "v1", image);
}

TEST_F(EngineCopyTest, WithinOneRegistryThatMountsNothingOneConnectionIsEnough) {
  MemoryRegistry::Traits traits;
  traits.mounts = false;
  MemoryRegistry memory(traits);
  const TestImage image = make_image(1, {500'000, 400'000, 300'000});
  memory.hold("a", "v1", image);
  auto& both = connect("both", memory.url(), single());
  auto& target = target_of(both);
  const auto copied = copy(both, "a:v1", target, "b");
  ASSERT_TRUE(copied) << copied.error().message;
  expect_whole(memory, "b", "v1", image);
}

TEST_F(EngineCopyTest, CopiesBothWaysWithOneConnectionEachEnd) {
  const TestImage there = make_image(1, {300'000, 200'000, 100'000});
  const TestImage back = make_image(2, {300'000, 200'000, 100'000});
  from_.hold("a", "v1", there);
  to_.hold("b", "v1", back);
  auto& east = connect("east", from_.url(), single());
  auto& west = connect("west", to_.url(), single());
  auto& to_east = target_of(east);
  auto& to_west = target_of(west);
  const auto one = loop_.start(copy_image(job(east, "a:v1", to_west, "a")));
  const auto two = loop_.start(copy_image(job(west, "b:v1", to_east, "b")));
  const auto first = loop_.await(one);
  const auto second = loop_.await(two);
  ASSERT_TRUE(first && second);
  expect_whole(to_, "a", "v1", there);
  expect_whole(from_, "b", "v1", back);
}

TEST_F(EngineCopyTest, OtherKindsOfManifestsStayAsTheyAre) {
  TestImage docker = make_image(1);
  docker.media_type = oci::media_type::docker_manifest;
  for (std::size_t at = 0;
       (at = docker.manifest.find(oci::media_type::oci_manifest, at)) != std::string::npos;) {
    docker.manifest.replace(at, oci::media_type::oci_manifest.size(),
                            oci::media_type::docker_manifest);
  }
  TestImage unnamed = make_image(2);  // mediaType may be left out, blanks may be anywhere
  unnamed.manifest.erase(
      unnamed.manifest.find("\"mediaType\""),
      std::string("\"mediaType\":\"\",").size() + oci::media_type::oci_manifest.size());
  unnamed.manifest = " \n" + unnamed.manifest + "\n\n";
  from_.hold("a", "docker", docker);
  from_.hold("a", "unnamed", unnamed);
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  for (const auto& [tag, image] : {std::pair("docker", docker), std::pair("unnamed", unnamed)}) {
    const auto copied = copy(source, std::string("a:") + tag, target, "a");
    ASSERT_TRUE(copied) << copied.error().message;
    expect_whole(to_, "a", tag, image);
  }
}

TEST_F(EngineCopyTest, WhatTheSourceLacksIsAbsent) {
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  const auto absent = copy(source, "a:v1", target, "a");
  ASSERT_TRUE(absent);
  EXPECT_EQ(absent->outcome, ImageOutcome::absent);
  to_.hold("a", "v1", make_image(1));
  EXPECT_EQ(copy(source, "a:v1", target, "a")->outcome, ImageOutcome::absent);
  EXPECT_EQ(to_.count("PUT"), 0u);
}

TEST_F(EngineCopyTest, TheNewestIsCopiedWhateverAnEventSaid) {
  const TestImage now = make_image(2);
  from_.hold("a", "v1", now);
  to_.hold("a", "v1", make_image(1));
  auto& source = connect("source", from_.url());
  auto& target = target_of(connect("target", to_.url()));
  for (const std::string& said : {make_image(1).digest(), make_image(3).digest(), now.digest()}) {
    ImageJob late = job(source, "a:v1", target, "a");
    late.expected = *oci::Digest::parse(said);
    const auto copied = loop_.run(copy_image(std::move(late)));
    ASSERT_TRUE(copied) << copied.error().message;
    EXPECT_EQ(to_.digest_of("a", "v1"), now.digest());
  }
}

}  // namespace
}  // namespace transship::testing
