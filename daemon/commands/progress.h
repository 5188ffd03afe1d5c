#pragma once

#include <algorithm>
#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/cancellation_signal.hpp>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "daemon/commands/batch.h"

namespace transship::commands {

// How far something is, as a line for people: "[####------] 12 of 40 images, 1.2 of 3.0 GiB,
// 80.0 MiB/s, 25 s left". What is not known is left out.
struct Measured {
  std::uint64_t images_done = 0;
  std::uint64_t images = 0;         // known so far
  std::uint64_t bytes = 0;          // that went
  std::uint64_t bytes_planned = 0;  // of the images that were begun
  double bytes_per_second = 0;      // lately
  double seconds = 0;               // since the beginning
};
std::string progress_text(const Measured& measured);
// What is left, in seconds; nullopt while nothing can be said.
std::optional<double> seconds_left(const Measured& measured);

// Tells on standard error how far a long command is: a line that is drawn over and over on a
// terminal, a plain line every few seconds elsewhere. Results go to standard output and are not its
// business.
class Progress {
 public:
  explicit Progress(const Answers& answers);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Draws now and then from here on, until stop().
  void start(asio::any_io_executor executor);
  void stop();

  void expect(std::uint64_t images) { expected_ += images; }
  void began() { ++begun_; }
  void ended() { ++ended_; }
  // Bytes of an image that may have to be sent; and, once it is done, that they were not needed.
  void planned(std::uint64_t bytes) { planned_ += bytes; }
  void not_needed(std::uint64_t bytes) { planned_ -= std::min(bytes, planned_); }
  // A line for people, above the progress.
  void message(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;
  asio::awaitable<void> draw_now_and_then();
  void measure();
  void draw();
  void wipe();

  const Answers& answers_;
  bool terminal_;
  bool drawn_ = false;
  std::uint64_t expected_ = 0;
  std::uint64_t begun_ = 0;
  std::uint64_t ended_ = 0;
  std::uint64_t planned_ = 0;
  double bytes_per_second_ = 0;  // smoothed over some seconds
  std::uint64_t measured_bytes_ = 0;
  Clock::time_point started_;
  Clock::time_point measured_at_;
  asio::cancellation_signal stop_;
};

// The pieces of the commands' JSON Lines.
using Json = nlohmann::ordered_json;
void print_json(const Json& line);
Json blobs_json(const ImageResult::Blobs& blobs);
Json bytes_json(const ImageResult::Bytes& bytes);
Json error_json(const Error& error);
Json unexamined_json(const Unexamined& what);
// A tag that is to go from a target; what becomes of it is added.
Json delete_json(const config::Rule& rule, const std::string& target, const PlacedTag& tag);

}  // namespace transship::commands
