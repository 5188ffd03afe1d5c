#include "daemon/bus/nats_handles.h"

#include <fmt/format.h>

#include <string>

namespace transship::bus {
namespace {

ErrorKind kind_of_code(jsErrCode code) {
  switch (code) {
    case JSStreamNotFoundErr:
    case JSConsumerNotFoundErr:
    case JSNoMessageFoundErr:
      return ErrorKind::not_found;
    case JSNotEnabledErr:
    case JSNotEnabledForAccountErr:
      return ErrorKind::unsupported;
    case JSClusterIncompleteErr:
    case JSClusterNoPeersErr:
    case JSClusterNotActiveErr:
    case JSClusterNotAvailErr:
    case JSClusterNotLeaderErr:
    case JSClusterNotAssignedErr:
    case JSInsufficientResourcesErr:
    case JSStorageResourcesExceededErr:
    case JSStreamStoreFailedErr:
    case JSRaftGeneralErr:
    case JSStreamOfflineErr:
    case JSConsumerOfflineErr:
      return ErrorKind::transient;
    default:
      return ErrorKind::invalid;  // a request that the server will not take however often it comes
  }
}

ErrorKind kind_of_status(natsStatus status) {
  switch (status) {
    case NATS_CONNECTION_AUTH_FAILED:
    case NATS_NOT_PERMITTED:
      return ErrorKind::unauthorized;
    case NATS_NOT_FOUND:
      return ErrorKind::not_found;
    case NATS_ADDRESS_MISSING:
    case NATS_INVALID_SUBJECT:
    case NATS_INVALID_ARG:
    case NATS_MAX_PAYLOAD:
      return ErrorKind::invalid;
    case NATS_NO_SERVER_SUPPORT:
      return ErrorKind::unsupported;
    default:
      return ErrorKind::transient;
  }
}

bool nobody_answered(natsStatus status) {
  return status == NATS_NO_SERVER || status == NATS_TIMEOUT || status == NATS_SSL_ERROR ||
         status == NATS_IO_ERROR || status == NATS_CONNECTION_DISCONNECTED ||
         status == NATS_CONNECTION_CLOSED;
}

}  // namespace

Error nats_error(natsStatus status, jsErrCode code, std::string_view doing) {
  natsStatus detailed = NATS_OK;
  const char* detail = nats_GetLastError(&detailed);
  const bool has_detail = detail != nullptr && *detail != '\0' && detailed == status;
  std::string why = has_detail ? detail : natsStatus_GetText(status);
  if (status == NATS_NO_RESPONDERS) why = "JetStream is not ready, or not enabled on this server";
  Error error;
  error.kind = code != 0 ? kind_of_code(code) : kind_of_status(status);
  error.message = fmt::format("{}: {}", doing, why);
  error.unanswered = code == 0 && nobody_answered(status);
  return error;
}

}  // namespace transship::bus
