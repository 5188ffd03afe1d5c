#include "daemon/attempts.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "daemon/log.h"

namespace transship {

namespace {

using Json = nlohmann::json;

constexpr int version = 1;
constexpr const char* folder = "attempts";
constexpr std::size_t files_max = 1000;  // of targets, those of the past too

std::int64_t in_ms(monitoring::Time time) { return time.time_since_epoch().count(); }

monitoring::Time time_of(const Json& milliseconds) {
  return monitoring::Time(std::chrono::milliseconds(milliseconds.get<std::int64_t>()));
}

Json to_json(const std::string& key, const Tries& tries) {
  return {{"image", key},
          {"attempts", tries.attempts},
          {"first_failed", in_ms(tries.first_failed)},
          {"last_failed", in_ms(tries.last_error.at)},
          {"error_kind", tries.last_error.kind},
          {"error_message", tries.last_error.message}};
}

// Throws where it is no such thing.
std::pair<std::string, Tries> from_json(const Json& json) {
  return {json.at("image").get<std::string>(),
          {json.at("attempts").get<unsigned>(),
           time_of(json.at("first_failed")),
           {json.at("error_kind").get<std::string>(), json.at("error_message").get<std::string>(),
            time_of(json.at("last_failed"))}}};
}

}  // namespace

Attempts::Attempts(asio::any_io_executor executor, StateDirectory* state, const std::string& target,
                   Time now)
    : state_(state),
      file_(std::string(folder) + "/" + target),
      target_(target),
      timer_(std::move(executor)) {
  if (state_ != nullptr) read(now);
}

void Attempts::read(Time now) {
  state_->tidy(folder, kept_for, files_max);
  const auto text = state_->read(file_, bytes_max);
  if (!text || add_text(*text, now)) return;
  images_.clear();
  log::warning("what was kept of failed tries cannot be read: they begin anew",
               {{"target", target_}, {"file", file_}});
}

bool Attempts::add_text(std::string_view text, Time now) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return false;
  try {
    if (json.at("version") != version) return false;
    for (const Json& image : json.at("images")) {
      auto [key, tries] = from_json(image);
      // A clock that was wrong proves nothing.
      const Time at = tries.last_error.at;
      if (tries.attempts == 0 || at > now || tries.first_failed > at || now - at > kept_for)
        continue;
      if (images_.size() < images_max) images_.emplace(std::move(key), std::move(tries));
    }
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

std::string Attempts::as_text() const {
  Json images = Json::array();
  for (const auto& [key, tries] : images_) images.push_back(to_json(key, tries));
  const Json json{{"version", version}, {"images", std::move(images)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Tries* Attempts::find(const std::string& key) const {
  const auto found = images_.find(key);
  return found == images_.end() ? nullptr : &found->second;
}

void Attempts::note(const std::string& key, Tries tries) {
  if (state_ == nullptr) return;
  tries.last_error.message.resize(std::min(tries.last_error.message.size(), message_bytes_max));
  images_.insert_or_assign(key, std::move(tries));
  if (images_.size() > images_max) {
    images_.erase(
        std::min_element(images_.begin(), images_.end(), [](const auto& a, const auto& b) {
          return std::tie(a.second.attempts, a.second.last_error.at) <
                 std::tie(b.second.attempts, b.second.last_error.at);
        }));
  }
  changed();
}

void Attempts::forget(const std::string& key) {
  if (images_.erase(key) > 0) changed();
}

void Attempts::keep_only(const std::function<bool(const std::string& key)>& is_wanted) {
  if (std::erase_if(images_, [&](const auto& entry) { return !is_wanted(entry.first); }) > 0)
    changed();
}

void Attempts::changed() {
  if (std::exchange(dirty_, true)) return;
  timer_.expires_at(written_ + write_every);  // at once, where that is past
  timer_.async_wait([this](asio::error_code error) {
    if (!error) flush();
  });
}

void Attempts::flush() {
  if (!std::exchange(dirty_, false)) return;
  timer_.cancel();
  written_ = std::chrono::steady_clock::now();
  if (images_.empty()) return state_->remove(file_);
  state_->write(file_, as_text());
}

}  // namespace transship
