// `deletes: propagate` as plan, sync and verify do it, against registries that count.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/memory_registry.h"
#include "tests/support/process.h"

namespace transship::testing {
namespace {

using Json = nlohmann::json;

enum class Takes { tags, digests };

// The target deletes by tag, or by digest alone, as docker-registry does.
class DeleteCommands : public ::testing::TestWithParam<Takes> {
 protected:
  DeleteCommands() : target(traits()) { configure("repositories: ['**'], deletes: propagate"); }

  static MemoryRegistry::Traits traits() {
    MemoryRegistry::Traits traits;
    traits.deletes_tags = GetParam() == Takes::tags;
    return traits;
  }
  void configure(const std::string& rule, const std::string& state = {}) {
    write_file(config(),
               fmt::format("registries:\n  source: {{url: '{}'}}\n  target: {{url: '{}'}}\n"
                           "state: '{}'\n"
                           "retry: {{attempts: 2, first_pause: 10ms, longest_pause: 50ms}}\n"
                           "rules:\n  - {{name: r, source: source, targets: [target], {}}}\n",
                           source.url(), target.url(),
                           state.empty() ? (directory / "state").string() : state, rule));
  }
  [[nodiscard]] std::string config() const { return (directory / "transship.yaml").string(); }
  [[nodiscard]] Finished command(std::vector<std::string> words) const {
    words.insert(words.begin(), TRANSSHIP_PROGRAM);
    words.insert(words.end(), {"--config", config()});
    return run(std::move(words));
  }
  std::vector<Json> lines(std::vector<std::string> words, int exit_code) {
    words.insert(words.end(), {"--output", "json"});
    const Finished finished = command(std::move(words));
    EXPECT_EQ(finished.exit_code, exit_code) << finished.output << finished.errors;
    errors = finished.errors;
    std::vector<Json> all;
    std::istringstream text(finished.output);
    for (std::string line; std::getline(text, line);) all.push_back(Json::parse(line));
    EXPECT_TRUE(!all.empty() && all.back()["type"] == "total") << finished.output;
    return all;
  }
  // The lines of a type, by the image.
  static std::map<std::string, Json> of_type(const std::vector<Json>& lines, const char* type) {
    std::map<std::string, Json> found;
    for (const Json& line : lines) {
      if (line["type"] == type) found[line["image"].get<std::string>()] = line;
    }
    return found;
  }
  void hold_tags(int count) {
    for (int i = 0; i < count; ++i) {
      source.hold("team/app", fmt::format("v{:02}", i),
                  make_image(static_cast<std::uint64_t>(i), {100}));
    }
  }
  [[nodiscard]] int tags_at_target(int count) const {
    int there = 0;
    for (int i = 0; i < count; ++i)
      there += target.digest_of("team/app", fmt::format("v{:02}", i)).empty() ? 0 : 1;
    return there;
  }

