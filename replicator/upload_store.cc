#include "replicator/upload_store.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace transship {

namespace {

constexpr std::size_t file_bytes_max = 64UL << 10U;

std::string as_text(const std::string& origin, const oci::Repository& repository,
                    const oci::Digest& blob, const SavedUpload& upload) {
  return nlohmann::json{{"registry", origin},
                        {"repository", repository.str()},
                        {"blob", blob.str()},
                        {"location", upload.session.location.str()},
                        {"chunk_bytes_min", upload.session.chunk_bytes_min},
                        {"bytes", upload.bytes},
                        {"hash", upload.hasher.state()}}
      .dump();
}

// nullopt: it is no such file, or one of another upload.
std::optional<SavedUpload> from_text(const std::string& text, const std::string& origin,
                                     const oci::Repository& repository, const oci::Digest& blob) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  const auto text_of = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto number_of = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
  };
  if (text_of("registry") != origin || text_of("repository") != repository.str() ||
      text_of("blob") != blob.str())
    return std::nullopt;
  auto location = http::Url::parse(text_of("location"));
  auto hasher = oci::Hasher::resume(blob.algorithm(), text_of("hash"));
  if (!location || !hasher) return std::nullopt;
  return SavedUpload{{std::move(*location), {}, number_of("chunk_bytes_min")},
                     number_of("bytes"),
                     std::move(*hasher)};
}

}  // namespace

UploadStore::UploadStore(StateDirectory* state, std::string target, std::string origin)
    : state_(state), target_(std::move(target)), origin_(std::move(origin)) {
  if (state_ != nullptr) state_->tidy("uploads/" + target_, kept_for, uploads_max);
}

std::string UploadStore::file_of(const Key& key) const {
  const oci::Digest name = oci::Digest::of(key.first.str() + "@" + key.second.str());
  return fmt::format("uploads/{}/{}.json", target_, name.hex());
}

void UploadStore::save(const oci::Repository& repository, const oci::Digest& blob,
                       const SavedUpload& upload) {
  const Key key(repository, blob);
  std::string text = as_text(origin_, repository, blob, upload);
  if (state_ != nullptr) state_->write(file_of(key), text);
  if (!saved_.insert_or_assign(key, std::move(text)).second) return;
  by_age_.push_back(key);
  if (by_age_.size() <= uploads_max) return;
  const Key oldest = by_age_.front();
  drop(oldest.first, oldest.second);
}

void UploadStore::drop(const oci::Repository& repository, const oci::Digest& blob) {
  const Key key(repository, blob);
  if (saved_.erase(key) > 0) by_age_.remove(key);
  if (state_ != nullptr) state_->remove(file_of(key));
}

std::optional<SavedUpload> UploadStore::take(const oci::Repository& repository,
                                             const oci::Digest& blob) {
  const Key key(repository, blob);
  std::string text;
  if (const auto found = saved_.find(key); found != saved_.end()) {
    text = found->second;
  } else if (state_ != nullptr) {
    text = state_->read(file_of(key), file_bytes_max).value_or("");
  }
  if (text.empty()) return std::nullopt;
  drop(repository, blob);
  return from_text(text, origin_, repository, blob);
}

}  // namespace transship
