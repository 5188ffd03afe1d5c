#include "daemon/bus/message.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

namespace transship::bus {
namespace {

constexpr std::size_t key_bytes_max = 200;
constexpr std::size_t header_framing_bytes = 4;  // ": " and the end of the line

bool is_token(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return c > ' ' && c < 0x7f && c != '.' && c != '*' && c != '>';
  });
}

bool breaks_a_line(char c) { return c == '\r' || c == '\n' || c == '\0'; }

bool can_be_carried(const std::string& name, const std::string& value) {
  const auto fits_a_name = [](char c) { return c > ' ' && c < 0x7f && c != ':'; };
  return !name.empty() && std::all_of(name.begin(), name.end(), fits_a_name) &&
         std::none_of(value.begin(), value.end(), breaks_a_line);
}

std::string sha256_hex(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned int bytes = 0;
  EVP_Digest(text.data(), text.size(), hash.data(), &bytes, EVP_sha256(), nullptr);
  std::string hex;
  for (unsigned int i = 0; i < bytes; ++i) hex += fmt::format("{:02x}", hash.at(i));
  return hex;
}

}  // namespace

std::size_t bytes_of(const Message& message) {
  std::size_t bytes = message.body.size();
  for (const auto& [name, value] : message.headers) {
    bytes += name.size() + value.size() + header_framing_bytes;
  }
  return bytes;
}

Result<void> check(const std::vector<Message>& messages, std::size_t bytes_max) {
  for (const Message& message : messages) {
    if (!is_token(message.registry)) {
      return fail(ErrorKind::invalid,
                  fmt::format("'{}' cannot be a registry's name on the bus", message.registry));
    }
    if (const std::size_t bytes = bytes_of(message); bytes > bytes_max) {
      return fail(ErrorKind::invalid,
                  fmt::format("an event of {} has {} bytes, and the bus carries at most {}",
                              message.registry, bytes, bytes_max));
    }
    for (const auto& [name, value] : message.headers) {
      if (can_be_carried(name, value)) continue;
      return fail(ErrorKind::invalid,
                  fmt::format("a header of an event of {} breaks its line", message.registry));
    }
  }
  return {};
}

std::string dedup_key(const Message& message) {
  if (!message.id || message.id->empty()) return {};
  const std::string& id = *message.id;
  const bool plain = std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (plain && message.registry.size() + 1 + id.size() <= key_bytes_max) {
    return fmt::format("{}/{}", message.registry, id);
  }
  return fmt::format("{}/sha256:{}", message.registry, sha256_hex(id));
}

}  // namespace transship::bus