  MemoryRegistry source;
  MemoryRegistry target;
  TemporaryDirectory directory;
  std::string errors;  // of the last command
};

INSTANTIATE_TEST_SUITE_P(Takes, DeleteCommands, ::testing::Values(Takes::tags, Takes::digests),
                         [](const auto& info) {
                           return info.param == Takes::tags ? "tags" : "digests";
                         });

TEST_P(DeleteCommands, WhatTheSourceLostIsPlannedReportedAndDeleted) {
  hold_tags(3);
  EXPECT_EQ(lines({"sync"}, 0).back()["deleted"], 0);
  source.drop_tag("team/app", "v01");

  const auto planned = lines({"plan"}, 0);
  const auto to_go = of_type(planned, "delete");
  ASSERT_EQ(to_go.size(), 1u);
  EXPECT_EQ(to_go.at("team/app:v01")["action"], "delete");
  EXPECT_EQ(to_go.at("team/app:v01")["target_image"], "team/app:v01");
  EXPECT_EQ(planned.back()["images"], 2);
  const auto drifted = lines({"verify"}, 1);
  EXPECT_EQ(of_type(drifted, "drift").at("team/app:v01")["kind"], "extra");
  EXPECT_EQ(drifted.back()["images"], 2);
  EXPECT_EQ(drifted.back()["drift"], 1);
  EXPECT_EQ(target.count("DELETE", "/manifests/"), 0u);

  const auto done = lines({"sync"}, 0);
  EXPECT_EQ(of_type(done, "delete").at("team/app:v01")["outcome"], "deleted");
  EXPECT_TRUE(of_type(done, "delete").at("team/app:v01")["error"].is_null());
  EXPECT_EQ(done.back()["deleted"], 1);
  EXPECT_EQ(done.back()["images"], 2);
  EXPECT_EQ(target.digest_of("team/app", "v01"), "");
  EXPECT_EQ(tags_at_target(3), 2);
  EXPECT_EQ(lines({"verify"}, 0).back()["drift"], 0);
  EXPECT_EQ(lines({"sync"}, 0).back()["deleted"], 0);
}

TEST_P(DeleteCommands, WithIgnoreNothingGoesAndNothingIsAskedFor) {
  configure("repositories: ['**']");
  hold_tags(3);
  lines({"sync"}, 0);
  source.drop_tag("team/app", "v01");
  source.forget_seen();
  target.forget_seen();
  EXPECT_TRUE(of_type(lines({"sync"}, 0), "delete").empty());
  EXPECT_EQ(source.seen().size(), 4u) << "the catalogue, the tags and each of two";
  EXPECT_EQ(target.seen().size(), 3u);
  EXPECT_FALSE(std::filesystem::exists(directory / "state" / "placed-tags.db"));
}

TEST_P(DeleteCommands, WhatTheRuleDidNotPutThereStays) {
  hold_tags(2);
  target.hold("team/app", "theirs", make_image(50));
  target.hold("other/app", "v1", make_image(51));
  lines({"sync"}, 0);
  const std::string moved = target.hold("team/app", "v00", make_image(52));
  source.drop_tag("team/app", "v00");
  EXPECT_TRUE(of_type(lines({"sync"}, 0), "delete").empty());
  EXPECT_EQ(target.digest_of("team/app", "v00"), moved);
  EXPECT_NE(target.digest_of("team/app", "theirs"), "");
  EXPECT_NE(target.digest_of("other/app", "v1"), "");
}

TEST_P(DeleteCommands, ATagFoundInStepCountsAsPlaced) {
  source.hold("team/app", "v1", make_image(1));
  target.hold("team/app", "v1", make_image(1));
  EXPECT_EQ(lines({"sync"}, 0).back()["unchanged"], 1);
  source.drop_tag("team/app", "v1");
  EXPECT_EQ(lines({"sync"}, 0).back()["deleted"], 1);
}

TEST_P(DeleteCommands, ATwinTagLivesOn) {
  const TestImage image = make_image(1);
  source.hold("team/app", "v1", image);
  source.hold("team/app", "latest", image);
  lines({"sync"}, 0);
  source.drop_tag("team/app", "v1");
  const bool by_tag = GetParam() == Takes::tags;
  const auto done = lines({"sync"}, by_tag ? 0 : 1);
  const Json line = of_type(done, "delete").at("team/app:v1");
  EXPECT_EQ(line["outcome"], by_tag ? "deleted" : "kept");
  EXPECT_EQ(target.digest_of("team/app", "latest"), image.digest());
  if (!by_tag) {
    EXPECT_NE(line["error"]["message"].get<std::string>().find("latest"), std::string::npos);
  }
}

TEST_P(DeleteCommands, TwinsThatAreBothGoneGoTogether) {
  const TestImage image = make_image(1);
  for (const char* tag : {"v1", "v1.0", "latest"}) source.hold("team/app", tag, image);
  source.hold("team/app", "v2", make_image(2));
  lines({"sync"}, 0);
  for (const char* tag : {"v1", "v1.0", "latest"}) source.drop_tag("team/app", tag);
  EXPECT_EQ(lines({"sync"}, 0).back()["deleted"], 3);
  EXPECT_EQ(target.digest_of("team/app", "v1"), "");
  EXPECT_NE(target.digest_of("team/app", "v2"), "");
}

TEST_P(DeleteCommands, WhatAnIndexHoldsStaysUntilTheIndexGoes) {
  const TestImage child = make_image(1);
  const TestImage index = make_index({child, make_image(2)});
  source.hold("team/app", "v1", index);
  source.hold("team/app", "v1-amd64", child);
  lines({"sync"}, 0);
  source.drop_tag("team/app", "v1-amd64");
  lines({"sync"}, GetParam() == Takes::tags ? 0 : 1);
  EXPECT_EQ(target.manifest_of("team/app", child.digest()), child.manifest);
  source.drop_tag("team/app", "v1");
  lines({"sync"}, 0);
  EXPECT_EQ(target.digest_of("team/app", "v1"), "");
  EXPECT_EQ(target.digest_of("team/app", "v1-amd64"), "");
}

TEST_P(DeleteCommands, ARepositoryThatVanishedIsGoneToo) {
  source.hold("team/app", "v1", make_image(1));
  source.hold("team/other", "v1", make_image(2));
  configure("repositories: ['team/*'], rename: 'mirror/{repository}', deletes: propagate");
  lines({"sync"}, 0);
  source.set_distortion([](const HostRequest& request, HostReply& reply) {
    if (request.path == "/v2/_catalog") reply.body = R"({"repositories":["team/other"]})";
    if (request.path.starts_with("/v2/team/app/"))
      reply = {404, {}, R"({"errors":[{"code":"NAME_UNKNOWN","message":"gone"}]})"};
  });
  const auto done = lines({"sync"}, 0);
  EXPECT_EQ(of_type(done, "delete").at("team/app:v1")["target_image"], "mirror/team/app:v1");
  EXPECT_EQ(target.digest_of("mirror/team/app", "v1"), "");
  EXPECT_NE(target.digest_of("mirror/team/other", "v1"), "");
}

TEST_P(DeleteCommands, OnlyAPlain404MeansGone) {
  hold_tags(3);
  lines({"sync"}, 0);
  // The list loses a tag, and what is asked for it by name is refused, or served after all.
  const auto lose_from_list = [&](int status) {
    source.set_distortion([status](const HostRequest& request, HostReply& reply) {
      if (request.path.ends_with("/tags/list")) reply.body = R"({"tags":["v00","v02"]})";
      if (request.path.ends_with("/manifests/v01") && status != 200) reply = {status, {}, {}};
    });
  };
  for (const int status : {200, 401, 403, 500, 502}) {
    lose_from_list(status);
    lines({"sync"}, status == 200 ? 0 : 1);
    EXPECT_EQ(tags_at_target(3), 3) << status;
  }
  // Something that answers 404 to everything is no registry.
  source.set_fault([](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path == "/v2/_catalog") return HostReply{200, {}, R"({"repositories":[]})"};
    return HostReply{404, {}, "<html>"};
  });
  lines({"sync"}, 1);
  EXPECT_EQ(tags_at_target(3), 3);
  // An empty answer of a list that failed halfway.
  source.set_fault([](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path.ends_with("/tags/list")) return HostReply{500, {}, {}};
    return std::nullopt;
  });
  source.drop_tag("team/app", "v01");
  lines({"sync"}, 1);
  EXPECT_EQ(tags_at_target(3), 3);
}

