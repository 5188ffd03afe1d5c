#pragma once

#include "replicator/base/error.h"

namespace transship {

// The registry answers, and cannot tell. docker-registry that was killed while it wrote a link does
// so for that one tag or blob until it is put again.
inline bool is_broken(const Error& error) {
  return error.kind == ErrorKind::transient && !error.unanswered;
}

}  // namespace transship
