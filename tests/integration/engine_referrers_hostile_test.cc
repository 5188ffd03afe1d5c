#include <nlohmann/json.hpp>

#include "tests/integration/engine_referrers_fixture.h"

// Lists that lie, never end or are stale: each ends in a clear result within its limit.
namespace transship::testing {
namespace {

std::string entry(const std::string& digest) {
  return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":10}})",
                     oci::media_type::oci_manifest, digest);
}
std::string list_of(const std::vector<std::string>& digests) {
  std::string entries;
  for (const std::string& digest : digests) entries += (entries.empty() ? "" : ",") + entry(digest);
  return fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}})",
                     oci::media_type::oci_index, entries);
}
std::string invented(std::size_t number) {
  return oci::Digest::of(fmt::format("{}", number)).str();
}

class EngineReferrersHostileTest : public EngineReferrersTest {
 protected:
  // The source answers to each question for referrers what this returns.
  using Answer = std::function<HostReply(const HostRequest&)>;
  void answer_lists(Answer answer) {
    from_->set_fault(
        [answer = std::move(answer)](const HostRequest& request) -> std::optional<HostReply> {
          if (request.path.find("/referrers/") == std::string::npos) return std::nullopt;
          return answer(request);
        });
  }
  static HostReply index_reply(std::string body) {
    return {200, {{"Content-Type", std::string(oci::media_type::oci_index)}}, std::move(body)};
  }
  void hold_image() { from_->hold("a", "v1", image_); }
  Error failure() {
    auto result = loop_.run(copy_image(job_for("a:v1")));
    EXPECT_FALSE(result);
    EXPECT_EQ(to_->digest_of("a", "v1"), "") << "no tag before its referrers";
    return result ? Error{} : result.error();
  }
};

TEST_F(EngineReferrersHostileTest, PagesWithoutEnd) {
  open(with_api(), with_api());
  hold_image();
  answer_lists([this](const HostRequest& request) {
    HostReply reply = index_reply(list_of({invented(1)}));
    reply.headers.emplace_back("Link",
                               fmt::format(R"(<{}?page={}>; rel="next")", request.path, ++asked_));
    return reply;
  });
  const Error error = failure();
  EXPECT_EQ(error.kind, ErrorKind::invalid);
  EXPECT_THAT(error.message, ::testing::HasSubstr("pages without end"));
  EXPECT_LE(asked_, 3u);
}

TEST_F(EngineReferrersHostileTest, ANextPageOnAnotherHost) {
  open(with_api(), with_api());
  hold_image();
  answer_lists([this](const HostRequest& request) {
    HostReply reply = index_reply(list_of({invented(1)}));
    reply.headers.emplace_back("Link", "<" + to_->url() + request.path + ">; rel=\"next\"");
    return reply;
  });
  EXPECT_EQ(failure().kind, ErrorKind::invalid);
  EXPECT_EQ(to_->count("GET", "/referrers/"), 0u);
}

TEST_F(EngineReferrersHostileTest, MoreThanAnyImageHas) {
  open(with_api(), with_api());
  hold_image();
  answer_lists([this](const HostRequest& request) {
    std::vector<std::string> digests;
    for (int i = 0; i < 100; ++i) digests.push_back(invented(asked_++));
    HostReply reply = index_reply(list_of(digests));
    reply.headers.emplace_back(
        "Link", fmt::format(R"(<{}?page={}>; rel="next")", request.path, asked_.load()));
    return reply;
  });
  const Error error = failure();
  EXPECT_EQ(error.kind, ErrorKind::invalid);
  EXPECT_LE(asked_, registry::Registry::referrers_max + 200);
}

TEST_F(EngineReferrersHostileTest, EveryReferrerHasMore) {
  open(with_api(), with_api());
  hold_image();
  answer_lists([this](const HostRequest&) {
    const std::size_t number = asked_++;
    std::vector<std::string> digests;
    for (std::size_t i = 0; i < 100; ++i) digests.push_back(invented(number * 100 + i));
    return index_reply(list_of(digests));
  });
  const Error error = failure();
  EXPECT_EQ(error.kind, ErrorKind::invalid);
  EXPECT_THAT(error.message, ::testing::HasSubstr("more than 5000 referrers"));
  EXPECT_LE(asked_, 200u);
}

TEST_F(EngineReferrersHostileTest, AChainWithoutEnd) {
  open(with_api(), with_api());
  hold_image();
  answer_lists([this](const HostRequest&) { return index_reply(list_of({invented(asked_++)})); });
  const Error error = failure();
  EXPECT_EQ(error.kind, ErrorKind::invalid);
  EXPECT_THAT(error.message, ::testing::HasSubstr("deeper than 8 levels"));
  EXPECT_LE(asked_, 10u);
}