TEST_P(DeleteCommands, TheBreakerStopsAMassOfDeletesUntilAnOperatorAllowsThem) {
  hold_tags(40);
  lines({"sync"}, 0);
  for (int i = 0; i < 11; ++i) source.drop_tag("team/app", fmt::format("v{:02}", i));
  const auto stopped = lines({"sync"}, 1);
  EXPECT_EQ(stopped.back()["kept"], 11);
  EXPECT_EQ(stopped.back()["deleted"], 0);
  EXPECT_EQ(of_type(stopped, "delete").at("team/app:v00")["outcome"], "kept");
  EXPECT_NE(errors.find("11 of 40"), std::string::npos) << errors;
  EXPECT_EQ(tags_at_target(40), 40);
  EXPECT_EQ(lines({"plan"}, 0).back()["delete"], 11);
  // It stays so, also when fewer are gone.
  for (int i = 2; i < 11; ++i) {
    source.hold("team/app", fmt::format("v{:02}", i),
                make_image(static_cast<std::uint64_t>(i), {100}));
  }
  EXPECT_EQ(lines({"sync"}, 1).back()["kept"], 2);
  EXPECT_EQ(lines({"sync", "--allow-deletes"}, 0).back()["deleted"], 2);
  source.drop_tag("team/app", "v02");
  EXPECT_EQ(lines({"sync"}, 0).back()["deleted"], 1);
  EXPECT_EQ(tags_at_target(40), 37);
}

