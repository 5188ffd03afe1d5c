#include "replicator/registry/auth/challenge.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>

namespace transship::registry {

namespace {

bool is_token_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  void skip(std::string_view any_of) {
    while (at_ < text_.size() && any_of.find(text_[at_]) != std::string_view::npos) ++at_;
  }
  [[nodiscard]] bool at(char c) const { return at_ < text_.size() && text_[at_] == c; }
  [[nodiscard]] bool done() const { return at_ == text_.size(); }
  void next() { ++at_; }

  std::string token() {
    const std::size_t from = at_;
    while (at_ < text_.size() && is_token_char(text_[at_])) ++at_;
    std::string lower(text_.substr(from, at_ - from));
    return lower;
  }
  // token68 or an unquoted value: up to a comma or a blank.
  std::string bare_value() {
    const std::size_t from = at_;
    while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != ' ') ++at_;
    return std::string(text_.substr(from, at_ - from));
  }
  std::string quoted_value() {
    std::string value;
    for (next(); at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      value += text_[at_];
    }
    if (at('"')) next();
    return value;
  }
  [[nodiscard]] std::size_t position() const { return at_; }
  void back_to(std::size_t position) { at_ = position; }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

void read_parameters(Reader& reader, Challenge& challenge) {
  for (;;) {
    reader.skip(" \t,");
    const std::size_t start = reader.position();
    std::string name = lower_case(reader.token());
    reader.skip(" \t");
    if (name.empty() || !reader.at('=')) {
      reader.back_to(start);  // the next challenge's scheme, or the end
      return;
    }
    reader.next();
    reader.skip(" \t");
    challenge.parameters[name] = reader.at('"') ? reader.quoted_value() : reader.bare_value();
  }
}

}  // namespace

std::vector<Challenge> parse_challenges(std::string_view value) {
  std::vector<Challenge> challenges;
  Reader reader(value);
  while (true) {
    reader.skip(" \t,");
    if (reader.done()) return challenges;
    Challenge challenge{lower_case(reader.token()), {}};
    if (challenge.scheme.empty()) return challenges;
    read_parameters(reader, challenge);
    challenges.push_back(std::move(challenge));
  }
}

std::optional<long> parse_retry_after(std::string_view value, long now) {
  constexpr long longest = 30L * 24 * 3600;
  long seconds = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (error == std::errc() && end == value.data() + value.size()) {
    return std::clamp(seconds, 0L, longest);
  }
  if (error == std::errc::result_out_of_range && end == value.data() + value.size()) {
    return value.starts_with('-') ? 0 : longest;
  }
  const time_t date = curl_getdate(std::string(value).c_str(), nullptr);
  if (date == -1) return std::nullopt;
  return std::clamp(static_cast<long>(date) - now, 0L, longest);
}

}  // namespace transship::registry
