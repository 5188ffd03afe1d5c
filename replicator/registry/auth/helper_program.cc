#include "replicator/registry/auth/helper_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <asio/thread_pool.hpp>
#include <chrono>
#include <nlohmann/json.hpp>

#include "replicator/base/task.h"

extern char** environ;

namespace transship::registry {

namespace {

constexpr std::chrono::seconds time_limit{30};
constexpr std::size_t answer_bytes_max = 64UL << 10U;

struct Finished {
  bool started = false;
  bool timed_out = false;
  int status = -1;
  std::string output;
};

// Reads until the end, the limit or the deadline.
bool read_output(int descriptor, std::string& output) {
  const auto deadline = std::chrono::steady_clock::now() + time_limit;
  std::array<char, 4096> buffer{};
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd waiting{descriptor, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) == 0) return false;
    const ssize_t size = ::read(descriptor, buffer.data(), buffer.size());
    if (size <= 0) return true;
    output.append(buffer.data(), static_cast<std::size_t>(size));
    if (output.size() > answer_bytes_max) return false;
  }
}

Finished run(const std::string& program, const std::string& input) {
  std::array<int, 2> to{};
  std::array<int, 2> from{};
  if (::pipe2(to.data(), O_CLOEXEC) != 0) return {};
  if (::pipe2(from.data(), O_CLOEXEC) != 0) {
    ::close(to[0]);
    ::close(to[1]);
    return {};
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
  std::string name = program;
  std::string verb = "get";
  std::array<char*, 3> arguments{name.data(), verb.data(), nullptr};
  pid_t child = -1;
  Finished finished;
  finished.started =
      ::posix_spawnp(&child, name.c_str(), &actions, nullptr, arguments.data(), environ) == 0;
  posix_spawn_file_actions_destroy(&actions);
  ::close(to[0]);
  ::close(from[1]);
  if (finished.started) {
    // A host's name fits into the pipe, so this cannot block; SIGPIPE is ignored by the whole
    // program.
    static_cast<void>(!::write(to[1], input.data(), input.size()));
    ::close(to[1]);
    finished.timed_out = !read_output(from[0], finished.output);
    if (finished.timed_out) ::kill(child, SIGKILL);
    ::waitpid(child, &finished.status, 0);
  } else {
    ::close(to[1]);
  }
  ::close(from[0]);
  return finished;
}

Result<std::optional<Credentials>> read_answer(const std::string& program, const std::string& host,
                                               const Finished& finished) {
  const auto refused = [&](std::string_view why) {
    return fail(ErrorKind::unauthorized,
                fmt::format("the credential helper {} for {} {}", program, host, why));
  };
  if (!finished.started) return refused("is not on the PATH");
  if (finished.timed_out) return refused("did not answer within 30 s, or said too much");
  if (finished.output.find("credentials not found") != std::string::npos) return std::nullopt;
  if (!WIFEXITED(finished.status) || WEXITSTATUS(finished.status) != 0) return refused("failed");
  const auto json = nlohmann::json::parse(finished.output, nullptr, false);
  if (!json.is_object() || !json.contains("Username") || !json.contains("Secret") ||
      !json["Username"].is_string() || !json["Secret"].is_string()) {
    return refused("gave no JSON with Username and Secret");
  }
  Credentials found{
      json["Username"].get<std::string>(), Secret(json["Secret"].get<std::string>()), {}};
  if (found.username == "<token>") std::swap(found.identity_token, found.password);
  return found;
}

}  // namespace

asio::awaitable<Result<std::optional<Credentials>>> ask_helper(std::string helper,
                                                               std::string host) {
  static asio::thread_pool pool(2);
  const std::string program = "docker-credential-" + helper;
  const Finished finished = co_await offload(pool, [program, host] { return run(program, host); });
  co_return read_answer(program, host, finished);
}

}  // namespace transship::registry
