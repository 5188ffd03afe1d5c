// The one-shot commands as an operator runs them, against registries that count.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/memory_registry.h"
#include "tests/support/process.h"

namespace transship::testing {
namespace {

using Json = nlohmann::json;

class Commands : public ::testing::Test {
 protected:
  Commands() { configure("repositories: ['**']"); }

  void configure(const std::string& rule, const std::string& more_registries = {},
                 const std::string& targets = "[target]") {
    write_file(config(),
               fmt::format("registries:\n  source: {{url: '{}'}}\n  target: {{url: '{}'}}\n{}"
                           "state: '{}'\n"
                           "retry: {{attempts: 2, first_pause: 10ms, longest_pause: 50ms}}\n"
                           "rules:\n  - {{name: r, source: source, targets: {}, {}}}\n",
                           source.url(), target.url(), more_registries,
                           (directory / "state").string(), targets, rule));
  }
  [[nodiscard]] std::string config() const { return (directory / "transship.yaml").string(); }
  [[nodiscard]] Finished command(std::vector<std::string> words) const {
    words.insert(words.begin(), TRANSSHIP_PROGRAM);
    words.insert(words.end(), {"--config", config()});
    return run(std::move(words));
  }
  // The JSON Lines of a command, which must end with a total.
  std::vector<Json> lines(std::vector<std::string> words, int exit_code) const {
    words.insert(words.end(), {"--output", "json"});
    const Finished finished = command(std::move(words));
    EXPECT_EQ(finished.exit_code, exit_code) << finished.output << finished.errors;
    std::vector<Json> all;
    std::istringstream text(finished.output);
    for (std::string line; std::getline(text, line);) all.push_back(Json::parse(line));
    EXPECT_FALSE(all.empty());
    if (!all.empty()) {
      EXPECT_EQ(all.back()["type"], "total");
    }
    return all;
  }

