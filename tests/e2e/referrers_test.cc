// Signatures, SBOMs and attestations between real docker-registries, which have no API for them,
// and what the commands say of them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/http.h"
#include "tests/support/memory_registry.h"
#include "tests/support/servers.h"

namespace transship::testing {
namespace {

using Json = nlohmann::json;

constexpr const char* kind = "application/vnd.example.sbom";

// Pushes a referrer as a client does where there is no API: by digest, then the index of all.
void attach(const std::string& registry, const std::string& repository, const TestImage& subject,
            const std::vector<TestImage>& referrers) {
  for (const TestImage& referrer : referrers)
    push(registry, repository, referrer.digest(), referrer);
  push_manifest(registry, repository, referrers_tag(subject.digest()), make_index(referrers));
}

class ReferrersCommands : public ::testing::Test {
 protected:
  void configure(const std::string& source, const std::string& target,
                 const std::string& rule = "repositories: '**'") {
    write_file(config(),
               fmt::format("registries:\n  source: {{url: '{}'}}\n  target: {{url: '{}'}}\n"
                           "state: '{}'\n"
                           "retry: {{attempts: 2, first_pause: 10ms, longest_pause: 50ms}}\n"
                           "rules:\n  - {{name: r, source: source, targets: [target], {}}}\n",
                           source, target, (directory_ / "state").string(), rule));
  }
  [[nodiscard]] std::string config() const { return (directory_ / "transship.yaml").string(); }
  // The JSON Lines of a command.
  std::vector<Json> lines(std::vector<std::string> words, int exit_code) const {
    words.insert(words.begin(), TRANSSHIP_PROGRAM);
    words.insert(words.end(), {"--config", config(), "--output", "json"});
    const Finished finished = run(std::move(words));
    EXPECT_EQ(finished.exit_code, exit_code) << finished.output << finished.errors;
    std::vector<Json> all;
    std::istringstream text(finished.output);
    for (std::string line; std::getline(text, line);) all.push_back(Json::parse(line));
    EXPECT_FALSE(all.empty());
    return all;
  }

  TemporaryDirectory directory_;
};

class RealReferrers : public ReferrersCommands {
 protected:
  void SetUp() override {
    if (!has_program("docker-registry")) GTEST_SKIP() << "docker-registry is not installed";
    source_.emplace();
    target_.emplace();
    configure(source_->url(), target_->url(), "repositories: '**', tags: 'v*'");
  }
  std::vector<std::string> tags_at_target() const {
    const auto listed = http("GET", target_->url() + "/v2/app/tags/list");
    return Json::parse(listed.body).value("tags", std::vector<std::string>());
  }

