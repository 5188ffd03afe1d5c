// The plan as tables: what the source has and what is known of the target in, steps out.
#include "replicator/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replicator/blob_locations.h"
#include "tests/support/image.h"

namespace transship {
namespace {

using oci::Digest;
using oci::Repository;
using ::testing::ElementsAre;

std::shared_ptr<const oci::Manifest> parsed(const testing::TestImage& image) {
  return std::make_shared<const oci::Manifest>(
      *oci::parse_manifest(image.manifest, image.media_type));
}

ImageTree tree_of(const testing::TestImage& image) {
  ImageTree tree;
  for (const testing::TestImage& child : image.children) {
    for (const auto& manifest : tree_of(child).manifests) tree.manifests.push_back(manifest);
  }
  tree.manifests.push_back(parsed(image));
  return tree;
}

const oci::Reference tag = *oci::Tag::parse("v1");
const BlobPlaces nowhere = [](const Digest&) { return BlobPlace{}; };

std::vector<BlobAction> actions(const Plan& plan) {
  std::vector<BlobAction> all;
  for (const BlobStep& step : plan.blobs) all.push_back(step.action);
  return all;
}

TEST(Plan, SendsWhatIsNowhereMountsWhatIsElsewhereAndLeavesWhatIsThere) {
  const ImageTree tree = tree_of(testing::make_image(1, {10, 20}));
  const auto& blobs = tree.root().blobs;
  const auto places = [&](const Digest& blob) {
    if (blob == blobs[0].digest) return BlobPlace{true, std::nullopt};
    if (blob == blobs[1].digest) return BlobPlace{false, *Repository::parse("other")};
    return BlobPlace{};
  };
  const auto plan = make_plan(tree, {}, places, tag);
  ASSERT_TRUE(plan);
  EXPECT_THAT(actions(*plan),
              ElementsAre(BlobAction::present, BlobAction::mount, BlobAction::send));
  EXPECT_EQ(plan->blobs[1].mount_from->str(), "other");
  EXPECT_EQ(plan->sum(BlobAction::send).bytes, 20u);
  EXPECT_EQ(plan->sum(BlobAction::mount).bytes, 10u);
  EXPECT_EQ(plan->sum(BlobAction::present).blobs, 1u);
}

TEST(Plan, PutsTheTagLastAndAlone) {
  const auto plan = make_plan(tree_of(testing::make_image(1)), {}, nowhere, tag);
  ASSERT_EQ(plan->manifests.size(), 1u);
  ASSERT_EQ(plan->manifests[0].size(), 1u);
  EXPECT_EQ(plan->manifests[0][0].reference, tag);
}

TEST(Plan, PutsChildrenByDigestBeforeTheirIndex) {
  const auto inner = testing::make_index({testing::make_image(1), testing::make_image(2)});
  const auto outer = testing::make_index({inner, testing::make_image(3)});
  const auto plan = make_plan(tree_of(outer), {}, nowhere, tag);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->manifests.size(), 3u);
  EXPECT_EQ(plan->manifests[0].size(), 3u);
  EXPECT_EQ(plan->manifests[1][0].reference, oci::Reference(*Digest::parse(inner.digest())));
  ASSERT_EQ(plan->manifests[2].size(), 1u);
  EXPECT_EQ(plan->manifests[2][0].reference, tag);
}

TEST(Plan, LeavesOutChildrenThatTheTargetHolds) {
  const auto held = testing::make_image(1);
  const auto fresh = testing::make_image(2);
  const auto plan = make_plan(tree_of(testing::make_index({held, fresh})),
                              {*Digest::parse(held.digest())}, nowhere, tag);
  EXPECT_EQ(plan->manifests[0].size(), 1u);
  EXPECT_EQ(plan->blobs.size(), 3u) << "only what the other child needs";
}

TEST(Plan, PutsTheRootUnderItsTagThoughTheTargetHoldsItByDigest) {
  const auto image = testing::make_image(1);
  const auto plan = make_plan(tree_of(image), {*Digest::parse(image.digest())}, nowhere, tag);
  ASSERT_EQ(plan->manifests.size(), 1u);
  EXPECT_EQ(plan->manifests[0][0].reference, tag);
}

TEST(Plan, NamesEachBlobOnce) {
  const std::string layer = testing::noise(1, 100);
  auto image = testing::make_image_of({layer, layer}, 1);
  EXPECT_EQ(make_plan(tree_of(image), {}, nowhere, tag)->blobs.size(), 2u);
  const auto index =
      testing::make_index({testing::make_image_of({layer}, 2), testing::make_image_of({layer}, 3)});
  EXPECT_EQ(make_plan(tree_of(index), {}, nowhere, tag)->blobs.size(), 3u);
}

TEST(Plan, RefusesOneDigestWithTwoSizes) {
  auto manifest = *oci::parse_manifest(testing::make_image(1).manifest, "");
  manifest.blobs.push_back(manifest.blobs.back());
  manifest.blobs.back().size += 1;
  ImageTree tree;
  tree.manifests.push_back(std::make_shared<const oci::Manifest>(manifest));
  const auto plan = make_plan(tree, {}, nowhere, tag);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().kind, ErrorKind::invalid);
}

