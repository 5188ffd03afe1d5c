#include "daemon/events/json_scanner.h"

#include <array>

namespace transship::events {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

const char* JsonScanner::problem() {
  for (;;) {
    skip_space();
    const char* wrong = value_expected_ ? value() : after_value();
    if (wrong != nullptr) return wrong;
    if (value_expected_ || !open_.empty()) continue;
    skip_space();
    return at_ == text_.size() ? nullptr : "something behind the end";
  }
}

bool JsonScanner::take(char c) {
  if (!at(c)) return false;
  ++at_;
  return true;
}

void JsonScanner::skip_space() {
  while (at(' ') || at('\t') || at('\n') || at('\r')) ++at_;
}

const char* JsonScanner::value() {
  if (at_ == text_.size()) return "it ends too early";
  value_expected_ = false;
  switch (text_[at_]) {
    case '{':
    case '[':
      return open(text_[at_]);
    case '"':
      return string();
    case 't':
      return word("true") ? nullptr : "an unknown word";
    case 'f':
      return word("false") ? nullptr : "an unknown word";
    case 'n':
      return word("null") ? nullptr : "an unknown word";
    default:
      return number();
  }
}

// Leaves the place behind the bracket, or behind the one that closes it at once.
const char* JsonScanner::open(char bracket) {
  if (open_.size() == depth_max_) return "nested too deeply";
  ++at_;
  skip_space();
  if (take(bracket == '{' ? '}' : ']')) return nullptr;
  open_.push_back(bracket);
  value_expected_ = true;
  return bracket == '{' ? key() : nullptr;
}

const char* JsonScanner::after_value() {
  const bool in_object = open_.back() == '{';
  if (take(in_object ? '}' : ']')) {
    open_.pop_back();
    return nullptr;
  }
  if (!take(',')) return at_ == text_.size() ? "it ends too early" : "a comma is missing";
  value_expected_ = true;
  if (!in_object) return nullptr;
  skip_space();
  return key();
}

const char* JsonScanner::key() {
  if (!at('"')) return at_ == text_.size() ? "it ends too early" : "a name is missing";
  if (const char* wrong = string(); wrong != nullptr) return wrong;
  skip_space();
  return take(':') ? nullptr : "a colon is missing";
}

const char* JsonScanner::string() {
  ++at_;
  while (at_ < text_.size()) {
    if (take('"')) return nullptr;
    if (take('\\')) {
      if (const char* wrong = escape(); wrong != nullptr) return wrong;
    } else if (!character()) {
      return "not UTF-8, or a control character in a string";
    }
  }
  return "it ends too early";
}

const char* JsonScanner::escape() {
  constexpr std::string_view short_ones = "\"\\/bfnrt";
  if (at_ == text_.size()) return "it ends too early";
  const char c = text_[at_++];
  if (short_ones.find(c) != std::string_view::npos) return nullptr;
  if (c != 'u') return "an unknown escape";
  for (int i = 0; i < 4; ++i, ++at_) {
    if (at_ == text_.size() || !is_hex(text_[at_])) return "an unknown escape";
  }
  return nullptr;
}

// One character of UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing over U+10FFFF.
bool JsonScanner::character() {
  const auto byte = [this](std::size_t i) {
    return at_ + i < text_.size() ? static_cast<unsigned char>(text_[at_ + i]) : 0U;
  };
  const unsigned first = byte(0);
  if (first < 0x20) return false;
  std::size_t more = 0;
  unsigned low = 0x80;  // the bounds of the second byte
  unsigned high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    more = 1;
  } else if (first >= 0xE0 && first <= 0xEF) {
    more = 2;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    more = 3;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else if (first >= 0x80) {
    return false;
  }
  for (std::size_t i = 1; i <= more; ++i) {
    if (byte(i) < low || byte(i) > high) return false;
    low = 0x80;
    high = 0xBF;
  }
  at_ += more + 1;
  return true;
}

const char* JsonScanner::number() {
  constexpr const char* wrong = "a value is missing, or a number is wrong";
  take('-');
  if (!take('0') && !digits()) return wrong;
  if (take('.') && !digits()) return wrong;
  if (take('e') || take('E')) {
    if (!take('+')) take('-');
    if (!digits()) return wrong;
  }
  return nullptr;
}

bool JsonScanner::digits() {
  const std::size_t from = at_;
  while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
  return at_ > from;
}

bool JsonScanner::word(std::string_view expected) {
  if (!text_.substr(at_).starts_with(expected)) return false;
  at_ += expected.size();
  return true;
}

}  // namespace transship::events
