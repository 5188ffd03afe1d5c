#include "tests/integration/engine_referrers_fixture.h"

// What is brought for an image that is there already: late referrers, and those that an event
// names.
namespace transship::testing {
namespace {

class EngineReferrerTest : public EngineReferrersTest {
 protected:
  void SetUp() override { open(without_api(), without_api()); }
  void hold_image_at_both() {
    from_->hold("a", "v1", image_);
    to_->hold("a", "v1", image_);
  }
  ImageResult bring(const std::string& image) { return get(copy_referrer(job_for(image))); }
};

TEST_F(EngineReferrerTest, LateOnesOfAnImageThatIsInStep) {
  hold_image_at_both();
  const TestImage sbom = make_referrer(image_, kind_, 1);
  EXPECT_EQ(get(copy_referrers(job_for("a:v1"))).outcome, ImageOutcome::unchanged);
  hold_listed(*from_, image_, {sbom});
  const std::string signature = referrers_tag(image_.digest(), "sig");
  from_->hold("a", signature, make_signature(1));
  const ImageResult brought = get(copy_referrers(job_for("a:v1")));
  EXPECT_EQ(brought.outcome, ImageOutcome::copied);
  EXPECT_EQ(brought.referrers, 2u);
  EXPECT_EQ(brought.digest->str(), image_.digest());
  expect_referrer(image_, sbom);
  EXPECT_EQ(to_->digest_of("a", signature), make_signature(1).digest());
  EXPECT_EQ(to_->count("PUT", "/manifests/v1"), 0u);
  EXPECT_EQ(get(copy_referrers(job_for("a:v1"))).outcome, ImageOutcome::unchanged);
  EXPECT_EQ(get(copy_referrers(job_for("a:v2"))).outcome, ImageOutcome::absent);
}

TEST_F(EngineReferrerTest, OneThatTheTargetHoldsAndDoesNotListIsListed) {
  hold_image_at_both();
  const TestImage sbom = make_referrer(image_, kind_, 1);
  hold_listed(*from_, image_, {sbom});
  to_->hold("a", "", sbom);
  EXPECT_THAT(drift_of("a:v1")->detail, ::testing::HasSubstr(sbom.digest()));
  EXPECT_EQ(get(copy_referrers(job_for("a:v1"))).outcome, ImageOutcome::copied);
  expect_referrer(image_, sbom);
  EXPECT_FALSE(drift_of("a:v1"));
}

TEST_F(EngineReferrerTest, OfNestedIndexes) {
  const TestImage leaf = make_image(3);
  const TestImage outer = make_index({make_index({leaf}), make_image(4)});
  from_->hold("a", "v1", outer);
  to_->hold("a", "v1", outer);
  const TestImage sbom = make_referrer(leaf, kind_, 1);
  hold_listed(*from_, leaf, {sbom});
  EXPECT_EQ(get(copy_referrers(job_for("a:v1"))).referrers, 1u);
  expect_referrer(leaf, sbom);
}

TEST_F(EngineReferrerTest, APushByDigestComesWhereTheTargetHoldsItsSubject) {
  hold_image_at_both();
  const TestImage sbom = make_referrer(image_, kind_, 1);
  const TestImage stray = make_referrer(make_image(2), kind_, 2);
  const TestImage signature = make_referrer(sbom, kind_, 3);
  for (const TestImage& one : {sbom, stray, make_image(5)}) from_->hold("a", "", one);
  hold_listed(*from_, sbom, {signature});
  const ImageResult brought = bring("a@" + sbom.digest());
  EXPECT_EQ(brought.outcome, ImageOutcome::copied);
  EXPECT_EQ(brought.digest->str(), sbom.digest());
  expect_referrer(image_, sbom);
  expect_referrer(sbom, signature);
  EXPECT_EQ(bring("a@" + sbom.digest()).outcome, ImageOutcome::unchanged);
  EXPECT_EQ(bring("a@" + stray.digest()).outcome, ImageOutcome::not_wanted);
  EXPECT_EQ(to_->manifest_of("a", stray.digest()), "");
  EXPECT_EQ(bring("a@" + make_image(5).digest()).outcome, ImageOutcome::not_wanted)
      << "it refers to nothing";
  EXPECT_EQ(bring("a@" + make_image(6).digest()).outcome, ImageOutcome::absent);
}

TEST_F(EngineReferrerTest, ASignatureTagComesWhereTheTargetHoldsItsSubject) {
  hold_image_at_both();
  const std::string signature = referrers_tag(image_.digest(), "sig");
  const std::string stray = referrers_tag(make_image(2).digest(), "sig");
  EXPECT_EQ(bring("a:" + signature).outcome, ImageOutcome::absent);
  from_->hold("a", signature, make_signature(1));
  from_->hold("a", stray, make_signature(1));
  const ImageResult brought = bring("a:" + signature);
  EXPECT_EQ(brought.outcome, ImageOutcome::copied);
  EXPECT_EQ(brought.digest->str(), make_signature(1).digest());
  EXPECT_EQ(bring("a:" + signature).outcome, ImageOutcome::unchanged);
  EXPECT_EQ(bring("a:" + stray).outcome, ImageOutcome::not_wanted);
  from_->hold("a", signature, make_signature(2));
  EXPECT_EQ(bring("a:" + signature).outcome, ImageOutcome::copied) << "another one was added";
  EXPECT_EQ(to_->digest_of("a", signature), make_signature(2).digest());
}

TEST_F(EngineReferrerTest, AnIndexUnderAFallbackTagBringsWhatItLists) {
  hold_image_at_both();
  const TestImage sbom = make_referrer(image_, kind_, 1);
  const TestImage theirs = make_referrer(image_, kind_, 2);
  hold_listed(*from_, image_, {sbom});
  hold_listed(*to_, image_, {theirs});
  const ImageResult brought = bring("a:" + referrers_tag(image_.digest()));
  EXPECT_EQ(brought.outcome, ImageOutcome::copied);
  EXPECT_EQ(brought.digest->str(), from_->digest_of("a", referrers_tag(image_.digest())));
  expect_referrer(image_, sbom);
  expect_referrer(image_, theirs);
  EXPECT_EQ(bring("a:" + referrers_tag(image_.digest())).outcome, ImageOutcome::unchanged);
}

TEST_F(EngineReferrerTest, AFallbackTagOfHalfADigestIsReadFromWhatItLists) {
  const std::string digest = oci::Digest::of(image_.manifest, oci::Algorithm::sha512).str();
  from_->hold_by_digest("a", digest, image_);
  to_->hold_by_digest("a", digest, image_);
  TestImage sbom = make_referrer(image_, kind_, 1);
  const std::size_t at = sbom.manifest.find(image_.digest());
  sbom.manifest.replace(at, image_.digest().size(), digest);
  const std::string tag = referrers_tag(digest).substr(0, 71);
  from_->hold("a", "", sbom);
  from_->hold("a", tag, make_index({sbom}));
  EXPECT_EQ(bring("a:" + tag).outcome, ImageOutcome::copied);
  EXPECT_EQ(incompleteness(to_->url(), "a", tag), "");
  EXPECT_EQ(to_->manifest_of("a", sbom.digest()), sbom.manifest);
}

// --- verify ---

TEST_F(EngineReferrerTest, VerifyNamesWhatIsMissing) {
  const TestImage sbom = make_referrer(image_, kind_, 1);
  const std::string signature = referrers_tag(image_.digest(), "sig");
  from_->hold("a", "v1", image_);
  hold_listed(*from_, image_, {sbom});
  from_->hold("a", signature, make_signature(1));
  copy("a:v1");
  ASSERT_FALSE(drift_of("a:v1", true));

  to_->drop_tag("a", signature);
  auto drift = drift_of("a:v1");
  ASSERT_TRUE(drift);
  EXPECT_EQ(drift->kind, DriftKind::incomplete);
  EXPECT_THAT(drift->detail, ::testing::HasSubstr(signature));
  to_->hold("a", signature, make_signature(2));
  EXPECT_TRUE(drift_of("a:v1")) << "another signature";
  to_->hold("a", signature, make_signature(1));

  to_->drop_manifest("a", sbom.digest());
  EXPECT_THAT(drift_of("a:v1")->detail, ::testing::HasSubstr(sbom.digest())) << "listed, and gone";
  to_->hold("a", "", sbom);
  const auto blobs = oci::parse_manifest(sbom.manifest, "")->blobs;
  to_->drop_blob("a", blobs.back().digest.str());
  EXPECT_THAT(drift_of("a:v1")->detail, ::testing::HasSubstr(blobs.back().digest.str()));
  ImageJob plain = job_for("a:v1");
  plain.referrers = false;
  Proven proven;
  EXPECT_FALSE(loop_.run(verify_image(plain, false, proven))->drift);
}

TEST_F(EngineReferrerTest, PlanCountsTheirBlobsAndWritesNothing) {
  const TestImage sbom = make_referrer(image_, kind_, 1);
  from_->hold("a", "v1", image_);
  hold_listed(*from_, image_, {sbom});
  to_->hold("a", "old", make_image(2));
  const auto planned = loop_.run(plan_image(job_for("a:v1")));
  ASSERT_TRUE(planned) << planned.error().message;
  EXPECT_EQ(planned->plan.sum(BlobAction::send).blobs, 3u + 2u);
  for (const auto& seen : to_->seen()) EXPECT_TRUE(seen.method == "GET" || seen.method == "HEAD");
}

}  // namespace
}  // namespace transship::testing
