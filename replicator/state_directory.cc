#include "replicator/state_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <asio/post.hpp>
#include <fstream>
#include <sstream>

namespace transship {

namespace fs = std::filesystem;

namespace {

// What root keeps there is the directory's owner's: a command of an operator must not lock the
// daemon out.
void give_to_owner_of(const fs::path& root, const fs::path& path) {
  struct stat owner{};
  if (::geteuid() != 0 || ::stat(root.c_str(), &owner) != 0) return;
  static_cast<void>(::lchown(path.c_str(), owner.st_uid, owner.st_gid) == 0);
}

void make_folder(const fs::path& root, const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder, error)) return;
  if (folder == root) {
    fs::create_directories(root, error);
    return;
  }
  make_folder(root, folder.parent_path());
  if (!fs::create_directory(folder, error)) return;
  fs::permissions(folder, fs::perms::owner_all, error);
  give_to_owner_of(root, folder);
}

// Replaces the file at once. False where that is not possible.
bool replace_file(const fs::path& root, const fs::path& path, const std::string& content) {
  std::error_code error;
  make_folder(root, path.parent_path());
  const fs::path beside = path.string() + fmt::format(".{}.new", ::getpid());
  const int file = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return false;
  std::size_t written = 0;
  while (written < content.size()) {
    const ssize_t some = ::write(file, content.data() + written, content.size() - written);
    if (some <= 0) break;
    written += static_cast<std::size_t>(some);
  }
  const bool whole = ::close(file) == 0 && written == content.size();
  if (whole) {
    give_to_owner_of(root, beside);
    fs::rename(beside, path, error);
  }
  if (!whole || error) fs::remove(beside, error);
  return whole;
}

}  // namespace

Result<void> StateDirectory::usable(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || ::access(path.c_str(), W_OK | X_OK) != 0) {
    return fail(ErrorKind::invalid,
                fmt::format("the state directory {} cannot be written: {}", path.string(),
                            error ? error.message() : std::generic_category().message(errno)));
  }
  return {};
}

StateDirectory::~StateDirectory() { writer_.join(); }

std::optional<std::string> StateDirectory::read(const std::string& name,
                                                std::size_t bytes_max) const {
  std::error_code error;
  const auto size = fs::file_size(path_ / name, error);
  if (error || size > bytes_max) return std::nullopt;
  std::ifstream file(path_ / name, std::ios::binary);
  std::string content(size, '\0');
  if (!file.read(content.data(), static_cast<std::streamsize>(size))) return std::nullopt;
  return content;
}

void StateDirectory::write(const std::string& name, std::string content) {
  asio::post(writer_, [root = path_, name, content = std::move(content)] {
    replace_file(root, root / name, content);
  });
}

void StateDirectory::remove(const std::string& name) {
  asio::post(writer_, [path = path_ / name] {
    std::error_code error;
    fs::remove(path, error);
  });
}

void StateDirectory::tidy(const std::string& folder, std::chrono::hours older_than,
                          std::size_t files_max) {
  asio::post(writer_, [path = path_ / folder, older_than, files_max] {
    std::error_code error;
    std::vector<std::pair<fs::file_time_type, fs::path>> files;
    for (const auto& entry : fs::recursive_directory_iterator(path, error)) {
      if (entry.is_regular_file(error))
        files.emplace_back(entry.last_write_time(error), entry.path());
    }
    std::sort(files.begin(), files.end(), std::greater<>());
    const auto oldest = fs::file_time_type::clock::now() - older_than;
    for (std::size_t i = 0; i < files.size(); ++i) {
      if (i >= files_max || files[i].first < oldest) fs::remove(files[i].second, error);
    }
  });
}

}  // namespace transship
