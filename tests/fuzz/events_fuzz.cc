// Any bytes, in every dialect: nothing crashes, and each message's body alone means what the whole
// body meant.

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "daemon/events/event.h"
#include "daemon/events/json.h"

namespace {

using namespace transship::events;

void require(bool holds) {
  if (!holds) std::abort();
}

bool same(const Event& a, const Event& b) {
  return a.action == b.action && a.repository == b.repository && a.tag == b.tag &&
         a.digest == b.digest && a.media_type == b.media_type && a.time == b.time &&
         a.host == b.host && a.actor == b.actor && a.user_agent == b.user_agent && a.id == b.id &&
         a.confirm_at == b.confirm_at && a.detail == b.detail;
}

void require_carried(Dialect dialect, std::string_view body, const Headers& headers) {
  for (const Message& message : parse(dialect, body, headers)) {
    const auto again = parse(dialect, message.body, headers);
    require(again.size() == 1 && again[0].body == message.body);
    require(again[0].events.size() == message.events.size());
    for (std::size_t i = 0; i < message.events.size(); ++i) {
      require(same(again[0].events[i], message.events[i]));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Dialect dialect = static_cast<Dialect>(data[0] % 8);
  require_carried(dialect, body, {});
  std::ignore = handshake_answer(dialect, body);
  if (dialect == Dialect::cloudevents) {
    const std::size_t half = body.size() / 2;
    require_carried(dialect, body.substr(half),
                    {{"ce-specversion", "1.0"},
                     {"ce-id", std::string(body.substr(0, half))},
                     {"ce-source", "s"},
                     {"ce-type", "zotregistry.image.updated"}});
  }
  // What a library takes for JSON, we do; the other way round it refuses numbers that no double
  // holds. It takes a NUL for the end, whatever is behind it.
  std::string problem;
  const bool ours = Json::parse(body, SIZE_MAX, &problem).has_value();
  const bool ends_early = body.find('\0') != std::string_view::npos;
  require(ours || ends_early || !nlohmann::json::accept(body));
  return 0;
}
