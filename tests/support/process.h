#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace transship::testing {

// A child process of a test, ended by its id when this goes. Its output goes to a file.
class Process {
 public:
  Process() = default;
  Process(std::vector<std::string> command, std::filesystem::path output,
          std::vector<std::string> extra_environment = {});
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  void signal(int number) const;
  // SIGKILL, and waits.
  void kill();
  // SIGTERM, and waits for at most `patience`; the exit code, or -1.
  int terminate(std::chrono::seconds patience = std::chrono::seconds(60));
  // Waits for its end; the exit code, or -1 when it was killed or did not end in time.
  int wait(std::chrono::seconds patience = std::chrono::seconds(60));
  [[nodiscard]] bool running();
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::string output() const;

 private:
  pid_t pid_ = -1;
  int exit_code_ = -1;
  std::filesystem::path output_;
};

// Runs a command to its end.
struct Finished {
  int exit_code = -1;
  std::string output;  // standard output
  std::string errors;  // standard error
};
Finished run(std::vector<std::string> command, std::vector<std::string> extra_environment = {},
             std::chrono::seconds patience = std::chrono::seconds(120));

// A port of 127.0.0.1 that nobody listens on now, and that no other test is given while this one
// runs.
std::uint16_t free_port();
// Whether somebody listens on a port of 127.0.0.1.
bool listens(std::uint16_t port);

// A directory that goes with its owner.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const {
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

void write_file(const std::filesystem::path& path, std::string_view content);
std::string read_file(const std::filesystem::path& path);

// Asks again and again until the condition holds; false when it does not within the time.
bool eventually(const std::function<bool()>& condition,
                std::chrono::milliseconds within = std::chrono::seconds(30));

// True when the program is on the PATH.
bool has_program(const std::string& name);

}  // namespace transship::testing
