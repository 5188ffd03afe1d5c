#pragma once

#include <memory>

#include "replicator/http/client.h"

namespace transship::http {

// The same piece in a buffer of its own size, where it came in a much larger one, as pieces of a
// slow body do: for whoever keeps it for a while and counts its bytes.
inline Chunk fitted(Chunk chunk) {
  if (chunk->capacity() <= chunk->size() + chunk->size() / 8) return chunk;
  return std::make_shared<const std::string>(*chunk);
}

}  // namespace transship::http
