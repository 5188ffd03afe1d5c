#include <fmt/format.h>
#include <gtest/gtest.h>

#include "replicator/base/base64.h"
#include "replicator/oci/manifest.h"
#include "replicator/oci/reference.h"
#include "tests/support/image.h"

namespace transship::oci {
namespace {

const std::string sha256_of_empty =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Digest, ParsesSha256AndSha512AndNothingElse) {
  EXPECT_TRUE(Digest::parse(sha256_of_empty));
  EXPECT_TRUE(Digest::parse("sha512:" + std::string(128, 'a')));
  for (const std::string& bad :
       {std::string(), std::string("sha256:"), "sha256:" + std::string(63, 'a'),
        "sha256:" + std::string(65, 'a'), "sha256:" + std::string(64, 'A'),
        "sha256:" + std::string(64, 'g'), "md5:" + std::string(32, 'a'), std::string(64, 'a'),
        "sha256:" + std::string(63, 'a') + "/", " " + sha256_of_empty}) {
    const auto digest = Digest::parse(bad);
    EXPECT_FALSE(digest) << bad;
    EXPECT_EQ(digest.error().kind, ErrorKind::invalid);
  }
}

TEST(Digest, HashesInPieces) {
  Hasher hasher(Algorithm::sha256);
  hasher.update("ab");
  hasher.update("c");
  EXPECT_EQ(hasher.finish(), Digest::of("abc"));
  EXPECT_EQ(Digest::of("").str(), sha256_of_empty);
  EXPECT_EQ(Digest::of("abc", Algorithm::sha512).hex().substr(0, 16), "ddaf35a193617aba");
}

TEST(Repository, FollowsTheGrammar) {
  for (const char* good : {"a", "a/b", "team/app", "a.b_c__d-e---f/0", "library/ubuntu"}) {
    EXPECT_TRUE(Repository::parse(good)) << good;
  }
  for (const char* bad : {"", "/", "a/", "/a", "a//b", "A", "a.", ".a", "a..b", "a___b", "a_-b",
                          "-a", "a b", "a:b", "../a", "a/../b"}) {
    EXPECT_FALSE(Repository::parse(bad)) << bad;
  }
  EXPECT_TRUE(Repository::parse(std::string(256, 'a')));
  EXPECT_FALSE(Repository::parse(std::string(257, 'a')));
}

TEST(Tag, FollowsTheGrammar) {
  for (const char* good : {"v1", "_", "1.2.3-rc_1", "A"}) EXPECT_TRUE(Tag::parse(good)) << good;
  for (const char* bad : {"", ".a", "-a", "a/b", "a:b", "a b", "ä"})
    EXPECT_FALSE(Tag::parse(bad)) << bad;
  EXPECT_TRUE(Tag::parse(std::string(128, 'a')));
  EXPECT_FALSE(Tag::parse(std::string(129, 'a')));
}

TEST(ImageName, TakesATagOrADigest) {
  const auto tagged = ImageName::parse("team/app:v1");
  ASSERT_TRUE(tagged);
  EXPECT_EQ(tagged->repository.str(), "team/app");
  EXPECT_EQ(tagged->reference.tag()->str(), "v1");
  const auto by_digest = ImageName::parse("team/app@" + sha256_of_empty);
  ASSERT_TRUE(by_digest);
  EXPECT_EQ(by_digest->str(), "team/app@" + sha256_of_empty);
  for (const char* bad :
       {"team/app", "team/app:", "team/app@v1", "team/app:v1@sha256:00", ":v1", "host:5000/app"}) {
    EXPECT_FALSE(ImageName::parse(bad)) << bad;
  }
}

TEST(FullReference, TellsHostFromRepository) {
  const auto full = FullReference::parse("registry.example.com:5000/team/app:v1");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->host, "registry.example.com:5000");
  EXPECT_EQ(full->repository.str(), "team/app");
  EXPECT_EQ(full->reference->str(), "v1");
  EXPECT_FALSE(full->plain_http);
  EXPECT_TRUE(FullReference::parse("http://127.0.0.1:1/a")->plain_http);
  EXPECT_FALSE(FullReference::parse("https://h/a")->reference);
  EXPECT_EQ(FullReference::parse("[::1]:5000/a:b")->host, "[::1]:5000");
  for (const char* bad :
       {"", "app", "app:v1", "/app", "http://", "ftp://h/a", "h/A", "h/a:", "h/a@x", "us er@h/a"}) {
    EXPECT_FALSE(FullReference::parse(bad)) << bad;
  }
}

// --- manifests
// ----------------------------------------------------------------------------------------------------------

const std::string digest_a = "sha256:" + std::string(64, 'a');

std::string image_json(const std::string& config, const std::string& layers,
                       const std::string& more = {}) {
  return fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[{}]{}}})", config, layers, more);
}
std::string descriptor_json(const std::string& digest = digest_a, const std::string& size = "10",
                            const std::string& more = {}) {
  return fmt::format(R"({{"mediaType":"application/x","digest":"{}","size":{}{}}})", digest, size,
                     more);
}

TEST(Manifest, KeepsItsBytesAndItsDigest) {
  const std::string bytes = " " + image_json(descriptor_json(), descriptor_json()) + "\n";
  const auto manifest = parse_manifest(bytes, media_type::oci_manifest);
  ASSERT_TRUE(manifest) << manifest.error().message;
  EXPECT_EQ(manifest->bytes, bytes);
  EXPECT_EQ(manifest->digest, Digest::of(bytes));
  EXPECT_EQ(manifest->blobs.size(), 2u);
  EXPECT_FALSE(manifest->is_index());
}