  std::optional<DockerRegistry> source_;
  std::optional<DockerRegistry> target_;
};

TEST_F(RealReferrers, TravelWithTheirImageAndAreProven) {
  const TestImage image = make_image(1);
  const TestImage sbom = make_referrer(image, kind, 1);
  const TestImage of_sbom = make_referrer(sbom, kind, 2);
  push(source_->url(), "app", "v1", image);
  attach(source_->url(), "app", image, {sbom});
  attach(source_->url(), "app", sbom, {of_sbom});
  const std::string signature = referrers_tag(image.digest(), "sig");
  push(source_->url(), "app", signature, make_signature(1));
  push(source_->url(), "app", referrers_tag(make_image(2).digest(), "sig"), make_signature(2));

  const auto said = lines({"sync"}, 0);
  ASSERT_EQ(said.size(), 2u) << "one image: its signature is none of its own";
  EXPECT_EQ(said[0]["referrers"], 3);
  EXPECT_THAT(tags_at_target(),
              ::testing::UnorderedElementsAre("v1", signature, referrers_tag(image.digest()),
                                              referrers_tag(sbom.digest())));
  EXPECT_EQ(incompleteness(target_->url(), "app", referrers_tag(image.digest())), "");
  EXPECT_EQ(incompleteness(target_->url(), "app", of_sbom.digest()), "");
  EXPECT_EQ(digest_at(target_->url(), "app", signature), make_signature(1).digest());
  lines({"verify", "--deep"}, 0);
}

TEST_F(RealReferrers, LateOnesAreBroughtByClosureAlone) {
  const TestImage image = make_image(1);
  const TestImage first = make_referrer(image, kind, 1);
  const TestImage late = make_referrer(image, kind, 2);
  push(source_->url(), "app", "v1", image);
  attach(source_->url(), "app", image, {first});
  lines({"sync"}, 0);
  attach(source_->url(), "app", image, {first, late});
  EXPECT_EQ(lines({"sync"}, 0).back()["unchanged"], 1);
  EXPECT_EQ(digest_at(target_->url(), "app", late.digest()), "");

  const auto drift = lines({"verify"}, 1);
  EXPECT_EQ(drift[0]["kind"], "incomplete");
  EXPECT_THAT(drift[0]["detail"].get<std::string>(), ::testing::HasSubstr(late.digest()));
  EXPECT_EQ(lines({"sync", "--closure"}, 0).back()["copied"], 1);
  EXPECT_EQ(incompleteness(target_->url(), "app", referrers_tag(image.digest())), "");
  lines({"verify"}, 0);
  EXPECT_EQ(lines({"sync", "--closure"}, 0).back()["unchanged"], 1);
}

TEST_F(RealReferrers, CopyBringsThemWhereAsked) {
  const TestImage image = make_image(1);
  push(source_->url(), "app", "v1", image);
  attach(source_->url(), "app", image, {make_referrer(image, kind, 1)});
  const auto copy = [&](std::vector<std::string> more) {
    std::vector<std::string> words{"copy", source_->url() + "/app:v1", target_->url() + "/app"};
    words.insert(words.end(), more.begin(), more.end());
    return lines(words, 0).back();
  };
  EXPECT_EQ(copy({})["referrers"], 0);
  EXPECT_THAT(tags_at_target(), ::testing::ElementsAre("v1"));
  const Json late = copy({"--referrers"});
  EXPECT_EQ(late["outcome"], "copied");
  EXPECT_EQ(late["referrers"], 1);
  EXPECT_EQ(incompleteness(target_->url(), "app", referrers_tag(image.digest())), "");
  EXPECT_EQ(copy({"--referrers"})["outcome"], "unchanged");
}

TEST_F(RealReferrers, WithFalseSignaturesStayBehind) {
  configure(source_->url(), target_->url(), "repositories: '**', referrers: false");
  const TestImage image = make_image(1);
  push(source_->url(), "app", "v1", image);
  push(source_->url(), "app", referrers_tag(image.digest(), "sig"), make_signature(1));
  EXPECT_EQ(lines({"sync"}, 0).back()["images"], 1);
  EXPECT_THAT(tags_at_target(), ::testing::ElementsAre("v1"));
  EXPECT_EQ(lines({"verify"}, 0).back()["images"], 1);
}

TEST_F(ReferrersCommands, PlanCountsThemAndSyncDoesWhatItSaid) {
  MemoryRegistry::Traits traits;
  traits.referrers_api = true;
  MemoryRegistry source(traits);
  MemoryRegistry target;
  configure(source.url(), target.url());
  const TestImage image = make_image(1);
  source.hold("a", "v1", image);
  source.hold("a", "", make_referrer(image, kind, 1));
  source.hold("a", "", make_referrer(image, kind, 2));
  source.hold("a", referrers_tag(image.digest(), "sig"), make_signature(1));
  target.hold("a", "old", make_image(2));
  const auto planned = lines({"plan"}, 0);
  for (const auto& seen : target.seen())
    EXPECT_TRUE(seen.method == "GET" || seen.method == "HEAD") << seen.method << " " << seen.path;
  EXPECT_EQ(planned.back()["images"], 1);
  EXPECT_EQ(planned[0]["blobs"]["send"], 3 + 3 + 2);
  const auto done = lines({"sync"}, 0);
  EXPECT_EQ(done[0]["blobs"]["copied"], 8);
  EXPECT_EQ(done.back()["bytes"]["sent"], planned.back()["bytes"]["send"]);
  EXPECT_EQ(source.count("GET", "/tags/"), 2u) << "one list a command";
}

TEST_F(ReferrersCommands, VerifyDeepReadsTheirBlobsToo) {
  MemoryRegistry source;
  MemoryRegistry target;
  configure(source.url(), target.url());
  const TestImage image = make_image(1);
  const TestImage signature = make_signature(1);
  source.hold("a", "v1", image);
  source.hold("a", referrers_tag(image.digest(), "sig"), signature);
  lines({"sync"}, 0);
  lines({"verify", "--deep"}, 0);
  const auto blobs = oci::parse_manifest(signature.manifest, signature.media_type)->blobs;
  const std::string layer = blobs.back().digest.str();
  target.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (request.method == "GET" && request.path.ends_with(layer)) reply.body[5] ^= 1;
  });
  lines({"verify"}, 0);
  const auto drift = lines({"verify", "--deep"}, 1);
  EXPECT_EQ(drift[0]["kind"], "corrupt");
  EXPECT_THAT(drift[0]["detail"].get<std::string>(), ::testing::HasSubstr(layer));
}

TEST_F(ReferrersCommands, ASignatureIsNoImageToBeNamed) {
  MemoryRegistry source;
  MemoryRegistry target;
  configure(source.url(), target.url());
  const TestImage image = make_image(1);
  source.hold("a", "v1", image);
  source.hold("a", referrers_tag(image.digest(), "sig"), make_signature(1));
  const auto said = lines({"sync", "a:" + referrers_tag(image.digest(), "sig")}, 1);
  EXPECT_EQ(said[0]["error"]["kind"], "not_found");
  EXPECT_THAT(said[0]["error"]["message"].get<std::string>(), ::testing::HasSubstr("travels"));
}

TEST_F(ReferrersCommands, SyncSaysWhatTheSourceLostItself) {
  MemoryRegistry source;
  MemoryRegistry target;
  configure(source.url(), target.url());
  const TestImage image = make_image(1);
  const TestImage lost = make_referrer(image, kind, 1);
  source.hold("a", "v1", image);
  source.hold("a", "", lost);
  source.hold("a", referrers_tag(image.digest()), make_index({lost}));
  source.drop_manifest("a", lost.digest());
  const auto said = lines({"sync"}, 0);
  EXPECT_EQ(said[0]["outcome"], "copied");
  ASSERT_EQ(said[0]["left_out"].size(), 1u);
  EXPECT_THAT(said[0]["left_out"][0].get<std::string>(), ::testing::HasSubstr(lost.digest()));
  lines({"verify"}, 0);
}

}  // namespace
}  // namespace transship::testing
