#pragma once

#include <memory>
#include <string>

#include "daemon/bus/jetstream_link.h"

namespace transship::bus {

// The inbox of a target whose consumer was found good. `lease` is that consumer's acknowledgement
// wait.
std::unique_ptr<Inbox> make_jetstream_inbox(std::shared_ptr<JetStreamLink> link, std::string target,
                                            std::chrono::milliseconds lease);

}  // namespace transship::bus
