#include "replicator/base/error.h"

#include <fmt/format.h>

namespace transship {

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::transient:
      return "transient";
    case ErrorKind::throttled:
      return "throttled";
    case ErrorKind::unauthorized:
      return "unauthorized";
    case ErrorKind::not_found:
      return "not_found";
    case ErrorKind::invalid:
      return "invalid";
    case ErrorKind::corrupt:
      return "corrupt";
    case ErrorKind::conflict:
      return "conflict";
    case ErrorKind::unsupported:
      return "unsupported";
    case ErrorKind::cancelled:
      return "cancelled";
  }
  return "transient";
}

Error Error::with_context(std::string_view doing) const {
  Error outer = *this;
  outer.message = fmt::format("{}: {}", doing, message);
  return outer;
}

}  // namespace transship
