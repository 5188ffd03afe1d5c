// Tags that stand for what refers to an image, and the index that such a tag may hold.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "replicator/oci/referrers_index.h"
#include "replicator/oci/referrers_tag.h"
#include "tests/support/image.h"

namespace transship::oci {
namespace {

const std::string hex(64, 'a');

TEST(ReferrersTag, KnowsWhatIsNoImageOfItsOwn) {
  struct Case {
    std::string tag;
    std::optional<std::string> suffix;  // nullopt: an ordinary tag
  };
  const std::vector<Case> cases{
      {"sha256-" + hex, ""},
      {"sha256-" + hex + ".sig", "sig"},
      {"sha256-" + hex + ".att", "att"},
      {"sha256-" + hex + ".sbom", "sbom"},
      {"sha256-" + hex + ".my.thing", "my.thing"},
      {"sha512-" + hex, ""},
      {"sha512-" + hex + ".sig", "sig"},
      {"sha256-" + hex + ".", std::nullopt},
      {"sha256-" + hex + "-sig", std::nullopt},
      {"sha256-" + hex + "a", std::nullopt},
      {"sha256-" + hex.substr(1), std::nullopt},
      {"sha256-" + std::string(64, 'A'), std::nullopt},
      {"sha384-" + hex, std::nullopt},
      {"v1-sha256-" + hex, std::nullopt},
      {"latest", std::nullopt},
      {"", std::nullopt},
  };
  for (const Case& c : cases) {
    const auto tag = ReferrersTag::parse(c.tag);
    ASSERT_EQ(tag.has_value(), c.suffix.has_value()) << c.tag;
    if (!tag) continue;
    EXPECT_EQ(tag->suffix, *c.suffix);
    EXPECT_EQ(tag->is_index(), c.suffix->empty());
    EXPECT_EQ(tag->subject, c.tag.substr(0, 71));
  }
}

TEST(ReferrersTag, LeadsFromADigestAndBackWhereItIsWhole) {
  const Digest digest = Digest::of("x");
  EXPECT_EQ(fallback_tag(digest).str(), "sha256-" + std::string(digest.hex()));
  const auto tag = ReferrersTag::parse(fallback_tag(digest).str() + ".sig");
  EXPECT_TRUE(tag->refers_to(digest));
  EXPECT_FALSE(tag->refers_to(Digest::of("y")));
  EXPECT_EQ(tag->digest(), digest);
  const Digest longer = Digest::of("x", Algorithm::sha512);
  EXPECT_EQ(fallback_tag(longer).str(), "sha512-" + std::string(longer.hex().substr(0, 64)));
  EXPECT_TRUE(ReferrersTag::parse(fallback_tag(longer).str())->refers_to(longer));
  EXPECT_FALSE(ReferrersTag::parse(fallback_tag(longer).str())->digest()) << "half of it is lost";
}

std::shared_ptr<const Manifest> referrer(std::uint64_t seed) {
  const auto subject = testing::make_image(1);
  const auto made = testing::make_referrer(subject, "application/vnd.example.signature", seed);
  return std::make_shared<const Manifest>(*parse_manifest(made.manifest, made.media_type));
}

TEST(ReferrersIndex, TellsOfEachWhatItIs) {
  const auto one = referrer(1);
  const auto made = referrers_index_with(nullptr, {one, one});
  ASSERT_TRUE(made && *made);
  EXPECT_EQ((*made)->media_type, media_type::oci_index);
  const auto json = nlohmann::json::parse((*made)->bytes);
  ASSERT_EQ(json["manifests"].size(), 1u);
  const auto& entry = json["manifests"][0];
  EXPECT_EQ(entry["digest"], one->digest.str());
  EXPECT_EQ(entry["size"], one->bytes.size());
  EXPECT_EQ(entry["mediaType"], media_type::oci_manifest);
  EXPECT_EQ(entry["artifactType"], "application/vnd.example.signature");
  EXPECT_EQ(entry["annotations"]["seed"], "1");
}

TEST(ReferrersIndex, KeepsWhatOthersWrote) {
  const auto one = referrer(1);
  const std::string others = fmt::format(
      R"({{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{}","size":3,"note":"theirs"}}],"annotations":{{"by":"others"}}}})",
      media_type::oci_index, media_type::oci_manifest, Digest::of("abc").str());
  const auto existing = parse_manifest(others, media_type::oci_index);
  ASSERT_TRUE(existing);
  const auto made = referrers_index_with(&*existing, {one});
  ASSERT_TRUE(made && *made);
  const auto json = nlohmann::json::parse((*made)->bytes);
  EXPECT_EQ(json["manifests"].size(), 2u);
  EXPECT_EQ(json["manifests"][0]["note"], "theirs");
  EXPECT_EQ(json["annotations"]["by"], "others");

  const auto again = referrers_index_with(&**made, {one});
  ASSERT_TRUE(again);
  EXPECT_FALSE(*again) << "nothing to change";
  const auto without = referrers_index_with(&**made, {one}, {Digest::of("abc")});
  ASSERT_TRUE(without && *without);
  EXPECT_EQ((*without)->manifests.size(), 1u);
}

TEST(ReferrersIndex, RefusesWhatIsNoIndexAndWhatGrowsTooLarge) {
  const auto one = referrer(1);
  EXPECT_FALSE(referrers_index_with(&*one, {one}));
  const std::string filler(ManifestLimits{}.bytes - 300, 'x');
  const std::string full = fmt::format(
      R"({{"schemaVersion":2,"mediaType":"{}","manifests":[],"annotations":{{"a":"{}"}}}})",
      media_type::oci_index, filler);
  const auto existing = parse_manifest(full, media_type::oci_index);
  ASSERT_TRUE(existing) << existing.error().message;
  EXPECT_FALSE(referrers_index_with(&*existing, {one}));
}

TEST(ReferrersIndex, AReferrerWithoutATypeIsOfItsConfigs) {
  const auto image = testing::make_image(1);
  const auto manifest = parse_manifest(image.manifest, image.media_type);
  EXPECT_EQ(manifest->type_as_referrer(), "application/vnd.oci.image.config.v1+json");
  const auto index = testing::make_index({image});
  EXPECT_EQ(parse_manifest(index.manifest, index.media_type)->type_as_referrer(), "");
}

}  // namespace
}  // namespace transship::oci