TEST_P(DeleteCommands, TenTagsMayGoAndATenthMayGo) {
  hold_tags(12);
  lines({"sync"}, 0);
  for (int i = 0; i < 10; ++i) source.drop_tag("team/app", fmt::format("v{:02}", i));
  EXPECT_EQ(lines({"sync"}, 0).back()["deleted"], 10);
}

TEST_P(DeleteCommands, ANamedImageIsDeletedAndNotFound) {
  hold_tags(3);
  lines({"sync"}, 0);
  source.drop_tag("team/app", "v01");
  source.drop_tag("team/app", "v02");
  const auto done = lines({"sync", "team/app:v01"}, 1);
  EXPECT_EQ(of_type(done, "delete").at("team/app:v01")["outcome"], "deleted");
  EXPECT_EQ(of_type(done, "image").at("team/app:v01")["error"]["kind"], "not_found");
  EXPECT_NE(target.digest_of("team/app", "v02"), "");
}

TEST_P(DeleteCommands, WhatAnotherRuleCarriesThereStays) {
  MemoryRegistry other;
  const TestImage image = make_image(1);
  source.hold("team/app", "v1", image);
  other.hold("app", "v1", image);
  write_file(config(),
             fmt::format("registries:\n  source: {{url: '{}'}}\n  other: {{url: '{}'}}\n"
                         "  target: {{url: '{}'}}\nstate: '{}'\nrules:\n"
                         "  - {{name: r, source: source, targets: [target], repositories: '**', "
                         "deletes: propagate}}\n"
                         "  - {{name: s, source: other, targets: [target], repositories: '**', "
                         "rename: 'team/{{repository}}'}}\n",
                         source.url(), other.url(), target.url(), (directory / "state").string()));
  lines({"sync"}, 0);
  source.drop_tag("team/app", "v1");
  EXPECT_TRUE(of_type(lines({"sync"}, 0), "delete").empty());
  other.drop_tag("app", "v1");
  EXPECT_EQ(lines({"sync"}, 0).back()["deleted"], 1);
}

TEST_P(DeleteCommands, AStateDirectoryThatCannotBeWrittenIsSaidOnceAndStopsNothing) {
  hold_tags(30);
  write_file(directory / "file", "");
  configure("repositories: ['**'], deletes: propagate", (directory / "file" / "state").string());
  EXPECT_EQ(lines({"sync"}, 0).back()["copied"], 30);
  const std::size_t said = errors.find("cannot open");
  EXPECT_NE(said, std::string::npos) << errors;
  EXPECT_EQ(errors.find("cannot open", said + 1), std::string::npos) << errors;
}

TEST_P(DeleteCommands, AnotherRegistryUnderTheOldNameLosesNothing) {
  hold_tags(3);
  lines({"sync"}, 0);
  MemoryRegistry other;  // empty
  write_file(config(),
             fmt::format("registries:\n  source: {{url: '{}'}}\n  target: {{url: '{}'}}\n"
                         "state: '{}'\nrules:\n  - {{name: r, source: source, targets: [target], "
                         "repositories: '**', deletes: propagate}}\n",
                         other.url(), target.url(), (directory / "state").string()));
  EXPECT_TRUE(of_type(lines({"sync"}, 0), "delete").empty());
  EXPECT_EQ(tags_at_target(3), 3);
}

TEST(DeleteCommandsRefused, ARegistryWithoutDeletesSaysSo) {
  MemoryRegistry source;
  MemoryRegistry::Traits traits;
  traits.deletes = false;
  MemoryRegistry target(traits);
  TemporaryDirectory directory;
  const std::string config = (directory / "transship.yaml").string();
  write_file(config, fmt::format("registries:\n  source: {{url: '{}'}}\n  target: {{url: '{}'}}\n"
                                 "state: '{}'\nrules:\n  - {{name: r, source: source, targets: "
                                 "[target], repositories: '**', deletes: propagate}}\n",
                                 source.url(), target.url(), (directory / "state").string()));
  source.hold("team/app", "v1", make_image(1));
  ASSERT_EQ(run({TRANSSHIP_PROGRAM, "sync", "--config", config}).exit_code, 0);
  source.drop_tag("team/app", "v1");
  const Finished finished = run({TRANSSHIP_PROGRAM, "sync", "--config", config});
  EXPECT_EQ(finished.exit_code, 1);
  EXPECT_NE(finished.errors.find("deletes are not enabled at this registry"), std::string::npos)
      << finished.errors;
}

}  // namespace
}  // namespace transship::testing
