#include "daemon/bus/dead_letters.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace transship::bus {
namespace {

constexpr std::size_t id_bytes = 8;
constexpr std::size_t message_bytes_max = 4096;  // of an error's message

LetterTime time_of(const nlohmann::json& milliseconds) {
  return LetterTime(std::chrono::milliseconds(milliseconds.get<std::int64_t>()));
}

}  // namespace

std::string dead_letter_id(std::string_view rule, std::string_view target, std::string_view image) {
  const std::string named = fmt::format("{}\n{}\n{}", rule, target, image);
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  EVP_Digest(named.data(), named.size(), hash.data(), nullptr, EVP_sha256(), nullptr);
  std::string id;
  for (std::size_t i = 0; i < id_bytes; ++i) id += fmt::format("{:02x}", hash.at(i));
  return id;
}

std::vector<LetterTime> pushes_kept(std::vector<LetterTime> pushes) {
  std::sort(pushes.begin(), pushes.end());
  pushes.erase(std::unique(pushes.begin(), pushes.end()), pushes.end());
  if (pushes.size() > DeadLetter::pushes_max) {
    const auto surplus = static_cast<std::ptrdiff_t>(pushes.size() - DeadLetter::pushes_max);
    pushes.erase(pushes.begin() + 1, pushes.begin() + 1 + surplus);
  }
  return pushes;
}

std::string to_text(const DeadLetter& letter) {
  nlohmann::json pushes = nlohmann::json::array();
  for (const LetterTime push : letter.pushes) pushes.push_back(push.time_since_epoch().count());
  nlohmann::json json{{"id", letter.id},
                      {"target", letter.target},
                      {"rule", letter.rule},
                      {"image", letter.image},
                      {"attempts", letter.attempts},
                      {"first_failed", letter.first_failed.time_since_epoch().count()},
                      {"last_failed", letter.last_failed.time_since_epoch().count()},
                      {"error_kind", letter.error_kind},
                      {"error_message", letter.error_message.substr(0, message_bytes_max)},
                      {"pushes", std::move(pushes)}};
  if (letter.pushed_before) json["pushed_before"] = true;
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<DeadLetter> parse_dead_letter(std::string_view text) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  try {
    DeadLetter letter;
    letter.target = json.at("target").get<std::string>();
    letter.rule = json.at("rule").get<std::string>();
    letter.image = json.at("image").get<std::string>();
    letter.id = dead_letter_id(letter.rule, letter.target, letter.image);
    letter.attempts = json.at("attempts").get<std::uint64_t>();
    letter.first_failed = time_of(json.at("first_failed"));
    letter.last_failed = time_of(json.at("last_failed"));
    letter.error_kind = json.at("error_kind").get<std::string>();
    letter.error_message = json.at("error_message").get<std::string>();
    std::vector<LetterTime> pushes;
    for (const auto& push : json.at("pushes")) pushes.push_back(time_of(push));
    letter.pushes = pushes_kept(std::move(pushes));
    letter.pushed_before = json.value("pushed_before", false);
    if (json.at("id") != letter.id) return std::nullopt;
    return letter;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

}  // namespace transship::bus
