#include "monitoring/process.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace transship::monitoring {

namespace {

// When the machine came up, in seconds since the epoch. From the clocks, since a hardened unit sees
// no /proc/stat.
double boot_time_seconds() {
  timespec since_boot{};
  ::clock_gettime(CLOCK_BOOTTIME, &since_boot);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count() - static_cast<double>(since_boot.tv_sec) -
         static_cast<double>(since_boot.tv_nsec) / 1e9;
}

}  // namespace

ProcessFigures read_process_figures() {
  ProcessFigures figures;
  std::ifstream stat("/proc/self/stat");
  std::string line;
  std::getline(stat, line);
  const std::size_t name_end = line.rfind(')');  // the name may hold anything
  if (name_end != std::string::npos) {
    std::istringstream fields(line.substr(name_end + 1));
    const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    const auto page = static_cast<double>(::sysconf(_SC_PAGESIZE));
    std::string value;
    for (int field = 3; fields >> value; ++field) {  // proc(5) counts from 1, the name is 2
      if (field == 14 || field == 15) figures.cpu_seconds += std::stod(value) / ticks;
      if (field == 22) {
        static const double booted = boot_time_seconds();  // the same at every scrape
        figures.start_time_seconds = booted + std::stod(value) / ticks;
      }
      if (field == 23) figures.virtual_bytes = std::stod(value);
      if (field == 24) figures.resident_bytes = std::stod(value) * page;
    }
  }
  std::error_code ignored;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", ignored), end; entry != end;
       entry.increment(ignored)) {
    ++figures.open_files;
  }
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    figures.open_files_max = static_cast<double>(limit.rlim_cur);
  }
  return figures;
}

}  // namespace transship::monitoring