TEST(Plan, LetsOnlyNonDistributableLayersBeAbsent) {
  auto manifest = *oci::parse_manifest(testing::make_image(1, {10, 20}).manifest, "");
  manifest.blobs[1].urls = {"https://example.com/layer"};
  manifest.blobs[1].media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
  manifest.blobs[2].urls = {"https://example.com/layer"};  // of an ordinary type
  ImageTree tree;
  tree.manifests.push_back(std::make_shared<const oci::Manifest>(manifest));
  const auto plan = make_plan(tree, {}, nowhere, tag);
  EXPECT_FALSE(plan->blobs[0].may_be_absent);
  EXPECT_TRUE(plan->blobs[1].may_be_absent);
  EXPECT_FALSE(plan->blobs[2].may_be_absent);
}

// One line of a plan of referrers: what is put, level after level.
std::vector<std::vector<std::string>> references(
    const std::vector<std::vector<ManifestStep>>& levels) {
  std::vector<std::vector<std::string>> all;
  for (const auto& level : levels) {
    all.emplace_back();
    for (const ManifestStep& step : level) all.back().push_back(step.reference.str());
  }
  return all;
}

Referrer referring(const testing::TestImage& referrer, const testing::TestImage& subject,
                   std::optional<oci::Tag> under = {}) {
  return {tree_of(referrer), *Digest::parse(subject.digest()), std::move(under)};
}

TEST(ReferrersPlan, AsTables) {
  const auto image = testing::make_image(1);
  const auto sbom = testing::make_referrer(image, "sbom", 1);
  const auto other = testing::make_referrer(image, "sbom", 2);
  const auto signature = testing::make_referrer(sbom, "signature", 3);
  const auto tagged = testing::make_signature(4);
  const auto of_tagged = testing::make_signature(5);
  const auto sig = *oci::Tag::parse(testing::referrers_tag(image.digest(), "sig"));
  const auto sig_of_sig = *oci::Tag::parse(testing::referrers_tag(tagged.digest(), "sig"));
  using Levels = std::vector<std::vector<std::string>>;
  struct Case {
    std::string what;
    std::vector<Referrer> found;
    std::size_t blobs;
    Levels by_digest;
    Levels by_tag;
    std::size_t entries;  // subjects that have some
  };
  const std::vector<Case> cases{
      {"nothing", {}, 0, {}, {}, 0},
      {"two of one subject, which share a blob",
       {referring(sbom, image), referring(other, image)},
       3,
       {{sbom.digest(), other.digest()}},
       {},
       1},
      {"a subject before what refers to it",
       {referring(sbom, image), referring(signature, sbom)},
       3,
       {{sbom.digest()}, {signature.digest()}},
       {},
       2},
      {"a tag comes after what refers to it",
       {referring(tagged, image, sig), referring(of_tagged, tagged, sig_of_sig)},
       4,
       {},
       {{sig_of_sig.str()}, {sig.str()}},
       0},
      {"the signature under a tag of what is listed",
       {referring(sbom, image), referring(tagged, sbom, sig)},
       4,
       {{sbom.digest()}},
       {{sig.str()}},
       1},
  };
  for (const Case& c : cases) {
    const auto plan = make_referrers_plan(c.found, {}, nowhere);
    ASSERT_TRUE(plan) << c.what;
    EXPECT_EQ(plan->blobs.size(), c.blobs) << c.what;
    EXPECT_EQ(references(plan->by_digest), c.by_digest) << c.what;
    EXPECT_EQ(references(plan->by_tag), c.by_tag) << c.what;
    EXPECT_EQ(plan->entries.size(), c.entries) << c.what;
  }
}

TEST(ReferrersPlan, CountsNoBlobThatTheImageBrings) {
  const auto image = testing::make_image(1);
  const auto sbom = testing::make_referrer(image, "sbom", 1);
  const auto plan = make_referrers_plan({referring(sbom, image)}, {Digest::of("{}")}, nowhere);
  ASSERT_EQ(plan->blobs.size(), 1u);
  EXPECT_NE(plan->blobs[0].blob.digest, Digest::of("{}"));
}

TEST(ReferrersPlan, PutsWhatAReferrersIndexHoldsBeforeIt) {
  const auto image = testing::make_image(1);
  const auto child = testing::make_image(2);
  const auto index = testing::make_index({child});
  const auto plan = make_referrers_plan({referring(index, image)}, {}, nowhere);
  EXPECT_THAT(references(plan->by_digest),
              ElementsAre(ElementsAre(child.digest()), ElementsAre(index.digest())));
}

TEST(BlobLocations, RemembersTheLatestAndForgetsTheOldest) {
  BlobLocations locations(2);
  const auto a = Digest::of("a");
  const auto b = Digest::of("b");
  const auto c = Digest::of("c");
  const auto one = *Repository::parse("one");
  const auto two = *Repository::parse("two");
  locations.learn(a, one);
  locations.learn(a, two);
  EXPECT_TRUE(locations.holds(a, one));
  EXPECT_EQ(locations.elsewhere(a, two), one);
  EXPECT_EQ(locations.elsewhere(a, *Repository::parse("three")), two) << "the one learnt last";
  locations.learn(b, one);
  locations.learn(a, one);  // a is younger than b now
  locations.learn(c, one);
  EXPECT_EQ(locations.size(), 2u);
  EXPECT_FALSE(locations.holds(b, one));
  EXPECT_TRUE(locations.holds(a, one));
  locations.forget(c, one);
  EXPECT_EQ(locations.size(), 1u);
  EXPECT_FALSE(locations.elsewhere(c, two));
}

}  // namespace
}  // namespace transship
