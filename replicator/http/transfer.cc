#include "replicator/http/transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "replicator/http/engine.h"
#include "replicator/http/peer_certificate.h"

namespace transship::http {

namespace {

constexpr long authorities_kept_seconds = 60;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\r' || text.back() == '\n' || text.back() == ' ')) {
    text.remove_suffix(1);
  }
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

long in_ms(std::chrono::milliseconds duration) { return static_cast<long>(duration.count()); }

}  // namespace

Transfer::Transfer(std::shared_ptr<Engine> engine, Request request)
    : engine_(std::move(engine)),
      request_(std::move(request)),
      easy_(engine_->take_easy()),
      changed_(engine_->executor()) {
  set_options();
  if (!engine_->add(*this)) break_off("the client was closed");
}

Transfer::~Transfer() {
  engine_->remove(*this);
  engine_->recycle(easy_);
  curl_slist_free_all(header_list_);
}

void Transfer::set_options() {
  curl_easy_setopt(easy_, CURLOPT_PRIVATE, this);
  curl_easy_setopt(easy_, CURLOPT_URL, request_.url.str().c_str());
  curl_easy_setopt(easy_, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy_, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, request_.url.scheme.c_str());
  curl_easy_setopt(easy_, CURLOPT_USERAGENT, engine_->user_agent().c_str());
  curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT_MS, in_ms(request_.timeouts.connect));
  curl_easy_setopt(easy_, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, &error_text_[0]);
  curl_easy_setopt(easy_, CURLOPT_BUFFERSIZE, static_cast<long>(read_bytes));
  curl_easy_setopt(easy_, CURLOPT_UPLOAD_BUFFERSIZE, static_cast<long>(read_bytes));
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  set_tls_options();
  set_body_options();

  // Waiting for "100 Continue" costs a round trip, and registries answer early where they refuse.
  header_list_ = curl_slist_append(header_list_, "Expect:");
  bool has_content_type = false;
  for (const auto& [name, value] : request_.headers) {
    has_content_type = has_content_type || lower_case(name) == "content-type";
    header_list_ = curl_slist_append(header_list_, fmt::format("{}: {}", name, value).c_str());
  }
  if (!has_content_type) header_list_ = curl_slist_append(header_list_, "Content-Type:");
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, header_list_);
}

void Transfer::set_tls_options() {
  if (!request_.tls) return;
  const Tls& tls = *request_.tls;
  if (!tls.ca_file.empty()) {
    curl_easy_setopt(easy_, CURLOPT_CAINFO, tls.ca_file.c_str());
    curl_easy_setopt(easy_, CURLOPT_CAPATH, nullptr);
    // libcurl keeps what it read; a file that was renewed should not have to wait for a restart.
    curl_easy_setopt(easy_, CURLOPT_CA_CACHE_TIMEOUT, authorities_kept_seconds);
  }
  if (!tls.cert_file.empty()) curl_easy_setopt(easy_, CURLOPT_SSLCERT, tls.cert_file.c_str());
  if (!tls.key_file.empty()) curl_easy_setopt(easy_, CURLOPT_SSLKEY, tls.key_file.c_str());
}

void Transfer::set_body_options() {
  if (request_.method == "HEAD") {
    curl_easy_setopt(easy_, CURLOPT_NOBODY, 1L);
    return;
  }
  if (request_.method == "GET") {
    curl_easy_setopt(easy_, CURLOPT_HTTPGET, 1L);
    return;
  }
  if (request_.upload_bytes && *request_.upload_bytes > 0) {
    curl_easy_setopt(easy_, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy_, CURLOPT_INFILESIZE_LARGE,
                     static_cast<curl_off_t>(*request_.upload_bytes));
    curl_easy_setopt(easy_, CURLOPT_READFUNCTION, &Transfer::on_read);
    curl_easy_setopt(easy_, CURLOPT_READDATA, this);
  } else {
    request_.upload_bytes.reset();
    curl_easy_setopt(easy_, CURLOPT_POST, 1L);
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request_.body.size()));
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDS, request_.body.data());
  }
  curl_easy_setopt(easy_, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
}

