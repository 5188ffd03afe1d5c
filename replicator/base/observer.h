#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "replicator/base/error.h"

namespace transship {

enum class BlobOutcome { copied, mounted, present, resumed };
std::string_view to_string(BlobOutcome outcome);

// What the engine tells as it works, for metrics and progress. Calls come on the loop and must
// return at once.
class Observer {
 public:
  virtual ~Observer() = default;
  // One HTTP request to a registry ended; `code` is its status, 0 where nobody answered.
  virtual void request_done(std::string_view /*registry*/, std::string_view /*method*/,
                            int /*code*/, std::chrono::duration<double> /*seconds*/) {}
  // Nobody answered that request: the registry may be down.
  virtual void request_unanswered(std::string_view /*registry*/, const Error&) {}
  // The registry's own certificate, as of an answer, stops being valid then.
  virtual void certificate_seen(std::string_view /*registry*/, std::chrono::sys_seconds /*end*/) {}
  // The same request is sent again, because of `reason`: "token", "throttled" …
  virtual void request_retried(std::string_view /*registry*/, std::string_view /*reason*/) {}
  // A blob of an image is at the target, and how it came there.
  virtual void blob_done(std::string_view /*source*/, std::string_view /*target*/, BlobOutcome,
                         std::uint64_t /*bytes*/) {}
  // Bytes of a blob were handed to the target.
  virtual void bytes_moved(std::string_view /*source*/, std::string_view /*target*/,
                           std::uint64_t) {}
  // A blob's transfer to the target began (+1) or ended (-1).
  virtual void transfers_changed(std::string_view /*target*/, int /*by*/) {}
};

}  // namespace transship
