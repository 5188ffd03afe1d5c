#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <map>

#include "daemon/commands/commands.h"

namespace {

using transship::commands::Common;
using transship::commands::Output;
using transship::commands::Selection;

void add_config(CLI::App& command, Common& common) {
  command.add_option("--config", common.config_file, "The configuration file")
      ->capture_default_str();
}

void add_output(CLI::App& command, Common& common) {
  static const std::map<std::string, Output> formats{{"text", Output::text},
                                                     {"json", Output::json}};
  command.add_option("--output", common.output, "How results are printed: text or json")
      ->transform(CLI::CheckedTransformer(formats))
      ->option_text("text|json");
}

void add_selection(CLI::App& command, Common& common, Selection& selection) {
  add_config(command, common);
  add_output(command, common);
  command.add_option("--rule", selection.rule, "Only this rule");
  command.add_option("--target", selection.target, "Only this target");
  command.add_option("IMAGE", selection.images,
                     "Only these: repository:tag or repository@digest, as at the source");
}

}  // namespace

int main(int argc, char** argv) {
  // A closed pipe or socket is an error where it is written to, not the end of the process.
  std::signal(SIGPIPE, SIG_IGN);

  CLI::App app("transship keeps container registries in step across regions.", "transship");
  app.set_version_flag("--version", std::string("transship ") + TRANSSHIP_VERSION);
  app.require_subcommand(1);
  Common common;
  int code = 0;

  CLI::App* run =
      app.add_subcommand("run", "The daemon: take push events and keep the targets in step");
  add_config(*run, common);
  run->callback([&] { code = transship::commands::run(common); });

  bool online = false;
  CLI::App* check =
      app.add_subcommand("check", "Read the configuration and print every mistake in it");
  add_config(*check, common);
  add_output(*check, common);
  check->add_flag("--online", online, "Also reach every registry and the bus, and report each");
  check->callback([&] { code = transship::commands::check(common, online); });

  Selection selection;
  CLI::App* plan =
      app.add_subcommand("plan", "Dry run: which images would be copied, and what that would cost");
  add_selection(*plan, common, selection);
  plan->callback([&] { code = transship::commands::plan(common, selection); });

  CLI::App* sync =
      app.add_subcommand("sync", "Bring the targets up to date once, then exit; needs no bus");
  add_selection(*sync, common, selection);
  transship::commands::SyncOptions sync_options;
  sync->add_flag("--closure", sync_options.closure,
                 "Also check and repair what unchanged tags reach");
  sync->add_flag("--allow-deletes", sync_options.allow_deletes,
                 "Delete what the source no longer has, however much that is (deletes: propagate)");
  sync->callback([&] { code = transship::commands::sync(common, selection, sync_options); });

  bool deep = false;
  CLI::App* verify = app.add_subcommand(
      "verify", "Prove that the targets hold what the rules say, down to every blob");
  add_selection(*verify, common, selection);
  verify->add_flag("--deep", deep, "Also read every blob back and hash it");
  verify->callback([&] { code = transship::commands::verify(common, selection, deep); });

  std::string source;
  std::string target;
  CLI::App* copy = app.add_subcommand("copy", "Copy one image; needs no configuration");
  add_config(*copy, common);
  add_output(*copy, common);
  copy->add_option("SRC", source, "[https://|http://]host[:port]/repository[:tag|@digest]")
      ->required();
  copy->add_option("DST", target, "The same; without a tag it takes the source's")->required();
  bool referrers = false;
  copy->add_flag("--referrers", referrers,
                 "Also copy what refers to it: signatures, SBOMs, attestations");
  copy->callback([&] { code = transship::commands::copy(common, source, target, referrers); });

  std::optional<std::string> url;
  CLI::App* status =
      app.add_subcommand("status", "Ask a running daemon how far behind each target is");
  add_config(*status, common);
  add_output(*status, common);
  status->add_option("--url", url,
                     "Where the daemon listens; default: http.listen of the configuration");
  status->callback([&] { code = transship::commands::status(common, url); });

  std::string image;
  CLI::App* why =
      app.add_subcommand("why", "Ask a running daemon why an image is, or is not, at a target");
  add_config(*why, common);
  add_output(*why, common);
  why->add_option("IMAGE", image, "repository:tag or repository@digest, as at the source")
      ->required();
  why->add_option("--target", target, "The target")->required();
  why->add_option("--url", url,
                  "Where the daemon listens; default: http.listen of the configuration");
  why->callback([&] { code = transship::commands::why(common, image, target, url); });

  transship::commands::DeadRequest dead_request;
  CLI::App* dead = app.add_subcommand("dead", "The images that a running daemon has given up");
  dead->require_subcommand(1);
  static const std::map<std::string, const char*> dead_actions{
      {"list", "List them, and why each was given up"},
      {"retry", "Send them again, with all their tries"},
      {"drop", "Forget them: they no longer count as pending"}};
  for (const auto& [action, help] : dead_actions) {
    CLI::App* command = dead->add_subcommand(action, help);
    add_config(*command, common);
    add_output(*command, common);
    command->add_option("--url", dead_request.url,
                        "Where the daemon listens; default: http.listen of the configuration");
    command->add_option("--target", dead_request.target, "Only those of this target");
    if (action != "list") {
      command->add_option("ID", dead_request.ids, "Which, by the ids that `dead list` shows");
      command->add_flag("--all", dead_request.all, "All of them, or all of the target");
    }
    command->callback([&, name = action] {
      dead_request.action = name;
      code = transship::commands::dead(common, dead_request);
    });
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  std::fputs("transship: the results could not be written\n", stderr);
  return code == 0 ? 1 : code;
}
