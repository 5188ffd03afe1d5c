#include <fmt/format.h>

#include "daemon/commands/commands.h"
#include "daemon/commands/remote.h"

namespace transship::commands {

namespace {

std::string text_or(const nlohmann::json& value, std::string_view otherwise) {
  return value.is_string() ? value.get<std::string>() : std::string(otherwise);
}

// What a stage means, for people.
std::string meaning(const std::string& stage) {
  if (stage == "in_step") return "the target shows what the source shows";
  if (stage == "queued") return "it waits for its turn";
  if (stage == "copying") return "it is being copied";
  if (stage == "retrying") return "it failed, and is tried again";
  if (stage == "dead_lettered") return "it was given up; see transship dead";
  if (stage == "filtered") return "no rule for this target wants it";
  if (stage == "not_at_source") return "the source does not have it";
  return "nobody can tell: see the error";
}

void print_text(const nlohmann::json& why) {
  const std::string stage = text_or(why["stage"], "unknown");
  fmt::print("{} at {}: {}, {}\n", text_or(why["image"], "?"), text_or(why["target"], "?"), stage,
             meaning(stage));
  for (const char* key :
       {"rule", "target_image", "source_digest", "target_digest", "first_failed", "next_try"}) {
    if (why[key].is_string()) fmt::print("  {:<14} {}\n", key, why[key].get<std::string>());
  }
  if (why["attempts"] != 0) fmt::print("  {:<14} {}\n", "attempts", why["attempts"].dump());
  if (why["last_error"].is_object()) {
    fmt::print("  {:<14} {} ({})\n", "last_error", text_or(why["last_error"]["message"], "?"),
               text_or(why["last_error"]["at"], "?"));
  }
}

}  // namespace

int why(const Common& common, const std::string& image, const std::string& target,
        const std::optional<std::string>& url) {
  auto remote = Remote::find(common, url);
  if (!remote) return 2;
  auto answer = remote->ask(
      "GET", fmt::format("/api/v1/why?image={}&target={}", escaped(image), escaped(target)));
  if (!answer) {
    fmt::print(stderr, "{}\n", answer.error().message);
    return answer.error().unanswered ? 3 : 1;
  }
  const bool explained = answer->status == 200 && answer->json.is_object();
  if (!explained || !answer->json.contains("stage")) {
    fmt::print(stderr, "{}\n", answer->message());
    // The image or the target is none.
    return answer->status == 400 || answer->status == 404 ? 2 : 1;
  }
  if (common.output == Output::json) {
    fmt::print("{}\n", answer->json.dump());
  } else {
    print_text(answer->json);
  }
  return answer->json["stage"] == "in_step" ? 0 : 1;
}

}  // namespace transship::commands