TEST_F(EngineReferrersHostileTest, ListsThatNameOneAnotherEnd) {
  open(with_api(), with_api());
  made_ = {make_referrer(image_, kind_, 1)};
  const TestImage& sbom = made_.front();
  hold_image();
  from_->hold("a", "", sbom);
  answer_lists([this](const HostRequest& request) {
    const bool of_image = request.path.ends_with(image_.digest());
    const std::string digest = made_.front().digest();
    return index_reply(list_of({of_image ? digest : image_.digest(), digest}));
  });
  copy("a:v1");
  expect_referrer(image_, sbom);
}

TEST_F(EngineReferrersHostileTest, WhatRefersToSomethingElseIsNoReferrerOfThis) {
  open(with_api(), with_api());
  made_ = {make_referrer(make_image(2), kind_, 1)};
  const TestImage& stray = made_.front();
  hold_image();
  from_->hold("a", "", stray);
  from_->hold("a", "", make_image(3));
  answer_lists([this](const HostRequest&) {
    return index_reply(list_of({made_.front().digest(), make_image(3).digest()}));
  });
  const ImageResult copied = copy("a:v1");
  EXPECT_EQ(copied.referrers, 0u);
  EXPECT_TRUE(copied.left_out.empty());
  EXPECT_EQ(to_->manifest_of("a", stray.digest()), "");
  EXPECT_FALSE(drift_of("a:v1"));
}

TEST_F(EngineReferrersHostileTest, WhatTheSourceLostIsLeftOutAndSaid) {
  open(without_api(), without_api());
  const TestImage whole = make_referrer(image_, kind_, 1);
  const TestImage lost = make_referrer(image_, kind_, 2);
  const TestImage without_blob = make_referrer(image_, kind_, 3);
  hold_image();
  hold_listed(*from_, image_, {whole, lost, without_blob});
  from_->drop_manifest("a", lost.digest());
  const auto blobs = oci::parse_manifest(without_blob.manifest, "")->blobs;
  from_->drop_blob("a", blobs.back().digest.str());
  const ImageResult copied = copy("a:v1");
  EXPECT_EQ(copied.outcome, ImageOutcome::copied);
  EXPECT_EQ(copied.referrers, 1u);
  ASSERT_EQ(copied.left_out.size(), 2u);
  EXPECT_THAT(copied.left_out[0], ::testing::HasSubstr(lost.digest()));
  EXPECT_THAT(copied.left_out[1], ::testing::HasSubstr(without_blob.digest()));
  expect_referrer(image_, whole);
  EXPECT_EQ(to_->manifest_of("a", without_blob.digest()), "");
}

TEST_F(EngineReferrersHostileTest, WhatTheSourceCannotGiveNowIsAnError) {
  open(with_api(), with_api());
  made_ = {make_referrer(image_, kind_, 1)};
  hold_image();
  from_->hold("a", "", made_.front());
  from_->set_fault([this](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path.ends_with(made_.front().digest())) return HostReply{500, {}, {}};
    return std::nullopt;
  });
  EXPECT_EQ(failure().kind, ErrorKind::transient);
}

TEST_F(EngineReferrersHostileTest, AnswersThatMeanThatThereIsNoApi) {
  struct Case {
    int status;
    std::string type;
  };
  for (const Case& c : {Case{404, "text/plain"},
                        {405, "text/plain"},
                        {501, "text/plain"},
                        {200, "text/html"},
                        {200, "application/json"}}) {
    open(without_api(), with_api());
    const TestImage sbom = make_referrer(image_, kind_, 1);
    hold_image();
    hold_listed(*from_, image_, {sbom});
    asked_ = 0;
    answer_lists([this, c](const HostRequest&) {
      ++asked_;
      return HostReply{c.status, {{"Content-Type", c.type}}, "<html>{}"};
    });
    copy("a:v1");
    expect_referrer(image_, sbom);
    EXPECT_EQ(asked_, 1u) << c.status;
  }
}

TEST_F(EngineReferrersHostileTest, ARefusedListIsAnError) {
  open(with_api(), with_api());
  hold_image();
  answer_lists([](const HostRequest&) { return HostReply{403, {}, {}}; });
  EXPECT_EQ(failure().kind, ErrorKind::unauthorized);
}

TEST_F(EngineReferrersHostileTest, ARegistryThatListsNoTagsIsAskedForTheUsualOnes) {
  open(with_api(), with_api());
  hold_image();
  from_->hold("a", referrers_tag(image_.digest(), "att"), make_signature(1));
  from_->set_fault([](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path.ends_with("/tags/list")) return HostReply{403, {}, {}};
    return std::nullopt;
  });
  EXPECT_EQ(copy("a:v1").referrers, 1u);
}

