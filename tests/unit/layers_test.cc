// Includes go one way. A forbidden one does not link either; this says so sooner and in words.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

namespace {

namespace fs = std::filesystem;

// What the files of each folder may include, of our own; the folder itself always.
const std::map<std::string, std::set<std::string>> allowed{
    {"config", {}},
    {"replicator/base", {}},
    {"replicator/oci", {"replicator/base"}},
    {"replicator/http", {"replicator/base"}},
    {"replicator/registry", {"replicator/base", "replicator/oci", "replicator/http"}},
    {"replicator", {"replicator/base", "replicator/oci", "replicator/http", "replicator/registry"}},
    {"monitoring", {"replicator/base"}},
    {"daemon/events", {"replicator/base", "replicator/oci"}},
    {"daemon/bus", {"replicator/base"}},
    {"daemon",
     {"config", "monitoring", "daemon/events", "daemon/bus", "replicator", "replicator/base",
      "replicator/oci", "replicator/http", "replicator/registry"}},
};

// The folder of the table that a path belongs to: the longest that begins it.
std::string folder_of(const std::string& path) {
  std::string best;
  for (const auto& [folder, others] : allowed) {
    if (path.starts_with(folder + "/") && folder.size() > best.size()) best = folder;
  }
  return best;
}

TEST(Layers, IncludesGoOneWay) {
  const fs::path root = TRANSSHIP_SOURCE_DIR;
  std::size_t files = 0;
  for (const char* top : {"config", "replicator", "monitoring", "daemon"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc") continue;
      ++files;
      const std::string path = fs::relative(entry.path(), root).string();
      const std::string from = folder_of(path);
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) {
        if (!line.starts_with("#include \"")) continue;
        const std::string included = line.substr(10, line.rfind('"') - 10);
        ASSERT_TRUE(fs::exists(root / included))
            << path << " includes " << included << ": write it from the top";
        const std::string to = folder_of(included);
        EXPECT_TRUE(to == from || allowed.at(from).contains(to))
            << path << " must not include " << included;
      }
    }
  }
  EXPECT_GT(files, 50u);
}

}  // namespace
