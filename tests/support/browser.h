#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/process.h"

namespace transship::testing {

// A headless Chromium with one page, driven over its DevTools protocol by a pair of pipes. What
// goes wrong throws.
class Browser {
 public:
  explicit Browser(const std::string& address);
  ~Browser();
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  // The value of an expression on the page.
  nlohmann::json evaluate(const std::string& expression);
  // Whether the text is there to be read; what is hidden is not.
  bool shows(const std::string& text);
  // Presses and lets go of the mouse in the middle of what the selector finds first, which is
  // scrolled into view.
  void click(const std::string& selector);
  // Types into what has the focus, and Enter.
  void type(const std::string& text);
  void enter();

 private:
  nlohmann::json ask(const std::string& method, nlohmann::json parameters = {});
  void send(const std::string& message) const;
  std::string receive();

  TemporaryDirectory directory_;
  int to_ = -1;
  int from_ = -1;
  std::string received_;
  std::uint64_t next_id_ = 0;
  std::string session_;
  Process process_;
};

}  // namespace transship::testing
