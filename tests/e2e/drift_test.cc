// Each kind of drift, planted by hand in the storage of a real docker-registry, and found by
// `verify`.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/servers.h"

namespace transship::testing {
namespace {

using Json = nlohmann::json;

class PlantedDrift : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_program("docker-registry")) GTEST_SKIP() << "docker-registry is not installed";
    source.emplace();
    target.emplace();
    write_file(config(),
               fmt::format("registries:\n  source: {{url: '{}'}}\n  target: {{url: '{}'}}\n"
                           "state: '{}'\nrules:\n  - {{name: r, source: source, targets: "
                           "[target], repositories: 'team/**', deletes: propagate}}\n",
                           source->url(), target->url(), (directory / "state").string()));
    for (const char* name : {"same", "missing", "different", "incomplete", "corrupt", "extra"})
      digests[name] = push(source->url(), fmt::format("team/{}", name), "v1", image(name));
    sync(0);
  }

  [[nodiscard]] std::string config() const { return (directory / "transship.yaml").string(); }
  static TestImage image(const std::string& name) {
    return make_image(std::hash<std::string>{}(name), {5000});
  }
  Finished command(std::vector<std::string> words) const {
    words.insert(words.begin(), TRANSSHIP_PROGRAM);
    words.insert(words.end(), {"--config", config(), "--output", "json"});
    return run(std::move(words));
  }
  void sync(int exit_code) const {
    const Finished finished = command({"sync", "--closure"});
    EXPECT_EQ(finished.exit_code, exit_code) << finished.output << finished.errors;
  }
  // The kinds by image, and the total under "".
  std::map<std::string, Json> verify(std::vector<std::string> words, int exit_code) const {
    words.insert(words.begin(), "verify");
    const Finished finished = command(std::move(words));
    EXPECT_EQ(finished.exit_code, exit_code) << finished.output << finished.errors;
    std::map<std::string, Json> found;
    std::istringstream text(finished.output);
    for (std::string line; std::getline(text, line);) {
      const Json json = Json::parse(line);
      if (json["type"] == "drift") {
        found[json["image"].get<std::string>()] = json["kind"];
        EXPECT_FALSE(json["detail"].get<std::string>().empty());
      } else {
        found[""] = json;
      }
    }
    return found;
  }
  static std::string hex(const std::string& digest) { return digest.substr(7); }
  // Of the image's one layer, or its config.
  static std::string some_blob(const std::string& name) {
    std::string largest;
    const TestImage of = image(name);
    for (const auto& [digest, bytes] : of.blobs) {
      if (largest.empty() || bytes.size() > of.blobs.at(largest).size()) largest = digest;
    }
    return largest;
  }
  [[nodiscard]] std::filesystem::path repository(const std::string& name) const {
    return target->storage() / "repositories" / "team" / name;
  }
  void flip_one_bit(const std::string& digest) const {
    const auto file =
        target->storage() / "blobs" / "sha256" / hex(digest).substr(0, 2) / hex(digest) / "data";
    std::string bytes = read_file(file);
    ASSERT_GT(bytes.size(), 1000u);
    bytes[1000] = static_cast<char>(bytes[1000] ^ 4);
    std::filesystem::remove(file);
    write_file(file, bytes);
  }

  std::optional<DockerRegistry> source;
  std::optional<DockerRegistry> target;
  TemporaryDirectory directory;
  std::map<std::string, std::string> digests;
};

TEST_F(PlantedDrift, IsFoundEachKindOfIt) {
  EXPECT_EQ(verify({"--deep"}, 0).at("")["in_step"], 6);

  std::filesystem::remove_all(repository("missing") / "_manifests" / "tags" / "v1");
  push(target->url(), "team/different", "v1", make_image(1000));
  std::filesystem::remove_all(repository("incomplete") / "_layers" / "sha256" /
                              hex(some_blob("incomplete")));
  flip_one_bit(some_blob("corrupt"));
  ASSERT_EQ(http("DELETE", source->url() + "/v2/team/extra/manifests/" + digests["extra"]).status,
            202);

  const std::map<std::string, Json> shallow = verify({}, 1);
  EXPECT_EQ(shallow.at("team/missing:v1"), "missing");
  EXPECT_EQ(shallow.at("team/different:v1"), "different");
  EXPECT_EQ(shallow.at("team/incomplete:v1"), "incomplete");
  EXPECT_EQ(shallow.at("team/extra:v1"), "extra");
  EXPECT_EQ(shallow.size(), 5u) << "its length is right, and only its bytes tell";
  EXPECT_EQ(shallow.at("")["images"], 5);
  EXPECT_EQ(shallow.at("")["in_step"], 2);
  EXPECT_EQ(shallow.at("")["drift"], 4);

  const std::map<std::string, Json> deep = verify({"--deep"}, 1);
  EXPECT_EQ(deep.at("team/corrupt:v1"), "corrupt");
  EXPECT_EQ(deep.at("")["in_step"], 1);
  EXPECT_EQ(deep.at("")["drift"], 5);

  // All but the flipped bit is mended; a registry that believes to have a blob takes no other.
  sync(0);
  const std::map<std::string, Json> after = verify({}, 0);
  EXPECT_EQ(after.at("")["in_step"], 5);
  EXPECT_EQ(incompleteness(target->url(), "team/incomplete", "v1"), "");
}

}  // namespace
}  // namespace transship::testing
