#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace transship {

// Chosen by what the caller does next, not by who failed. The names are part of the JSON output.
enum class ErrorKind {
  transient,     // the same request may succeed later: try again after a pause
  throttled,     // the registry asks for less: try again after retry_after, and slow everyone down
  unauthorized,  // credentials are missing, wrong or too weak: an operator has to act
  not_found,     // the registry answered that it does not have it
  invalid,      // what was read, or what we were told to do, breaks a rule: trying again is useless
  corrupt,      // bytes do not have the digest or the size that they were promised with
  conflict,     // the target refuses the change: an immutable tag, or both sides moved
  unsupported,  // the registry cannot do this
  cancelled,    // we stopped it ourselves
};

std::string_view to_string(ErrorKind kind);

struct Error {
  ErrorKind kind = ErrorKind::transient;
  std::string message;  // one line for people: what failed, for which image and registry
  // How long the registry asked us to wait, where it did (Retry-After, RFC 9110 section 10.2.3).
  std::optional<std::chrono::milliseconds> retry_after = std::nullopt;
  // The registry's own code, where it gave one: "MANIFEST_BLOB_UNKNOWN" (distribution-spec, "Error
  // Codes").
  std::string code = {};
  // True when nobody answered at all (refused, timed out, certificate refused): the registry may be
  // down.
  bool unanswered = false;

  // The same error with what was being done in front: "copy team/app:v1 to eu-west: …".
  [[nodiscard]] Error with_context(std::string_view doing) const;
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(ErrorKind kind, std::string message) {
  return tl::unexpected<Error>(Error{kind, std::move(message)});
}
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace transship
