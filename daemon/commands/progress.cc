#include "daemon/commands/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "daemon/commands/load.h"

namespace transship::commands {

namespace {

constexpr std::chrono::milliseconds redraw_every{200};
constexpr std::chrono::seconds line_every{10};

}  // namespace

Progress::Progress(const Answers& answers)
    : answers_(answers),
      terminal_(::isatty(STDERR_FILENO) != 0),
      started_(std::chrono::steady_clock::now()),
      last_drawn_(started_) {}

Progress::~Progress() { wipe(); }

void Progress::ended() {
  ++ended_;
  const auto now = std::chrono::steady_clock::now();
  if (now - last_drawn_ < (terminal_ ? std::chrono::milliseconds(redraw_every) : line_every))
    return;
  last_drawn_ = now;
  draw();
}

void Progress::draw() {
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  const auto rate =
      static_cast<std::uint64_t>(static_cast<double>(answers_.bytes()) / std::max(seconds, 0.001));
  const std::string text =
      fmt::format("{} images done, {} under way, {} sent, {}/s", ended_, begun_ - ended_,
                  bytes_text(answers_.bytes()), bytes_text(rate));
  if (terminal_) {
    fmt::print(stderr, "\r\033[K{}", text);
    drawn_ = true;
  } else {
    fmt::print(stderr, "{}\n", text);
  }
}

void Progress::wipe() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
  drawn_ = false;
}

void Progress::message(const std::string& text) {
  wipe();
  fmt::print(stderr, "{}\n", text);
}

void print_json(const Json& line) {
  fmt::print("{}\n", line.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Json blobs_json(const ImageResult::Blobs& blobs) {
  return {{"copied", blobs.copied}, {"mounted", blobs.mounted}, {"present", blobs.present}};
}

Json bytes_json(const ImageResult::Bytes& bytes) {
  return {{"sent", bytes.sent}, {"mounted", bytes.mounted}, {"present", bytes.present}};
}

Json error_json(const Error& error) {
  return {{"kind", to_string(error.kind)}, {"message", error.message}};
}

Json unexamined_json(const Unexamined& what) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? Json() : Json(text);
  };
  return {{"type", "error"},
          {"rule", text_or_null(what.rule)},
          {"target", text_or_null(what.target)},
          {"image", text_or_null(what.image)},
          {"error", error_json(what.error)}};
}

Json delete_json(const config::Rule& rule, const std::string& target, const PlacedTag& tag) {
  return {{"type", "delete"},
          {"rule", rule.name},
          {"target", target},
          {"image", tag.image()},
          {"target_image", tag.target_image()}};
}

}  // namespace transship::commands