  MemoryRegistry source;
  MemoryRegistry target;
  TemporaryDirectory directory;
};

TEST_F(Commands, SyncBringsTheTargetUpToDateAndSaysWhatItDid) {
  const TestImage image = make_image(1);
  source.hold("team/app", "v1", image);
  source.hold("team/app", "v2", image);
  source.hold("team/multi", "v1", make_index({make_image(2), make_image(3)}));
  const auto said = lines({"sync"}, 0);
  ASSERT_EQ(said.size(), 4u);
  EXPECT_EQ(said.back()["images"], 3);
  EXPECT_EQ(said.back()["copied"], 3);
  EXPECT_EQ(said.back()["failed"], 0);
  EXPECT_EQ(target.digest_of("team/app", "v1"), image.digest());
  EXPECT_EQ(target.digest_of("team/multi", "v1"), source.digest_of("team/multi", "v1"));
  EXPECT_LE(target.most_sends_of_one_blob(), 1u);
  for (const char* field : {"type", "rule", "source", "target", "image", "target_image", "digest",
                            "outcome", "blobs", "bytes", "seconds", "error"}) {
    EXPECT_TRUE(said.front().contains(field)) << field;
  }
}

TEST_F(Commands, ABackfillOfAnEmptyTargetCostsTwoRequestsABlobAndOneAManifest) {
  const std::string shared = noise(9, 3000);
  std::size_t blobs = 1;
  for (std::uint64_t i = 0; i < 10; ++i) {
    source.hold("team/app", fmt::format("v{}", i), make_image_of({shared, noise(100 + i, 500)}, i));
    blobs += 2;  // its config and its own layer
  }
  lines({"sync"}, 0);
  EXPECT_EQ(target.seen().size(), 2 * blobs + 10 + 1) << "and one list";
}

TEST_F(Commands, NothingToDoCostsOneRequestATagAtEachSide) {
  for (std::uint64_t i = 0; i < 50; ++i) {
    const TestImage image = make_image(i, {100});
    source.hold("team/app", fmt::format("v{}", i), image);
    target.hold("team/app", fmt::format("v{}", i), image);
  }
  const auto said = lines({"sync"}, 0);
  EXPECT_EQ(said.back()["unchanged"], 50);
  EXPECT_EQ(source.seen().size(), 52u) << "the catalogue and the tags";
  EXPECT_EQ(target.seen().size(), 51u);
}

TEST_F(Commands, ARepositoryMayHaveMoreTagsThanAreLookedAtAtOnce) {
  const TestImage image = make_image(1, {100});
  for (int i = 0; i < 300; ++i) source.hold("team/app", fmt::format("v{}", i), image);
  EXPECT_EQ(lines({"sync"}, 0).back()["copied"], 300);
}

TEST_F(Commands, PlanWritesNothingAndSyncDoesWhatItSaid) {
  const std::string shared = noise(7, 4000);
  source.hold("team/one", "v1", make_image_of({shared, noise(1, 100)}, 1));
  source.hold("team/two", "v1", make_image_of({shared, noise(2, 200)}, 2));
  target.hold("team/two", "old", make_image_of({noise(2, 200)}, 3));
  const auto planned = lines({"plan"}, 0);
  ASSERT_EQ(planned.size(), 3u);
  for (const auto& seen : target.seen()) {
    EXPECT_TRUE(seen.method == "GET" || seen.method == "HEAD") << seen.method << " " << seen.path;
  }
  EXPECT_EQ(planned.back()["copy"], 2);
  const auto done = lines({"sync"}, 0);
  EXPECT_EQ(done.back()["bytes"]["sent"], planned.back()["bytes"]["send"]);
  EXPECT_EQ(done.back()["bytes"]["mounted"], planned.back()["bytes"]["mount"]);
  EXPECT_EQ(done.back()["bytes"]["present"], planned.back()["bytes"]["present"]);
  EXPECT_EQ(planned.back()["bytes"]["mount"], 4000);
  EXPECT_EQ(planned.back()["bytes"]["present"], 200);
}

TEST_F(Commands, VerifyFindsEachKindOfDrift) {
  const TestImage image = make_image(1, {1000});
  for (const char* tag : {"same", "missing", "different"}) source.hold("team/app", tag, image);
  target.hold("team/app", "same", image);
  target.hold("team/app", "different", make_image(2));
  source.hold("team/holes", "v1", make_image(3, {500}));
  target.hold("team/holes", "v1", make_image(3, {500}));
  const std::string lost = make_image(3, {500}).blobs.begin()->first;
  target.drop_blob("team/holes", lost);
  const auto said = lines({"verify"}, 1);
  std::map<std::string, std::string> kinds;
  for (const Json& line : said) {
    if (line["type"] == "drift")
      kinds[line["image"].get<std::string>()] = line["kind"].get<std::string>();
  }
  EXPECT_EQ(kinds, (std::map<std::string, std::string>{{"team/app:missing", "missing"},
                                                       {"team/app:different", "different"},
                                                       {"team/holes:v1", "incomplete"}}));
  EXPECT_EQ(said.back()["images"], 4);
  EXPECT_EQ(said.back()["in_step"], 1);
  EXPECT_EQ(said.back()["drift"], 3);
}

TEST_F(Commands, DeepVerifyFindsOneFlippedBit) {
  const TestImage image = make_image(1, {1000});
  source.hold("team/app", "v1", image);
  target.hold("team/app", "v1", image);
  EXPECT_EQ(lines({"verify", "--deep"}, 0).back()["in_step"], 1);
  target.set_distortion([](const HostRequest& request, HostReply& reply) {
    if (request.method == "GET" && request.path.find("/blobs/") != std::string::npos &&
        reply.body.size() > 500) {
      reply.body[500] = static_cast<char>(reply.body[500] ^ 1);
    }
  });
  EXPECT_EQ(lines({"verify"}, 0).back()["in_step"], 1) << "its length is right";
  const auto said = lines({"verify", "--deep"}, 1);
  EXPECT_EQ(said.front()["kind"], "corrupt") << said.front().dump();
}

TEST_F(Commands, ClosureRepairsWhatAnUnchangedTagReaches) {
  const TestImage image = make_image(1, {1000});
  source.hold("team/app", "v1", image);
  target.hold("team/app", "v1", image);
  const std::string lost = image.blobs.begin()->first;
  target.drop_blob("team/app", lost);
  EXPECT_EQ(lines({"sync"}, 0).back()["unchanged"], 1);
  EXPECT_EQ(lines({"sync", "--closure"}, 0).back()["copied"], 1);
  EXPECT_TRUE(target.has_blob("team/app", lost));
  EXPECT_EQ(lines({"sync", "--closure"}, 0).back()["unchanged"], 1);
}

TEST_F(Commands, NamedImagesNeedNoCatalogue) {
  source.set_fault([](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path == "/v2/_catalog") return HostReply{404, {}, {}};
    return std::nullopt;
  });
  const std::string digest = source.hold("team/app", "v1", make_image(1));
  EXPECT_EQ(lines({"sync", "team/app:v1", "team/app@" + digest}, 0).back()["images"], 2);
  EXPECT_EQ(target.digest_of("team/app", "v1"), digest);
  const auto said = lines({"sync"}, 1);
  ASSERT_EQ(said.size(), 2u);
  EXPECT_EQ(said[0]["type"], "error");
  EXPECT_TRUE(said[0]["image"].is_null());
  EXPECT_EQ(said[0]["error"]["kind"], "unsupported");
  EXPECT_EQ(said[1]["failed"], 1);
}

TEST_F(Commands, AnImageThatNobodyKnowsIsNotFound) {
  configure("repositories: ['team/*']");
  source.hold("team/app", "v1", make_image(1));
  const auto said = lines({"sync", "other/app:v1", "team/app:nope"}, 1);
  EXPECT_EQ(said.back()["failed"], 2);
  for (const Json& line : said) {
    if (line["type"] == "image") {
      EXPECT_EQ(line["error"]["kind"], "not_found") << line.dump();
    }
  }
}

TEST_F(Commands, OneDeadTargetAmongSeveralIsAFailureADeadSourceIsNothingPossible) {
  source.hold("team/app", "v1", make_image(1));
  const std::string dead = fmt::format("  dead: {{url: 'http://127.0.0.1:{}'}}\n", free_port());
  configure("repositories: ['**']", dead, "[target, dead]");
  EXPECT_EQ(command({"sync"}).exit_code, 1);
  EXPECT_NE(target.digest_of("team/app", "v1"), "");
  EXPECT_EQ(command({"sync", "--target", "dead"}).exit_code, 3);
  const auto unreachable =
      run({TRANSSHIP_PROGRAM, "copy", fmt::format("http://127.0.0.1:{}/a/b:v1", free_port()),
           fmt::format("http://{}/a/b", target.host())});
  EXPECT_EQ(unreachable.exit_code, 3) << unreachable.errors;
}

TEST_F(Commands, MistakesInTheQuestionTouchNothing) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"sync", "--rule", "none"},
                                                {"sync", "--target", "none"},
                                                {"sync", "team/app"},
                                                {"plan", "--frobnicate"},
                                                {"verify", "--output", "xml"}}) {
    EXPECT_EQ(command(words).exit_code, 2) << words.back();
  }
  EXPECT_TRUE(source.seen().empty());
  EXPECT_TRUE(target.seen().empty());
}

