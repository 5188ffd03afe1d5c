#include "tests/integration/engine_referrers_fixture.h"

#include <nlohmann/json.hpp>

// Signatures, SBOMs and attestations travel with their image, and are there before its tag.
namespace transship::testing {
namespace {

TEST_F(EngineReferrersTest, FromApiToApiTheyComeBeforeTheTag) {
  open(with_api(), with_api());
  const TestImage& image = image_;
  const TestImage sbom = make_referrer(image, kind_, 1);
  const TestImage signature = make_referrer(sbom, "application/vnd.example.signature", 2);
  from_->hold("a", "v1", image);
  from_->hold("a", "", sbom);
  from_->hold("a", "", signature);
  const ImageResult copied = copy("a:v1");
  EXPECT_EQ(copied.outcome, ImageOutcome::copied);
  EXPECT_EQ(copied.referrers, 2u);
  EXPECT_EQ(copied.blobs.copied, 3u + 3u) << "the two share one blob: {}";
  expect_referrer(image, sbom);
  expect_referrer(sbom, signature);
  expect_before(sbom.digest(), "v1");
  expect_before(signature.digest(), "v1");
  EXPECT_THAT(to_->tags_of("a"), ::testing::ElementsAre("v1")) << "the API lists them";
  EXPECT_FALSE(drift_of("a:v1"));
}

TEST_F(EngineReferrersTest, FromApiToNoneTheIndexIsWrittenBeforeTheTag) {
  open(with_api(), without_api());
  const TestImage& image = image_;
  const TestImage sbom = make_referrer(image, kind_, 1);
  from_->hold("a", "v1", image);
  from_->hold("a", "", sbom);
  copy("a:v1");
  const std::string tag = referrers_tag(image.digest());
  expect_referrer(image, sbom);
  expect_before(sbom.digest(), tag);
  expect_before(tag, "v1");
  const auto entry = nlohmann::json::parse(to_->manifest_of("a", tag))["manifests"][0];
  EXPECT_EQ(entry["artifactType"], kind_);
  EXPECT_EQ(entry["annotations"]["seed"], "1");
  EXPECT_FALSE(drift_of("a:v1"));
}

TEST_F(EngineReferrersTest, FromFallbackTagToApiNoTagIsLeft) {
  open(without_api(), with_api());
  const TestImage& image = image_;
  const TestImage sbom = make_referrer(image, kind_, 1);
  from_->hold("a", "v1", image);
  hold_listed(*from_, image, {sbom});
  copy("a:v1");
  expect_referrer(image, sbom);
  EXPECT_THAT(to_->tags_of("a"), ::testing::ElementsAre("v1"));
}

TEST_F(EngineReferrersTest, FallbackEntriesOfOthersStay) {
  open(without_api(), without_api());
  const TestImage& image = image_;
  const TestImage ours = make_referrer(image, kind_, 1);
  const TestImage theirs = make_referrer(image, kind_, 2);
  from_->hold("a", "v1", image);
  hold_listed(*from_, image, {ours});
  hold_listed(*to_, image, {theirs});
  copy("a:v1");
  expect_referrer(image, ours);
  expect_referrer(image, theirs);
}

TEST_F(EngineReferrersTest, ARaceThatIsLostIsRunAgain) {
  open(without_api(), without_api());
  const TestImage& image = image_;
  const TestImage ours = make_referrer(image, kind_, 1);
  const TestImage theirs = make_referrer(image, kind_, 2);
  from_->hold("a", "v1", image);
  hold_listed(*from_, image, {ours});
  made_ = {theirs};
  to_->set_fault([this](const HostRequest& request) -> std::optional<HostReply> {
    const bool reads_again =
        request.method == "HEAD" && request.path.ends_with(referrers_tag(image_.digest()));
    if (reads_again && asked_++ == 0) hold_listed(*to_, image_, made_);
    return std::nullopt;
  });
  copy("a:v1");
  EXPECT_GT(asked_, 0u);
  expect_referrer(image, ours);
  expect_referrer(image, theirs);
}

TEST_F(EngineReferrersTest, ARaceThatIsLostEveryTimeIsAnErrorAndTheTagStaysAbsent) {
  open(without_api(), without_api());
  const TestImage& image = image_;
  from_->hold("a", "v1", image);
  hold_listed(*from_, image, {make_referrer(image, kind_, 1)});
  to_->set_fault([this](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method == "HEAD" && request.path.ends_with(referrers_tag(image_.digest())))
      hold_listed(*to_, image_, {make_referrer(image_, kind_, 10 + asked_++)});
    return std::nullopt;
  });
  const auto copied = loop_.run(copy_image(job_for("a:v1")));
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::transient);
  EXPECT_EQ(to_->digest_of("a", "v1"), "");
  EXPECT_LE(to_->count("PUT", referrers_tag(image.digest())), 5u);
}