TEST(Manifest, ReadsAllKinds) {
  const std::string index =
      fmt::format(R"({{"schemaVersion":2,"manifests":[{}]}})", descriptor_json());
  EXPECT_TRUE(parse_manifest(index, media_type::oci_index)->is_index());
  EXPECT_TRUE(parse_manifest(index, media_type::docker_list)->is_index());
  EXPECT_EQ(parse_manifest(index, media_type::docker_list)->manifests.size(), 1u);
  const std::string artifact =
      fmt::format(R"({{"mediaType":"{}","artifactType":"a/b","blobs":[{}],"subject":{}}})",
                  media_type::oci_artifact, descriptor_json(), descriptor_json());
  const auto read = parse_manifest(artifact, media_type::oci_artifact);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->subject->digest.str(), digest_a);
  EXPECT_EQ(read->artifact_type, "a/b");
}

TEST(Manifest, FindsItsTypeInsideWhereTheRegistryIsVague) {
  const std::string with_type =
      image_json(descriptor_json(), "",
                 R"(,"mediaType":"application/vnd.docker.distribution.manifest.v2+json")");
  EXPECT_EQ(parse_manifest(with_type, "application/json; charset=utf-8")->media_type,
            media_type::docker_manifest);
  EXPECT_EQ(parse_manifest(image_json(descriptor_json(), ""), "")->media_type,
            media_type::oci_manifest);
  EXPECT_FALSE(parse_manifest(with_type, media_type::oci_manifest)) << "the two disagree";
}

struct Bad {
  const char* what;
  std::string json;
  ErrorKind kind = ErrorKind::invalid;
};

TEST(Manifest, RefusesWhatBreaksTheFormat) {
  const std::string good = descriptor_json();
  const Bad cases[] = {
      {"not JSON", "{"},
      {"not an object", "[]"},
      {"trailing bytes", image_json(good, good) + "x"},
      {"no config", R"({"schemaVersion":2,"layers":[]})"},
      {"ambiguous", image_json(good, good, R"(,"manifests":[])")},
      {"layers no list", fmt::format(R"({{"config":{},"layers":{{}}}})", good)},
      {"a layer no object", image_json(good, "1")},
      {"no digest", image_json(good, R"({"size":1})")},
      {"a bad digest", image_json(good, descriptor_json("sha256:../../etc"))},
      {"no size", image_json(good, fmt::format(R"({{"digest":"{}"}})", digest_a))},
      {"a negative size", image_json(good, descriptor_json(digest_a, "-1"))},
      {"a fractional size", image_json(good, descriptor_json(digest_a, "1.5"))},
      {"a size over 63 bits", image_json(good, descriptor_json(digest_a, "9223372036854775808"))},
      {"urls no list", image_json(good, descriptor_json(digest_a, "1", R"(,"urls":"x")"))},
      {"schemaVersion", image_json(good, "").replace(17, 1, "3")},
      {"schema 1", R"({"schemaVersion":1,"fsLayers":[]})", ErrorKind::unsupported},
      {"unknown type", image_json(good, "", R"(,"mediaType":"application/x")"),
       ErrorKind::unsupported},
  };
  for (const Bad& bad : cases) {
    const auto manifest = parse_manifest(bad.json, "");
    ASSERT_FALSE(manifest) << bad.what;
    EXPECT_EQ(manifest.error().kind, bad.kind) << bad.what << ": " << manifest.error().message;
  }
}

TEST(Manifest, IsBounded) {
  ManifestLimits limits;
  EXPECT_FALSE(parse_manifest(std::string(limits.bytes + 1, ' '), ""));
  EXPECT_FALSE(parse_manifest(std::string(2'000'000, '['), ""));
  std::string deep =
      R"({"a":)" + std::string(limits.depth, '[') + std::string(limits.depth, ']') + "}";
  EXPECT_FALSE(parse_manifest(deep, ""));
  std::string many = "{\"a\":[0";
  for (std::size_t i = 0; i < limits.json_values; ++i) many += ",0";
  EXPECT_FALSE(parse_manifest(many + "]}", ""));
  std::string layers = descriptor_json();
  for (int i = 0; i < 5; ++i) layers += "," + descriptor_json();
  limits.descriptors = 5;
  EXPECT_FALSE(
      parse_manifest(image_json(descriptor_json(), layers), "", Algorithm::sha256, limits));
}

TEST(Manifest, UsesEmbeddedDataOnlyWhenItProvesItself) {
  const std::string content = "{}";
  const std::string digest = Digest::of(content).str();
  const auto right = parse_manifest(
      image_json(
          descriptor_json(digest, "2", fmt::format(R"(,"data":"{}")", base64_encoded(content))),
          ""),
      "");
  EXPECT_EQ(right->blobs[0].data, content);
  const auto wrong = parse_manifest(
      image_json(descriptor_json(digest, "2", fmt::format(R"(,"data":"{}")", base64_encoded("[]"))),
                 ""),
      "");
  EXPECT_EQ(wrong->blobs[0].data, "");
}

TEST(Base64, RoundTrips) {
  for (const std::string& text : {std::string(), std::string("a"), std::string("ab"),
                                  std::string("abc"), std::string("user:pässword")}) {
    EXPECT_EQ(base64_decoded(base64_encoded(text)), text);
  }
  EXPECT_FALSE(base64_decoded("abc"));
  EXPECT_FALSE(base64_decoded("ab!="));
}

}  // namespace
}  // namespace transship::oci
