#include "daemon/events/time.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>

namespace transship::events {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t last_ms = 253'402'300'799'999;  // of the year 9999
constexpr std::int64_t exponent_max = 1'000'000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Reads from the front of a text; once something did not fit, everything fails.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  int digits(std::size_t count) {
    int value = 0;
    good_ = good_ && rest_.size() >= count;
    for (std::size_t i = 0; good_ && i < count; ++i) {
      good_ = is_digit(rest_[i]);
      value = value * 10 + (rest_[i] - '0');
    }
    if (good_) rest_.remove_prefix(count);
    return value;
  }
  // One of these characters; 0 where none is next.
  char take(std::string_view any) {
    if (!good_ || rest_.empty() || any.find(rest_.front()) == std::string_view::npos) return 0;
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  void expect(std::string_view any) { good_ = take(any) != 0; }
  // Milliseconds of a fraction of 1 to 9 digits.
  int fraction_ms() {
    std::size_t count = 0;
    while (count < rest_.size() && is_digit(rest_[count])) ++count;
    good_ = good_ && count >= 1 && count <= 9;
    int value = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      value = value * 10 + (i < count ? rest_[i] - '0' : 0);
    }
    if (good_) rest_.remove_prefix(count);
    return value;
  }
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] bool done() const { return good_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool good_ = true;
};

}  // namespace

std::optional<EventTime> time_of_rfc3339(std::string_view text) {
  Reader reader(text);
  const int year = reader.digits(4);
  reader.expect("-");
  const auto month = static_cast<unsigned>(reader.digits(2));
  reader.expect("-");
  const auto day = static_cast<unsigned>(reader.digits(2));
  reader.expect("Tt");
  const int hour = reader.digits(2);
  reader.expect(":");
  const int minute = reader.digits(2);
  reader.expect(":");
  const int second = reader.digits(2);
  const int fraction = reader.take(".") != 0 ? reader.fraction_ms() : 0;
  const char zone = reader.take("Zz+-");
  int offset_minutes = 0;
  if (zone == '+' || zone == '-') {
    const int hours = reader.digits(2);
    reader.expect(":");
    const int minutes = reader.digits(2);
    if (hours > 23 || minutes > 59) return std::nullopt;
    offset_minutes = (zone == '+' ? 1 : -1) * (hours * 60 + minutes);
  }
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month),
                                         std::chrono::day(day)};
  const bool valid = date.ok() && hour <= 23 && minute <= 59 && second <= 60;  // a leap second
  if (zone == 0 || !reader.done() || !valid) return std::nullopt;
  return EventTime(std::chrono::sys_days(date)) + std::chrono::hours(hour) +
         std::chrono::minutes(minute - offset_minutes) + std::chrono::seconds(second) +
         milliseconds(fraction);
}

std::optional<EventTime> time_of_epoch(std::string_view number) {
  // By its decimal digits: a double has not enough of them for 1791188130.123 to be cut right.
  const std::size_t e = std::min(number.find_first_of("eE"), number.size());
  std::string_view mantissa = number.substr(0, e);
  std::int64_t exponent = 0;
  if (e < number.size()) {
    std::string_view written = number.substr(e + 1);
    if (written.starts_with('+')) written.remove_prefix(1);
    const auto read = std::from_chars(written.data(), written.data() + written.size(), exponent);
    if (read.ec != std::errc() || exponent > exponent_max || exponent < -exponent_max) {
      return std::nullopt;
    }
  }
  const std::size_t point = std::min(mantissa.find('.'), mantissa.size());
  std::string digits(mantissa.substr(0, point));
  if (point < mantissa.size()) digits += mantissa.substr(point + 1);
  const std::size_t zeros = digits.find_first_not_of('0');
  if (zeros == std::string::npos) return EventTime();
  if (digits.front() == '-') return std::nullopt;
  // How many digits are in front of the point once the number counts milliseconds.
  const std::int64_t whole = static_cast<std::int64_t>(point) + exponent + 3;
  std::int64_t ms = 0;
  for (std::int64_t i = static_cast<std::int64_t>(zeros); i < whole; ++i) {
    const auto index = static_cast<std::size_t>(i);
    ms = ms * 10 + (index < digits.size() ? digits[index] - '0' : 0);
    if (ms > last_ms) return std::nullopt;
  }
  return EventTime(milliseconds(ms));
}

}  // namespace transship::events
