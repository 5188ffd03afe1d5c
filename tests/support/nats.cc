#include "tests/support/nats.h"

#include <nats/nats.h>

namespace transship::testing {

namespace {

constexpr std::int64_t patience_ms = 2'000;

}  // namespace

nlohmann::json nats_request(const std::string& url, const std::string& subject,
                            const std::string& body) {
  natsOptions* options = nullptr;
  natsConnection* connection = nullptr;
  natsMsg* answer = nullptr;
  nlohmann::json parsed;
  natsOptions_Create(&options);
  natsOptions_SetURL(options, url.c_str());
  natsOptions_SetTimeout(options, patience_ms);
  natsOptions_SetAllowReconnect(options, false);
  if (natsConnection_Connect(&connection, options) == NATS_OK &&
      natsConnection_RequestString(&answer, connection, subject.c_str(), body.c_str(),
                                   patience_ms) == NATS_OK) {
    const auto bytes = static_cast<std::size_t>(natsMsg_GetDataLength(answer));
    parsed = nlohmann::json::parse(std::string(natsMsg_GetData(answer), bytes), nullptr, false);
  }
  natsMsg_Destroy(answer);
  natsConnection_Destroy(connection);
  natsOptions_Destroy(options);
  return parsed.is_discarded() ? nlohmann::json() : parsed;
}

std::optional<std::uint64_t> unacknowledged(const std::string& url, const std::string& target,
                                            const std::string& stream) {
  const auto info = nats_request(url, "$JS.API.CONSUMER.INFO." + stream + ".transship-" + target);
  if (!info.contains("num_pending")) return std::nullopt;
  return info["num_pending"].get<std::uint64_t>() + info["num_ack_pending"].get<std::uint64_t>();
}

}  // namespace transship::testing
