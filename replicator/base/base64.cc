#include "replicator/base/base64.h"

#include <openssl/evp.h>

#include <algorithm>

namespace transship {

std::string base64_encoded(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // EVP writes a NUL behind
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

std::optional<std::string> base64_decoded(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  // EVP counts the bytes that padding stands for.
  const std::string_view end = text.substr(text.size() - std::min<std::size_t>(2, text.size()));
  out.resize(static_cast<std::size_t>(size) -
             static_cast<std::size_t>(std::count(end.begin(), end.end(), '=')));
  return out;
}

}  // namespace transship
