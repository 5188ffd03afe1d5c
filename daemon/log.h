#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "config/config.h"

// The daemon's log: one line an event, with fields that can be queried. It goes to standard error
// as text or JSON, or to the systemd journal with a field each (RULE=, TARGET=, IMAGE= …, in
// capitals with TRANSSHIP_ in front).
namespace transship::log {

// Names in lower case; empty values are left out. Never a secret.
using Fields = std::initializer_list<std::pair<std::string_view, std::string>>;

void configure(const config::Log& log);

void debug(std::string_view message, Fields fields = {});
void info(std::string_view message, Fields fields = {});
void warning(std::string_view message, Fields fields = {});
void error(std::string_view message, Fields fields = {});

}  // namespace transship::log
