#include "replicator/http/client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>

#include "replicator/http/engine.h"
#include "replicator/http/transfer.h"

namespace transship::http {

std::optional<std::string_view> ResponseHead::header(std::string_view name) const {
  const auto found = std::find_if(headers.begin(), headers.end(),
                                  [&](const auto& header) { return header.first == name; });
  if (found == headers.end()) return std::nullopt;
  return found->second;
}

Exchange::Exchange(std::shared_ptr<Transfer> transfer) : transfer_(std::move(transfer)) {}
Exchange::Exchange(Exchange&&) noexcept = default;
Exchange& Exchange::operator=(Exchange&&) noexcept = default;
Exchange::~Exchange() = default;

// The transfer is held while a coroutine waits in it, whatever becomes of this handle meanwhile.
asio::awaitable<Result<bool>> Exchange::write(Chunk chunk) {
  const auto transfer = transfer_;
  co_return co_await transfer->write(std::move(chunk));
}

asio::awaitable<Result<ResponseHead>> Exchange::head() {
  const auto transfer = transfer_;
  co_return co_await transfer->head();
}

asio::awaitable<Result<Chunk>> Exchange::read() {
  const auto transfer = transfer_;
  co_return co_await transfer->read();
}

asio::awaitable<Result<std::string>> Exchange::read_all(std::size_t bytes_max) {
  std::string body;
  for (;;) {
    auto chunk = co_await read();
    if (!chunk) co_return fail(chunk.error());
    if (!*chunk) co_return body;
    if (body.size() + (*chunk)->size() > bytes_max) {
      co_return fail(ErrorKind::invalid,
                     fmt::format("the answer is longer than {} bytes", bytes_max));
    }
    if (body.empty()) {
      body = **chunk;
    } else {
      body += **chunk;
    }
  }
}

Client::Client(asio::any_io_executor executor, std::string user_agent) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  static_cast<void>(initialised);
  engine_ = std::make_shared<Engine>(std::move(executor), std::move(user_agent));
}

Client::~Client() { engine_->shut(); }

Exchange Client::start(Request request) {
  return Exchange(std::make_shared<Transfer>(engine_, std::move(request)));
}

asio::any_io_executor Client::executor() const { return engine_->executor(); }

}  // namespace transship::http
