#pragma once

#include <nats/nats.h>

#include <memory>
#include <string_view>

#include "replicator/base/error.h"

namespace transship::bus {

// Owners of what libnats makes.
template <class T, void (*Destroy)(T*)>
struct NatsDestroy {
  void operator()(T* thing) const { Destroy(thing); }
};
template <class T, void (*Destroy)(T*)>
using NatsHandle = std::unique_ptr<T, NatsDestroy<T, Destroy>>;

using NatsOptions = NatsHandle<natsOptions, natsOptions_Destroy>;
using NatsConnection = NatsHandle<natsConnection, natsConnection_Destroy>;
using NatsSubscription = NatsHandle<natsSubscription, natsSubscription_Destroy>;
using NatsMessage = NatsHandle<natsMsg, natsMsg_Destroy>;
using JetStreamContext = NatsHandle<jsCtx, jsCtx_Destroy>;
using StreamInfo = NatsHandle<jsStreamInfo, jsStreamInfo_Destroy>;
using ConsumerInfo = NatsHandle<jsConsumerInfo, jsConsumerInfo_Destroy>;
using MessageMetaData = NatsHandle<jsMsgMetaData, jsMsgMetaData_Destroy>;

// The one place where what libnats answers becomes an error. `doing` goes in front of its message.
// Call it on the thread of the failed call: libnats keeps the details there.
Error nats_error(natsStatus status, jsErrCode code, std::string_view doing);

}  // namespace transship::bus
