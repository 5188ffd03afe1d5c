#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "replicator/base/error.h"

// Images that were given up after all tries. They are kept on the bus, beside the events, so that
// they survive everything until a retry succeeds or an operator drops them.
namespace transship::bus {

using LetterTime = std::chrono::sys_time<std::chrono::milliseconds>;

// There is one for a rule, target and image: what is put later takes the place of what was there.
struct DeadLetter {
  // Of the pushes that it stands for, so many are kept: the oldest, and the newest of the others.
  static constexpr std::size_t pushes_max = 16;

  std::string id;  // id_of() its rule, target and image
  std::string target;
  std::string rule;
  std::string image;  // repository:tag as the source names it
  std::uint64_t attempts = 0;
  LetterTime first_failed;
  LetterTime last_failed;
  std::string error_kind;
  std::string error_message;
  std::vector<LetterTime> pushes;  // in order, each once
  bool pushed_before = false;      // the first of them at some time before, nobody knows when

  friend bool operator==(const DeadLetter&, const DeadLetter&) = default;
};

// 16 hexadecimal digits.
std::string dead_letter_id(std::string_view rule, std::string_view target, std::string_view image);

// `pushes` in order, each once, and no more than a dead letter keeps.
std::vector<LetterTime> pushes_kept(std::vector<LetterTime> pushes);

// How a dead letter is stored: one JSON object. parse() gives nothing for what is none of ours.
std::string to_text(const DeadLetter& letter);
std::optional<DeadLetter> parse_dead_letter(std::string_view text);

class DeadLetters {
 public:
  virtual ~DeadLetters() = default;

  struct Listing {
    std::string version;  // the same for the same content
    std::optional<std::vector<DeadLetter>>
        letters;  // none: as in the version that the caller knows
  };
  // All there are, of every target.
  virtual asio::awaitable<Result<Listing>> list(std::string known_version) = 0;
  // Returns once it is durable.
  virtual asio::awaitable<Result<void>> put(DeadLetter letter) = 0;
  // One that is not there is no error.
  virtual asio::awaitable<Result<void>> remove(std::string target, std::string id) = 0;
};

}  // namespace transship::bus