TEST_F(Commands, CopyTakesTagsDigestsAndDefaults) {
  const std::string digest = source.hold("team/app", "latest", make_image(1));
  const auto copy = [&](const std::string& from, const std::string& to) {
    return run({TRANSSHIP_PROGRAM, "copy", "--output", "json",
                fmt::format("http://{}/{}", source.host(), from),
                fmt::format("http://{}/{}", target.host(), to)});
  };
  const auto by_default = copy("team/app", "mirror/app");
  ASSERT_EQ(by_default.exit_code, 0) << by_default.errors;
  EXPECT_EQ(target.digest_of("mirror/app", "latest"), digest);
  const Json said = Json::parse(by_default.output);
  EXPECT_EQ(said["outcome"], "copied");
  EXPECT_EQ(said["digest"], digest);
  EXPECT_EQ(said["source"], source.host());
  EXPECT_EQ(said["target_image"], "mirror/app:latest");
  EXPECT_FALSE(said.contains("rule"));
  EXPECT_EQ(copy("team/app", "mirror/app:v2").exit_code, 0);
  EXPECT_EQ(target.digest_of("mirror/app", "v2"), digest);
  EXPECT_EQ(copy("team/app@" + digest, "by/digest").exit_code, 0);
  EXPECT_EQ(target.media_type_of("by/digest", digest), oci::media_type::oci_manifest);
  EXPECT_EQ(copy("team/app", "by/other@sha256:" + std::string(64, '0')).exit_code, 1);
  const auto absent = copy("team/app:nope", "x");
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_EQ(Json::parse(absent.output)["error"]["kind"], "not_found");
}

