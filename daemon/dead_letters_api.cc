#include "daemon/dead_letters_api.h"

#include <algorithm>

#include "daemon/status.h"

namespace transship {

namespace {

constexpr std::size_t ids_max = 100'000;

nlohmann::ordered_json json_of(const bus::DeadLetter& letter) {
  return {{"id", letter.id},
          {"target", letter.target},
          {"rule", letter.rule},
          {"image", letter.image},
          {"attempts", letter.attempts},
          {"first_failed", rfc3339(letter.first_failed)},
          {"last_failed", rfc3339(letter.last_failed)},
          {"error", {{"kind", letter.error_kind}, {"message", letter.error_message}}}};
}

HttpResponse answer(const nlohmann::ordered_json& json, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.body = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (status == 503) response.headers.emplace_back("Retry-After", "2");
  return response;
}

HttpResponse refused(int status, std::string_view why) {
  return answer({{"message", why}}, status);
}

}  // namespace

bool DeadLettersApi::knows(const std::string& target) const {
  const auto& targets = generations_.routes().targets();
  return target.empty() || std::find(targets.begin(), targets.end(), target) != targets.end();
}

asio::awaitable<HttpResponse> DeadLettersApi::list(HttpRequest request) {
  const std::string target = request.query["target"];
  if (!knows(target)) co_return refused(404, "this daemon works for no target of that name");
  auto current = co_await book_.refresh();
  if (!current) co_return refused(503, current.error().message);
  nlohmann::ordered_json letters = nlohmann::ordered_json::array();
  for (const bus::DeadLetter& letter : book_.list(target)) letters.push_back(json_of(letter));
  co_return answer({{"dead_letters", std::move(letters)}});
}

Result<DeadLettersApi::Order> DeadLettersApi::parse(const std::string& body) {
  const auto wrong = [](const char* why) { return fail(ErrorKind::invalid, why); };
  const auto json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return wrong("the body is not a JSON object");
  Order order;
  const auto action = json.value("action", nlohmann::json());
  if (action != "retry" && action != "drop") return wrong("action is neither retry nor drop");
  order.drop = action == "drop";
  const auto target = json.value("target", nlohmann::json());
  if (!target.is_null() && !target.is_string()) return wrong("target is not a string");
  if (target.is_string()) order.target = target.get<std::string>();
  const auto all = json.value("all", nlohmann::json());
  if (!all.is_null() && !all.is_boolean()) return wrong("all is neither true nor false");
  order.all = all == true;
  const auto ids = json.value("ids", nlohmann::json());
  if (order.all != ids.is_null()) return wrong("give either ids or all: true");
  if (order.all) return order;
  if (!ids.is_array() || ids.empty() || ids.size() > ids_max)
    return wrong("ids is not a list of dead letters' ids");
  for (const auto& id : ids) {
    if (!id.is_string()) return wrong("ids is not a list of dead letters' ids");
    order.ids.push_back(id.get<std::string>());
  }
  return order;
}

asio::awaitable<Result<void>> DeadLettersApi::carry_out(const Order& order, const std::string& id) {
  // A retry keeps the letter until it has succeeded; what no rule wants any more just goes.
  if (!order.drop && retry_(*book_.find(id))) co_return Result<void>{};
  co_return co_await book_.remove(id);
}

asio::awaitable<HttpResponse> DeadLettersApi::act(HttpRequest request) {
  auto order = parse(request.body);
  if (!order) co_return refused(400, order.error().message);
  if (!knows(order->target)) co_return refused(404, "this daemon works for no target of that name");
  if (auto current = co_await book_.refresh(); !current)
    co_return refused(503, current.error().message);
  if (order->all) {
    for (const bus::DeadLetter& letter : book_.list(order->target)) order->ids.push_back(letter.id);
  }
  std::size_t done = 0;
  nlohmann::ordered_json unknown = nlohmann::ordered_json::array();
  for (const std::string& id : order->ids) {
    const bus::DeadLetter* letter = book_.find(id);
    const bool known =
        letter != nullptr && (order->target.empty() || letter->target == order->target);
    if (!known) {
      if (!order->all) unknown.push_back(id);  // else it went meanwhile
      continue;
    }
    if (auto carried = co_await carry_out(*order, id); !carried)
      co_return refused(503, carried.error().message);
    ++done;
  }
  nlohmann::ordered_json body{{"done", done}, {"unknown", unknown}};
  const bool nothing = done == 0 && !unknown.empty();
  if (nothing) body["message"] = "there is no dead letter of that id";
  co_return answer(body, nothing ? 404 : 200);
}

}  // namespace transship
