#pragma once

#include <string>

#include "replicator/oci/reference.h"
#include "replicator/registry/auth/authorizer.h"

// Inside the registry library: what its operations call repositories, in tokens' scopes
// (distribution's "Token Scope Documentation") and in messages.
namespace transship::registry {

inline Scopes pull_scope(const oci::Repository& repository) {
  return {"repository:" + repository.str() + ":pull"};
}
inline Scopes push_scope(const oci::Repository& repository) {
  return {"repository:" + repository.str() + ":pull,push"};
}
inline Scopes delete_scope(const oci::Repository& repository) {
  return {"repository:" + repository.str() + ":pull,push,delete"};
}

// "team/app:v1", or by digest.
inline std::string named(const oci::Repository& repository, const oci::Reference& reference) {
  return repository.str() + reference.suffix();
}

}  // namespace transship::registry
