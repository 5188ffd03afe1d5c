// Preloaded into a program (LD_PRELOAD), makes each of its syncs take SLOW_DISK_MS milliseconds
// longer.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

namespace {

void be_slow() {
  const char* ms = std::getenv("SLOW_DISK_MS");
  if (ms != nullptr) ::usleep(static_cast<useconds_t>(std::atoi(ms)) * 1000);
}

using Sync = int (*)(int);
Sync next(const char* name) { return reinterpret_cast<Sync>(::dlsym(RTLD_NEXT, name)); }

}  // namespace

extern "C" int fsync(int descriptor) {
  be_slow();
  static const Sync real = next("fsync");
  return real(descriptor);
}

extern "C" int fdatasync(int descriptor) {
  be_slow();
  static const Sync real = next("fdatasync");
  return real(descriptor);
}
