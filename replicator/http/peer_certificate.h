#pragma once

#include <curl/curl.h>

#include <chrono>
#include <optional>

namespace transship::http {

// When the certificate of the server that a transfer under way is connected to stops being valid.
// Nothing where there is none, or where libcurl speaks TLS by another library than OpenSSL.
std::optional<std::chrono::sys_seconds> peer_certificate_end(CURL* easy);

}  // namespace transship::http
