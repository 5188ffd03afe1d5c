#include "tests/support/browser.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <stdexcept>

namespace transship::testing {

namespace {

constexpr int patience_ms = 60'000;

int open_pipe(const std::string& file) {
  ::mkfifo(file.c_str(), 0600);
  return ::open(file.c_str(), O_RDWR | O_CLOEXEC);  // waits for nobody
}

}  // namespace

Browser::Browser(const std::string& address) {
  const std::string in = directory_ / "in";
  const std::string out = directory_ / "out";
  to_ = open_pipe(in);
  from_ = open_pipe(out);
  const std::string profile = directory_ / "profile";
  process_ = Process({"sh", "-c", R"(in=$1 out=$2; shift 2; exec "$@" 3< "$in" 4> "$out")", "sh",
                      in, out, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu",
                      "--disable-dev-shm-usage", "--no-first-run", "--user-data-dir=" + profile,
                      "--window-size=1200,1000", "--remote-debugging-pipe", "about:blank"},
                     directory_ / "log", {"HOME=" + profile});
  const auto made = ask("Target.createTarget", {{"url", address}});
  const auto attached =
      ask("Target.attachToTarget", {{"targetId", made["targetId"]}, {"flatten", true}});
  session_ = attached["sessionId"];
}

Browser::~Browser() {
  process_.terminate();
  ::close(to_);
  ::close(from_);
}

void Browser::send(const std::string& message) const {
  std::string_view rest(message.c_str(), message.size() + 1);  // a NUL ends it
  while (!rest.empty()) {
    const ssize_t sent = ::write(to_, rest.data(), rest.size());
    if (sent <= 0) throw std::runtime_error("chromium takes no more");
    rest.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::string Browser::receive() {
  for (;;) {
    const std::size_t end = received_.find('\0');
    if (end != std::string::npos) {
      std::string message = received_.substr(0, end);
      received_.erase(0, end + 1);
      return message;
    }
    pollfd waiting{from_, POLLIN, 0};
    if (::poll(&waiting, 1, patience_ms) <= 0)
      throw std::runtime_error("chromium says nothing\n" + process_.output());
    std::array<char, 65'536> bytes{};
    const ssize_t got = ::read(from_, bytes.data(), bytes.size());
    if (got <= 0) throw std::runtime_error("chromium has gone\n" + process_.output());
    received_.append(bytes.data(), static_cast<std::size_t>(got));
  }
}

nlohmann::json Browser::ask(const std::string& method, nlohmann::json parameters) {
  nlohmann::json request{{"id", ++next_id_}, {"method", method}};
  if (!parameters.is_null()) request["params"] = std::move(parameters);
  if (!session_.empty()) request["sessionId"] = session_;
  send(request.dump());
  for (;;) {  // events come between
    auto answer = nlohmann::json::parse(receive());
    if (answer.value("id", std::uint64_t{0}) != next_id_) continue;
    if (answer.contains("error")) throw std::runtime_error(method + ": " + answer.dump());
    return answer["result"];
  }
}

nlohmann::json Browser::evaluate(const std::string& expression) {
  const auto answer =
      ask("Runtime.evaluate", {{"expression", expression}, {"returnByValue", true}});
  if (answer.contains("exceptionDetails"))
    throw std::runtime_error(expression + ": " + answer["exceptionDetails"].dump());
  return answer["result"].value("value", nlohmann::json());
}

bool Browser::shows(const std::string& text) {
  return evaluate("document.body?.innerText.includes(" + nlohmann::json(text).dump() + ")") == true;
}

void Browser::click(const std::string& selector) {
  const auto place =
      evaluate("(() => { const found = document.querySelector(" + nlohmann::json(selector).dump() +
               "); if (!found) return null; found.scrollIntoView({block: 'center'}); "
               "const box = found.getBoundingClientRect(); "
               "return {x: box.x + box.width / 2, y: box.y + box.height / 2}; })()");
  if (place.is_null()) throw std::runtime_error("there is no " + selector + " to click on");
  for (const char* type : {"mousePressed", "mouseReleased"}) {
    ask("Input.dispatchMouseEvent", {{"type", type},
                                     {"x", place["x"]},
                                     {"y", place["y"]},
                                     {"button", "left"},
                                     {"clickCount", 1}});
  }
}

void Browser::type(const std::string& text) { ask("Input.insertText", {{"text", text}}); }

void Browser::enter() {
  for (const char* type : {"keyDown", "keyUp"}) {
    ask("Input.dispatchKeyEvent", {{"type", type},
                                   {"key", "Enter"},
                                   {"code", "Enter"},
                                   {"text", "\r"},
                                   {"windowsVirtualKeyCode", 13}});
  }
}

}  // namespace transship::testing
