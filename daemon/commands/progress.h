#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "daemon/commands/batch.h"

namespace transship::commands {

// Tells on standard error how far a long command is: a line that is drawn over and over on a
// terminal, a plain line every few seconds elsewhere. Results go to standard output and are not its
// business.
class Progress {
 public:
  explicit Progress(const Answers& answers);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void began() { ++begun_; }
  void ended();
  // A line for people, above the progress.
  void message(const std::string& text);

 private:
  void draw();
  void wipe();

  const Answers& answers_;
  bool terminal_;
  bool drawn_ = false;
  std::uint64_t begun_ = 0;
  std::uint64_t ended_ = 0;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point last_drawn_;
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
