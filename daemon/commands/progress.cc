#include "daemon/commands/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <cstdio>

#include "daemon/commands/load.h"
#include "replicator/base/task.h"

namespace transship::commands {

namespace {

constexpr std::chrono::milliseconds redraw_every{200};
constexpr std::chrono::seconds line_every{10};
constexpr std::size_t bar_width = 20;
constexpr double smoothed_over_seconds = 3;

// How much is done, of what is known; nullopt while that is too little.
std::optional<double> share_done(const Measured& measured) {
  if (measured.images == 0) return std::nullopt;
  const double by_images =
      static_cast<double>(measured.images_done) / static_cast<double>(measured.images);
  if (measured.bytes_planned == 0) return by_images;
  const double by_bytes =
      static_cast<double>(measured.bytes) / static_cast<double>(measured.bytes_planned);
  // One image says all by its bytes; of many, those that were not begun have no bytes yet.
  return measured.images == 1 ? std::min(by_bytes, 1.0) : by_images;
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::uint64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

}  // namespace

std::optional<double> seconds_left(const Measured& measured) {
  std::optional<double> left;
  if (measured.bytes_planned > measured.bytes && measured.bytes_per_second > 1) {
    left = static_cast<double>(measured.bytes_planned - measured.bytes) / measured.bytes_per_second;
  }
  const auto done = share_done(measured);
  if (measured.images > 1 && done && *done > 0 && measured.seconds > 1) {
    const double by_images = measured.seconds * (1 - *done) / *done;
    left = std::max(left.value_or(0), by_images);
  }
  return left;
}

std::string progress_text(const Measured& measured) {
  std::string text;
  if (const auto done = share_done(measured)) {
    const auto full = static_cast<std::size_t>(*done * bar_width);
    text = fmt::format("[{}{}] ", std::string(full, '#'), std::string(bar_width - full, '-'));
  }
  text += fmt::format("{} of {} images", measured.images_done, measured.images);
  if (measured.bytes_planned > 0) {
    text += fmt::format(", {} of {} sent, {}/s", bytes_text(measured.bytes),
                        bytes_text(std::max(measured.bytes, measured.bytes_planned)),
                        bytes_text(static_cast<std::uint64_t>(measured.bytes_per_second)));
  }
  if (const auto left = seconds_left(measured))
    text += fmt::format(", {} left", duration_text(*left));
  return text;
}

Progress::Progress(const Answers& answers)
    : answers_(answers),
      terminal_(::isatty(STDERR_FILENO) != 0),
      started_(Clock::now()),
      measured_at_(started_) {}

Progress::~Progress() { wipe(); }

void Progress::start(asio::any_io_executor executor) {
  asio::co_spawn(executor, draw_now_and_then(),
                 asio::bind_cancellation_slot(stop_.slot(), asio::detached));
}

void Progress::stop() {
  stop_.emit(asio::cancellation_type::terminal);
  wipe();
}

asio::awaitable<void> Progress::draw_now_and_then() {
  for (;;) {
    co_await sleep_for(terminal_ ? redraw_every : std::chrono::milliseconds(line_every));
    measure();
    draw();
  }
}

void Progress::measure() {
  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - measured_at_).count();
  const std::uint64_t bytes = answers_.bytes();
  const double rate = static_cast<double>(bytes - measured_bytes_) / std::max(seconds, 0.001);
  const double weight = std::min(1.0, seconds / smoothed_over_seconds);
  bytes_per_second_ += (rate - bytes_per_second_) * (measured_bytes_ == 0 ? 1.0 : weight);
  measured_bytes_ = bytes;
  measured_at_ = now;
}

void Progress::draw() {
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  const std::string text = progress_text({ended_, std::max(expected_, begun_), answers_.bytes(),
                                          planned_, bytes_per_second_, seconds});
  if (terminal_) {
    fmt::print(stderr, "\r\033[K{}", text);
    std::fflush(stderr);
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
