#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "daemon/dead_letter_book.h"
#include "daemon/http_server.h"

namespace transship {

// What operators do with dead letters over HTTP: list them, send them again, drop them.
class DeadLettersApi {
 public:
  // `retry` sends a letter's image again; false where no rule of ours wants it any more.
  using Retry = std::function<bool(const bus::DeadLetter&)>;
  DeadLettersApi(DeadLetterBook& book, const Generations& generations, Retry retry)
      : book_(book), generations_(generations), retry_(std::move(retry)) {}

  // GET, with ?target=T: {dead_letters: […]}. 404: no such target; 503: the bus does not answer.
  asio::awaitable<HttpResponse> list(HttpRequest request);
  // POST {action: retry|drop, ids: […]} or {action, target, all: true}: {done: n, unknown: […]};
  // 404 where none of the ids is known.
  asio::awaitable<HttpResponse> act(HttpRequest request);

 private:
  struct Order {
    bool drop = false;
    bool all = false;
    std::string target;
    std::vector<std::string> ids;
  };
  static Result<Order> parse(const std::string& body);
  [[nodiscard]] bool knows(const std::string& target) const;
  asio::awaitable<Result<void>> carry_out(const Order& order, const std::string& id);

  DeadLetterBook& book_;
  const Generations& generations_;
  Retry retry_;
};

}  // namespace transship
