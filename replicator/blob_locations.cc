#include "replicator/blob_locations.h"

#include <algorithm>
#include <cstring>

namespace transship {

namespace {

constexpr std::size_t names_max = 200'000;

unsigned char nibble(char hex) {
  return static_cast<unsigned char>(hex <= '9' ? hex - '0' : hex - 'a' + 10);
}

// Without a bit: those behind it move up.
std::uint8_t without_bit(std::uint8_t bits, unsigned place) {
  const unsigned below = bits & ((1U << place) - 1U);
  const unsigned above = (static_cast<unsigned>(bits) >> (place + 1U)) << place;
  return static_cast<std::uint8_t>(below | above);
}

}  // namespace

std::size_t BlobLocations::Hash::operator()(const Key& key) const {
  std::size_t value = 0;  // a digest's bytes are as good as any hash
  std::memcpy(&value, key.data(), sizeof value);
  return value;
}

BlobLocations::Key BlobLocations::key_of(const oci::Digest& blob) {
  const std::string_view hex = blob.hex();
  Key key{};
  for (std::size_t i = 0; i < key.size(); ++i) {
    key.at(i) = static_cast<unsigned char>(nibble(hex[2 * i]) << 4U | nibble(hex[2 * i + 1]));
  }
  return key;
}

const BlobLocations::Entry* BlobLocations::find(const oci::Digest& blob) const {
  const auto found = index_.find(key_of(blob));
  if (found == index_.end()) return nullptr;
  const Entry& entry = **found;
  return entry.is_sha512 == (blob.algorithm() == oci::Algorithm::sha512) ? &entry : nullptr;
}

std::uint8_t BlobLocations::place_in(const Entry& entry, const oci::Repository& repository) const {
  const auto number = numbers_.find(repository.str());
  if (number == numbers_.end()) return entry.count;
  const auto* end = entry.repositories.begin() + entry.count;
  return static_cast<std::uint8_t>(std::find(entry.repositories.begin(), end, number->second) -
                                   entry.repositories.begin());
}

std::uint32_t BlobLocations::number_of(const oci::Repository& repository) {
  const auto [found, added] =
      numbers_.try_emplace(repository.str(), static_cast<std::uint32_t>(names_.size()));
  if (added) names_.push_back(repository);
  return found->second;
}

void BlobLocations::take_out(Entry& entry, std::uint8_t place) {
  auto* const at = entry.repositories.begin() + place;
  std::copy(at + 1, entry.repositories.begin() + entry.count, at);
  entry.told = without_bit(entry.told, place);
  --entry.count;
}

void BlobLocations::note(const oci::Digest& blob, const oci::Repository& repository, bool told) {
  ++changes_;
  if (names_.size() >= names_max) {  // begins anew, rather than to hold names that nobody needs
    index_.clear();
    by_age_.clear();
    names_.clear();
    numbers_.clear();
  }
  const Key key = key_of(blob);
  const bool is_sha512 = blob.algorithm() == oci::Algorithm::sha512;
  const auto found = index_.find(key);
  Entries::iterator entry;
  if (found == index_.end()) {
    entry = by_age_.insert(by_age_.end(), Entry{key, is_sha512, 0, 0, {}});
    index_.insert(entry);
  } else {
    entry = *found;
    by_age_.splice(by_age_.end(), by_age_, entry);
    if (entry->is_sha512 != is_sha512) *entry = Entry{key, is_sha512, 0, 0, {}};
  }
  bool was_told = false;
  if (const auto place = place_in(*entry, repository); place < entry->count) {
    was_told = (entry->told >> place & 1U) != 0;
    take_out(*entry, place);
  } else if (entry->count == repositories_max) {
    take_out(*entry, 0);
  }
  entry->repositories.at(entry->count) = number_of(repository);
  if (told || was_told) entry->told = static_cast<std::uint8_t>(entry->told | 1U << entry->count);
  ++entry->count;
  if (by_age_.size() > bound_) {
    index_.erase(by_age_.begin());
    by_age_.pop_front();
  }
}

void BlobLocations::forget(const oci::Digest& blob, const oci::Repository& repository) {
  const auto found = index_.find(key_of(blob));
  if (found == index_.end()) return;
  const auto entry = *found;
  const auto place = place_in(*entry, repository);
  if (place == entry->count) return;
  ++changes_;
  take_out(*entry, place);
  if (entry->count > 0) return;
  index_.erase(found);
  by_age_.erase(entry);
}

bool BlobLocations::holds(const oci::Digest& blob, const oci::Repository& repository) const {
  const Entry* entry = find(blob);
  if (entry == nullptr) return false;
  const auto place = place_in(*entry, repository);
  return place < entry->count && (entry->told >> place & 1U) != 0;
}

bool BlobLocations::may_hold(const oci::Digest& blob, const oci::Repository& repository) const {
  const Entry* entry = find(blob);
  return entry != nullptr && place_in(*entry, repository) < entry->count;
}

std::optional<oci::Repository> BlobLocations::elsewhere(const oci::Digest& blob,
                                                        const oci::Repository& but) const {
  const Entry* entry = find(blob);
  if (entry == nullptr) return std::nullopt;
  for (std::size_t i = entry->count; i > 0; --i) {
    const oci::Repository& name = names_.at(entry->repositories.at(i - 1));
    if (name != but) return name;
  }
  return std::nullopt;
}

std::string BlobLocations::as_text() const {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const Entry& entry : by_age_) {
    if (entry.is_sha512) continue;  // its second half was not kept
    text += "sha256:";
    for (const unsigned char byte : entry.key) {
      text += digits[byte >> 4U];
      text += digits[byte & 0xFU];
    }
    for (std::size_t i = 0; i < entry.count; ++i) {
      text += ' ';
      text += names_.at(entry.repositories.at(i)).str();
    }
    text += '\n';
  }
  return text;
}

void BlobLocations::add_text(std::string_view text) {
  while (!text.empty()) {
    const std::size_t line_end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, line_end);
    text.remove_prefix(std::min(line_end + 1, text.size()));
    const auto next_word = [&] {
      const std::size_t end = std::min(line.find(' '), line.size());
      const std::string_view word = line.substr(0, end);
      line.remove_prefix(std::min(end + 1, line.size()));
      return word;
    };
    const auto blob = oci::Digest::parse(next_word());
    if (!blob) continue;
    for (std::size_t i = 0; i < repositories_max && !line.empty(); ++i) {
      if (const auto repository = oci::Repository::parse(next_word()))
        note(*blob, *repository, /*told=*/false);
    }
  }
}

}  // namespace transship
