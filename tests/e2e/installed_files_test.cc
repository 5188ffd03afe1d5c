// What is installed beside the program, against what the program says of itself.
#include <gtest/gtest.h>
#include <re2/re2.h>

#include <map>
#include <set>
#include <sstream>

#include "tests/support/process.h"

namespace transship::testing {
namespace {

std::string source(const std::string& path) { return read_file(TRANSSHIP_SOURCE_DIR "/" + path); }

// The commands, and the options of each, by --help.
std::map<std::string, std::set<std::string>> commands() {
  std::map<std::string, std::set<std::string>> all;
  std::istringstream lines(run({TRANSSHIP_PROGRAM, "--help"}).output);
  bool listed = false;
  for (std::string line; std::getline(lines, line);) {
    std::string name;
    if (line.starts_with("Subcommands:")) listed = true;
    if (!listed || !RE2::PartialMatch(line, "^  ([a-z]+) ", &name)) continue;
    std::string help = run({TRANSSHIP_PROGRAM, name, "--help"}).output;
    if (name == "dead") help += run({TRANSSHIP_PROGRAM, name, "drop", "--help"}).output;
    re2::StringPiece rest(help);
    for (std::string option; RE2::FindAndConsume(&rest, "\n  (--[a-z-]+)", &option);)
      all[name].insert(option);
  }
  return all;
}

TEST(InstalledFiles, TheManPageAndTheCompletionsKnowEveryCommandAndOption) {
  const auto all = commands();
  ASSERT_GE(all.size(), 9u);
  const std::string page = source("systemd/man/transship.1.md");
  const std::string bash = source("systemd/completions/transship.bash");
  const std::string zsh = source("systemd/completions/_transship");
  const std::string fish = source("systemd/completions/transship.fish");
  for (const auto& [command, options] : all) {
    EXPECT_NE(page.find("`transship " + command), std::string::npos) << command;
    std::string in_bash;
    ASSERT_TRUE(RE2::PartialMatch(bash, "(?s)\n    " + command + "\\)(.*?);;", &in_bash))
        << command;
    EXPECT_NE(zsh.find("'" + command + "["), std::string::npos) << command;
    EXPECT_NE(fish.find("-a " + command + " "), std::string::npos) << command;
    for (const std::string& option : options) {
      EXPECT_NE(page.find(option), std::string::npos) << command << " " << option;
      EXPECT_TRUE(RE2::PartialMatch(in_bash, option + "[ ']")) << command << " " << option;
      EXPECT_NE(zsh.find("'" + option + "["), std::string::npos) << command << " " << option;
      EXPECT_NE(fish.find("-l " + option.substr(2) + " "), std::string::npos)
          << command << " " << option;
    }
  }
}

TEST(InstalledFiles, BashTakesTheCompletionAndCompletes) {
  const Finished completed =
      run({"bash", "-c",
           "_init_completion() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} "
           "words=(\"${COMP_WORDS[@]}\") cword=$COMP_CWORD; }; . " TRANSSHIP_SOURCE_DIR
           "/systemd/completions/transship.bash; COMP_WORDS=(transship verify --d); COMP_CWORD=2; "
           "_transship; echo ${COMPREPLY[@]}; COMP_WORDS=(transship dead r); _transship; echo "
           "${COMPREPLY[@]}"});
  EXPECT_EQ(completed.output, "--deep\nretry\n") << completed.errors;
}

TEST(InstalledFiles, ManFindsNothingWrongWithTheManPages) {
  if (!has_program("groff")) GTEST_SKIP() << "groff is not installed";
  for (const auto& [name, path] : std::map<std::string, std::string>{
           {"transship", "systemd/man/transship.1.md"}, {"transship.yaml", "config/README.md"}}) {
    const Finished made =
        run({"sh", "-c",
             "awk -f " TRANSSHIP_SOURCE_DIR "/systemd/man/markdown-to-man -v name=" + name +
                 " -v section=5 -v date=2026-01-01 -v version=1 " + TRANSSHIP_SOURCE_DIR "/" +
                 path + " | groff -man -Kutf8 -Tutf8 -ww -z"});
    EXPECT_EQ(made.exit_code, 0);
    EXPECT_EQ(made.errors, "") << name;
  }
}

}  // namespace
}  // namespace transship::testing