// --- libcurl's side: nothing here may add or remove a handle
// -----------------------------------------------------------

std::size_t Transfer::on_header(char* data, std::size_t, std::size_t size, void* self) {
  return static_cast<Transfer*>(self)->take_header(std::string_view(data, size));
}
std::size_t Transfer::on_body(char* data, std::size_t, std::size_t size, void* self) {
  return static_cast<Transfer*>(self)->take_body(std::string_view(data, size));
}
std::size_t Transfer::on_read(char* into, std::size_t, std::size_t size, void* self) {
  return static_cast<Transfer*>(self)->give_body(into, size);
}

std::size_t Transfer::take_header(std::string_view line) {
  header_bytes_ += line.size();
  if (header_bytes_ > header_bytes_max) {
    error_ = Error{ErrorKind::invalid,
                   fmt::format("{}: more than {} bytes of headers", where(), header_bytes_max)};
    return 0;
  }
  if (head_complete_) return line.size();  // trailers say nothing that we need
  const std::string_view text = trimmed(line);
  if (text.starts_with("HTTP/")) {
    head_ = {};
    const std::size_t space = text.find(' ');
    if (space != std::string_view::npos) {
      const std::string_view code = text.substr(space + 1, 3);
      std::from_chars(code.data(), code.data() + code.size(), head_.status);
    }
  } else if (text.empty()) {
    head_complete_ = head_.status >= 200;  // 1xx answers are followed by the real one
    if (head_complete_) {
      if (request_.url.scheme == "https") head_.certificate_end = peer_certificate_end(easy_);
      window_start_ = Clock::now();
      window_bytes_ = 0;
      changed_.notify();
    }
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    head_.headers.emplace_back(lower_case(text.substr(0, colon)), trimmed(text.substr(colon + 1)));
  }
  return line.size();
}

// Each chunk is filled: what lies in them is counted, and what they take is to be no more.
std::size_t Transfer::take_body(std::string_view bytes) {
  for (std::string_view rest = bytes; !rest.empty();) {
    if (received_.empty() || received_.back().size() >= chunk_bytes) {
      received_.push_back(engine_->take_buffer());
      received_.back().reserve(chunk_bytes);
    }
    const std::string_view part = rest.substr(0, chunk_bytes - received_.back().size());
    received_.back().append(part);
    rest.remove_prefix(part.size());
  }
  received_bytes_ += bytes.size();
  // What libcurl has read already is taken to its end: a refused piece it would keep in a copy.
  if (!receive_paused_ && received_bytes_ >= request_.receive_buffer_bytes) {
    receive_paused_ = true;
    apply_pauses();
  }
  moved(bytes.size());
  changed_.notify();
  return bytes.size();
}

std::size_t Transfer::give_body(char* into, std::size_t size) {
  std::size_t given = 0;
  while (given < size && !to_send_.empty()) {
    const Chunk& front = to_send_.front();
    const std::size_t part = std::min(size - given, front->size() - front_sent_);
    std::memcpy(into + given, front->data() + front_sent_, part);
    given += part;
    front_sent_ += part;
    if (front_sent_ == front->size()) {
      to_send_.pop_front();
      front_sent_ = 0;
    }
  }
  if (given == 0) {
    send_paused_ = true;
    return CURL_READFUNC_PAUSE;
  }
  to_send_bytes_ -= given;
  sent_ += given;
  moved(given);
  if (sent_ == *request_.upload_bytes) body_sent_at_ = Clock::now();
  changed_.notify();
  return given;
}

void Transfer::moved(std::size_t bytes) {
  window_bytes_ += bytes;
  if (window_bytes_ >= Timeouts::stall_bytes) {
    window_start_ = Clock::now();
    window_bytes_ = 0;
  }
}

// --- the loop's side
// ----------------------------------------------------------------------------------------------------

void Transfer::finished(CURLcode code) {
  if (code == CURLE_OK && head_complete_) {
    end(std::nullopt);
  } else {
    end(error_ ? *error_ : error_of(code));
  }
}

void Transfer::break_off(std::string reason) {
  engine_->remove(*this);
  end(Error{ErrorKind::transient,
            fmt::format("{}: {}", where(), reason),
            std::nullopt,
            {},
            !head_complete_});
}