TEST_F(EngineReferrersHostileTest, AFallbackTagThatHoldsNoIndex) {
  open(without_api(), without_api());
  hold_image();
  from_->hold("a", referrers_tag(image_.digest()), make_image(7));
  EXPECT_EQ(copy("a:v1").referrers, 0u) << "at the source it lists nothing";

  const TestImage sbom = make_referrer(image_, kind_, 1);
  hold_listed(*from_, image_, {sbom});
  to_->drop_tag("a", "v1");
  to_->hold("a", referrers_tag(image_.digest()), make_image(7));
  const Error error = failure();
  EXPECT_EQ(error.kind, ErrorKind::invalid);
  EXPECT_THAT(error.message, ::testing::HasSubstr("no index of referrers"));
  EXPECT_EQ(to_->digest_of("a", referrers_tag(image_.digest())), make_image(7).digest());
}

// GitLab's registry takes the tag sha256-<hex> for the digest that it is made of.
TEST_F(EngineReferrersHostileTest, AFallbackTagThatShowsItsSubject) {
  const auto digest_of_tag = [](MemoryRegistry& registry) {
    return [&registry](const HostRequest& request) -> std::optional<HostReply> {
      const std::size_t at = request.path.find("/manifests/sha256-");
      if (at == std::string::npos || request.method == "PUT") return std::nullopt;
      const std::string digest = "sha256:" + request.path.substr(at + 18);
      const std::string manifest = registry.manifest_of("a", digest);
      if (manifest.empty()) return HostReply{404, {}, {}};
      return HostReply{200,
                       {{"Content-Type", registry.media_type_of("a", digest)},
                        {"Docker-Content-Digest", digest}},
                       manifest};
    };
  };
  const TestImage index = make_index({image_, make_image(2)});
  open(without_api(), with_api());
  from_->set_fault(digest_of_tag(*from_));
  from_->hold("a", "v1", index);
  EXPECT_EQ(copy("a:v1").referrers, 0u) << "its children do not refer to it";
  EXPECT_LE(from_->count("GET", "/manifests/"), 3u) << "and are not read for that";

  open(with_api(), without_api());
  to_->set_fault(digest_of_tag(*to_));
  from_->hold("a", "v1", index);
  from_->hold("a", "", make_referrer(index, kind_, 1));
  to_->hold("a", "old", index);
  const Error error = failure();
  EXPECT_EQ(error.kind, ErrorKind::unsupported);
  EXPECT_EQ(to_->count("PUT", referrers_tag(index.digest())), 1u);
}

// Quay answers so for a subject that it does not hold.
TEST_F(EngineReferrersHostileTest, AListOfAnUnknownSubjectIsEmpty) {
  open(with_api(), with_api());
  made_ = {make_referrer(image_, kind_, 1)};
  hold_image();
  from_->hold("a", "", made_.front());
  to_->hold("a", "old", make_image(2));
  to_->set_fault([](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path.find("/referrers/") == std::string::npos) return std::nullopt;
    return HostReply{400,
                     {{"Content-Type", "application/json"}},
                     R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]})"};
  });
  EXPECT_EQ(copy("a:v1").referrers, 1u);
  EXPECT_THAT(to_->tags_of("a"), ::testing::UnorderedElementsAre("old", "v1"));
}

TEST_F(EngineReferrersHostileTest, ATargetThatTakesNoReferrerAtAllIsAnError) {
  open(with_api(), with_api());
  made_ = {make_referrer(image_, kind_, 1)};
  hold_image();
  from_->hold("a", "", made_.front());
  to_->set_fault([this](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method != "PUT" || !request.path.ends_with(made_.front().digest()))
      return std::nullopt;
    return HostReply{405, {}, {}};
  });
  EXPECT_EQ(failure().kind, ErrorKind::unsupported);
  EXPECT_EQ(to_->count("PUT", made_.front().digest()), 2u) << "once more, after its subject";
  EXPECT_EQ(to_->count("PUT", image_.digest()), 1u);
}

TEST_F(EngineReferrersHostileTest, ManyPagesAreFollowed) {
  MemoryRegistry::Traits paged = with_api();
  paged.page_size = 3;
  open(paged, with_api());
  hold_image();
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    from_->hold("a", "", make_referrer(image_, kind_, seed));
  EXPECT_EQ(copy("a:v1").referrers, 20u);
}

}  // namespace
}  // namespace transship::testing