TEST_F(EngineReferrersTest, CopiesOfOneProcessTakeTurnsAtOneFallbackTag) {
  open(with_api(), without_api());
  const TestImage& image = image_;
  from_->hold("a", "v1", image);
  to_->hold("a", "v1", image);
  std::vector<TestImage> referrers;
  std::vector<std::shared_ptr<Loop::Running<Result<ImageResult>>>> running;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    referrers.push_back(make_referrer(image, kind_, seed));
    from_->hold("a", "", referrers.back());
    running.push_back(loop_.start(copy_referrer(job_for("a@" + referrers.back().digest()))));
  }
  for (const auto& one : running) EXPECT_EQ(loop_.await(one)->outcome, ImageOutcome::copied);
  for (const TestImage& referrer : referrers) expect_referrer(image, referrer);
}

TEST_F(EngineReferrersTest, EntriesThatTheTargetLostDoNotBlockTheIndex) {
  open(without_api(), without_api());
  const TestImage& image = image_;
  const TestImage ours = make_referrer(image, kind_, 1);
  const TestImage lost = make_referrer(image, kind_, 2);
  from_->hold("a", "v1", image);
  hold_listed(*from_, image, {ours});
  hold_listed(*to_, image, {lost});
  to_->drop_manifest("a", lost.digest());
  copy("a:v1");
  expect_referrer(image, ours);
  EXPECT_EQ(to_->digest_of("a", "v1"), image.digest());
}

TEST_F(EngineReferrersTest, SignatureTagsTravelWithTheirImage) {
  open(without_api(), without_api());
  const TestImage& image = image_;
  const TestImage other = make_image(2);
  from_->hold("a", "v1", image);
  from_->hold("a", "other", other);
  const auto tag = [&](const std::string& suffix) { return referrers_tag(image.digest(), suffix); };
  from_->hold("a", tag("sig"), make_signature(1));
  from_->hold("a", tag("att"), make_signature(2));
  from_->hold("a", tag("unusual"), make_signature(3));
  from_->hold("a", referrers_tag(other.digest(), "sig"), make_signature(4));
  EXPECT_EQ(copy("a:v1").referrers, 3u);
  EXPECT_THAT(to_->tags_of("a"),
              ::testing::UnorderedElementsAre("v1", tag("sig"), tag("att"), tag("unusual")));
  EXPECT_EQ(to_->digest_of("a", tag("sig")), make_signature(1).digest());
  expect_before(tag("sig"), "v1");
  EXPECT_FALSE(drift_of("a:v1"));
}

TEST_F(EngineReferrersTest, OfAnIndexAndOfItsChildren) {
  for (const bool api : {true, false}) {
    open(api ? with_api() : without_api(), without_api());
    const TestImage child = make_image(1);
    const TestImage index = make_index({child, make_image(2)});
    const TestImage of_child = make_referrer(child, kind_, 1);
    const TestImage of_index = make_referrer(index, kind_, 2);
    from_->hold("a", "v1", index);
    if (api) {
      from_->hold("a", "", of_child);
      from_->hold("a", "", of_index);
    } else {
      hold_listed(*from_, child, {of_child});
      hold_listed(*from_, index, {of_index});
    }
    from_->hold("a", referrers_tag(child.digest(), "sig"), make_signature(1));
    EXPECT_EQ(copy("a:v1").referrers, 3u);
    expect_referrer(child, of_child);
    expect_referrer(index, of_index);
    EXPECT_EQ(to_->digest_of("a", referrers_tag(child.digest(), "sig")),
              make_signature(1).digest());
    EXPECT_FALSE(drift_of("a:v1"));
  }
}

TEST_F(EngineReferrersTest, WithoutTheRulesWishNothingIsLookedFor) {
  open(with_api(), with_api());
  const TestImage& image = image_;
  from_->hold("a", "v1", image);
  from_->hold("a", "", make_referrer(image, kind_, 1));
  from_->hold("a", referrers_tag(image.digest(), "sig"), make_signature(1));
  ImageJob plain = job_for("a:v1");
  plain.referrers = false;
  EXPECT_EQ(get(copy_image(plain)).referrers, 0u);
  EXPECT_EQ(from_->count("GET", "/referrers/"), 0u);
  EXPECT_EQ(from_->count("GET", "/tags/"), 0u);
  EXPECT_THAT(to_->tags_of("a"), ::testing::ElementsAre("v1"));
}

TEST_F(EngineReferrersTest, ATargetThatWantsTheSubjectFirstGetsIt) {
  MemoryRegistry::Traits strict = with_api();
  strict.wants_subject = true;
  open(with_api(), strict);
  const TestImage& image = image_;
  const TestImage sbom = make_referrer(image, kind_, 1);
  const TestImage signature = make_referrer(sbom, kind_, 2);
  from_->hold("a", "v1", image);
  from_->hold("a", "", sbom);
  from_->hold("a", "", signature);
  copy("a:v1");
  expect_referrer(image, sbom);
  expect_referrer(sbom, signature);
  expect_before(image.digest(), "v1");
  expect_before(sbom.digest(), "v1");
}

