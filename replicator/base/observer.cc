#include "replicator/base/observer.h"

namespace transship {

std::string_view to_string(BlobOutcome outcome) {
  switch (outcome) {
    case BlobOutcome::copied:
      return "copied";
    case BlobOutcome::mounted:
      return "mounted";
    case BlobOutcome::present:
      return "present";
    case BlobOutcome::resumed:
      return "resumed";
  }
  return "copied";
}

}  // namespace transship
