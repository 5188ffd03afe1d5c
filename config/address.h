#pragma once
// Where things are: registries, the bus, our own listening socket. Every parser takes a scalar's
// text and gives the value, or the rest of a sentence that the key begins. A text that could hold a
// password (there is an '@' in it) is never quoted.

#include <string>
#include <string_view>

#include "config/config.h"
#include "config/values.h"

namespace transship::config {

// http:// or https://, a host, perhaps a port; a single slash at the end is dropped.
Parsed<Url> parse_registry_url(std::string_view text);

// nats:// or tls://, a host, perhaps a port. The text, checked.
Parsed<std::string> parse_bus_server(std::string_view text);

// host:port
Parsed<ListenAddress> parse_listen_address(std::string_view text);

// A JetStream stream: no blank, '.', '*', '>', '/' or '\'.
Parsed<std::string> parse_stream(std::string_view text);

// A NATS subject, with wildcards or without.
Parsed<std::string> parse_subject(std::string_view text);
bool ends_with_wildcard(std::string_view subject);

}  // namespace transship::config