void Transfer::end(std::optional<Error> error) {
  if (done_) return;
  done_ = true;
  error_ = std::move(error);
  changed_.notify();
}

void Transfer::check_deadlines() {
  if (done_) return;
  const auto now = Clock::now();
  const Timeouts& limits = request_.timeouts;
  const auto seconds = [](auto duration) {
    return std::chrono::duration<double>(duration).count();
  };
  if (limits.total && now - started_ > *limits.total) {
    return break_off(fmt::format("not done within {:g} s", seconds(*limits.total)));
  }
  const bool sending = request_.upload_bytes && sent_ < *request_.upload_bytes;
  if (!sending && !head_complete_) {
    if (now - std::max(started_, body_sent_at_) > limits.answer) {
      break_off(fmt::format("no answer within {:g} s", seconds(limits.answer)));
    }
    return;
  }
  // While we are the one who is waited for, or nothing has been asked of the other side yet, its
  // clock stands still.
  const bool ours = head_complete_ ? receive_paused_ : send_paused_ || sent_ == 0;
  if (ours) {
    window_start_ = now;
    window_bytes_ = 0;
  } else if (now - window_start_ > limits.stall) {
    break_off(fmt::format("moved less than {} bytes in {:g} s", Timeouts::stall_bytes,
                          seconds(limits.stall)));
  }
}

void Transfer::apply_pauses() {
  curl_easy_pause(easy_,
                  (receive_paused_ ? CURLPAUSE_RECV : 0) | (send_paused_ ? CURLPAUSE_SEND : 0));
}

asio::awaitable<Result<bool>> Transfer::write(Chunk chunk) {
  while (!done_ && !head_complete_ && to_send_bytes_ >= buffer_bytes) co_await changed_.wait();
  if (done_ && error_) co_return fail(*error_);
  if (done_ || head_complete_) co_return false;
  to_send_bytes_ += chunk->size();
  if (!chunk->empty()) to_send_.push_back(std::move(chunk));
  if (send_paused_) {
    send_paused_ = false;
    apply_pauses();
  }
  co_return true;
}

asio::awaitable<Result<ResponseHead>> Transfer::head() {
  while (!done_ && !head_complete_) co_await changed_.wait();
  if (!head_complete_) co_return fail(*error_);
  co_return head_;
}

asio::awaitable<Result<Chunk>> Transfer::read() {
  while (!done_ && received_.empty()) co_await changed_.wait();
  if (received_.empty()) {
    if (error_) co_return fail(*error_);
    co_return Chunk{};
  }
  received_bytes_ -= received_.front().size();
  Chunk chunk = engine_->lend(std::move(received_.front()));
  received_.pop_front();
  // A small buffer is emptied by one chunk; a large one is filled again while it is emptied.
  if (receive_paused_ && !done_ && received_bytes_ < request_.receive_buffer_bytes) {
    receive_paused_ = false;
    apply_pauses();  // may call take_body at once
  }
  co_return chunk;
}

std::string Transfer::where() const {
  return fmt::format("{} {}", request_.method, request_.url.origin());
}

Error Transfer::error_of(CURLcode code) const {
  const std::string detail =
      error_text_[0] != '\0' ? std::string(&error_text_[0]) : std::string(curl_easy_strerror(code));
  Error error{ErrorKind::transient,
              fmt::format("{}: {}", where(), detail),
              std::nullopt,
              {},
              !head_complete_};
  switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
      error.kind = ErrorKind::invalid;
      error.unanswered = false;  // something answered, but not HTTP as we know it
      break;
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
      error.message = fmt::format("{}: {} (see tls in the configuration)", where(), detail);
      break;
    case CURLE_OUT_OF_MEMORY:  // libcurl's word for a header line that is longer than its buffer
      error.message = where() + ": a line of the answer's headers is too long";
      error.kind = ErrorKind::invalid;
      error.unanswered = false;
      break;
    case CURLE_OK:
      error.message = where() + ": the answer ends within its headers";
      break;
    default:
      break;
  }
  return error;
}

}  // namespace transship::http