TEST_F(Commands, CopyTakesCredentialsFromTheDockerConfiguration) {
  MemoryRegistry::Traits traits;
  traits.basic_auth = "robot:s3cret";
  traits.bearer_auth = true;
  MemoryRegistry locked(traits);
  const std::string digest = source.hold("team/app", "v1", make_image(1));
  const std::vector<std::string> words{TRANSSHIP_PROGRAM, "copy",
                                       fmt::format("http://{}/team/app:v1", source.host()),
                                       fmt::format("http://{}/team/app", locked.host())};
  write_file(directory / "config.json", "{}");
  const std::vector<std::string> environment{"DOCKER_CONFIG=" + directory.path().string()};
  const Finished refused = run(words, environment);
  EXPECT_EQ(refused.exit_code, 1) << "a 401 is an answer";
  EXPECT_EQ(refused.errors.find("s3cret"), std::string::npos);
  write_file(directory / "config.json",
             fmt::format(R"({{"auths":{{"{}":{{"username":"robot","password":"s3cret"}}}}}})",
                         locked.host()));
  const Finished taken = run(words, environment);
  EXPECT_EQ(taken.exit_code, 0) << taken.errors;
  EXPECT_EQ(locked.digest_of("team/app", "v1"), digest);
}

TEST_F(Commands, CheckTellsEveryMistakeWithItsPlaceAndOnlineReachesEachRegistry) {
  write_file(config(),
             "registries: {a: {url: 'ftp://x'}}\nrules: [{name: r, source: b, targets: [a], "
             "repositories: '**'}]\nfoo: 1\n");
  const Finished wrong = command({"check"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_NE(wrong.output.find(config() + ":1:"), std::string::npos) << wrong.output;
  EXPECT_NE(wrong.output.find(config() + ":2:"), std::string::npos) << wrong.output;
  EXPECT_NE(wrong.output.find(config() + ":3:"), std::string::npos) << wrong.output;
  configure("repositories: ['**']");
  EXPECT_EQ(command({"check"}).exit_code, 0);
  EXPECT_TRUE(source.seen().empty());
  EXPECT_EQ(command({"check", "--online"}).exit_code, 0);
  EXPECT_FALSE(source.seen().empty());
  configure("repositories: ['**']",
            fmt::format("  dead: {{url: 'http://127.0.0.1:{}'}}\n", free_port()), "[target, dead]");
  EXPECT_EQ(command({"check", "--online"}).exit_code, 1);
}

TEST_F(Commands, ResultsThatCannotBeWrittenAreAFailure) {
  configure("repositories: ['**']");
  const Finished full =
      run({"sh", "-c",
           std::string(TRANSSHIP_PROGRAM) + " check --config " + config() + " > /dev/full"});
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_NE(full.errors.find("could not be written"), std::string::npos) << full.errors;
}

}  // namespace
}  // namespace transship::testing