TEST_F(EngineReferrersTest, ATaggedArtifactIsListedByItsSubject) {
  open(without_api(), without_api());
  const TestImage& image = image_;
  const TestImage artifact = make_referrer(image, kind_, 1);
  to_->hold("a", "v1", image);
  from_->hold("a", "sbom-of-v1", artifact);
  copy("a:sbom-of-v1");
  expect_referrer(image, artifact);
}

TEST_F(EngineReferrersTest, AFailureThereKeepsTheTagAway) {
  open(with_api(), with_api());
  const TestImage& image = image_;
  made_ = {make_referrer(image, kind_, 1)};
  from_->hold("a", "v1", image);
  from_->hold("a", "", made_.front());
  to_->set_fault([this](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method == "PUT" && request.path.ends_with(made_.front().digest()))
      return HostReply{500, {}, {}};
    return std::nullopt;
  });
  EXPECT_FALSE(loop_.run(copy_image(job_for("a:v1"))));
  EXPECT_EQ(to_->digest_of("a", "v1"), "");
}

// --- how many requests ---

TEST_F(EngineReferrersTest, AnUnchangedTagCostsOneLookAtEachSide) {
  open(with_api(), with_api());
  const TestImage& image = image_;
  from_->hold("a", "v1", image);
  from_->hold("a", "", make_referrer(image, kind_, 1));
  to_->hold("a", "v1", image);
  EXPECT_EQ(copy("a:v1").outcome, ImageOutcome::unchanged);
  EXPECT_EQ(from_->seen().size(), 1u);
  EXPECT_EQ(to_->seen().size(), 1u);
}

TEST_F(EngineReferrersTest, WithoutReferrersAnImageCostsOneListAndItsTargetNothing) {
  open(without_api(), without_api());
  from_->hold("a", "v1", make_image(1));
  from_->hold("a", "v2", make_image(2));
  copy("a:v1");
  EXPECT_EQ(from_->count("GET", "/referrers/"), 1u) << "404: it has none";
  EXPECT_EQ(from_->count("GET", "/tags/"), 1u);
  EXPECT_EQ(from_->seen().size(), 4u + 2u);
  EXPECT_EQ(to_->count("PUT", "/manifests/"), 1u);
  EXPECT_EQ(to_->count("GET", "/referrers/"), 0u);
  EXPECT_EQ(to_->count("HEAD"), 1u);
  forget_seen();
  copy("a:v2");
  EXPECT_EQ(from_->seen().size(), 4u + 1u) << "what it told of its API is remembered";
  EXPECT_EQ(to_->count("HEAD"), 1u);
}

TEST_F(EngineReferrersTest, TagsThatTheCallerListedAreNotListedAgain) {
  open(without_api(), without_api());
  const TestImage& image = image_;
  from_->hold("a", "v1", image);
  const std::string tag = referrers_tag(image.digest(), "sig");
  from_->hold("a", tag, make_signature(1));
  ImageJob listed = job_for("a:v1");
  listed.source_tags =
      std::make_shared<const std::vector<std::string>>(std::vector<std::string>{tag, "v1"});
  get(copy_image(listed));
  EXPECT_EQ(from_->count("GET", "/tags/"), 0u);
  EXPECT_EQ(from_->count("GET", "/manifests/"), 2u);
  EXPECT_EQ(to_->digest_of("a", tag), make_signature(1).digest());
}

TEST_F(EngineReferrersTest, ImagesOfOneRepositoryShareLists) {
  open(without_api(), without_api());
  constexpr std::size_t images = 30;
  for (std::size_t i = 0; i < images; ++i)
    from_->hold("a", fmt::format("v{}", i), make_image(i, {10}));
  std::vector<std::shared_ptr<Loop::Running<Result<ImageResult>>>> running;
  for (std::size_t i = 0; i < images; ++i)
    running.push_back(loop_.start(copy_image(job_for(fmt::format("a:v{}", i)))));
  for (const auto& one : running) EXPECT_TRUE(loop_.await(one));
  EXPECT_LT(from_->count("GET", "/tags/"), images);
  EXPECT_EQ(from_->count("GET", "/referrers/"), 1u) << "all wait for the first answer";
}

TEST_F(EngineReferrersTest, InALargeRepositoryTheUsualSignatureTagsAreAskedFor) {
  open(with_api(), with_api());
  const TestImage& image = image_;
  const TestImage again = make_image(2);
  for (int i = 0; i < 3500; ++i) from_->hold("a", fmt::format("t{}", i), image);
  from_->hold("a", "v1", image);
  from_->hold("a", "v2", again);
  from_->hold("a", referrers_tag(again.digest(), "sbom"), make_signature(1));
  copy("a:v1");
  EXPECT_EQ(from_->count("GET", "/tags/"), 4u) << "nobody knew that it is large";
  forget_seen();
  EXPECT_EQ(copy("a:v2").referrers, 1u);
  EXPECT_EQ(from_->count("GET", "/tags/"), 0u);
  EXPECT_EQ(from_->count("GET", referrers_tag(again.digest(), "s")), 2u);
}

}  // namespace
}  // namespace transship::testing
