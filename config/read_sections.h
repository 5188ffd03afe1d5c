#pragma once
// One reader for each map of the file. What is wrong goes to the Reading; the field then keeps its
// default.

#include <string>
#include <vector>

#include "config/config.h"
#include "config/section.h"

namespace transship::config {

void read_registry(Reading& reading, const std::string& name, const Node& node, Registry& registry);

// `registries` are all that the file names, those with mistakes too.
void read_rules(Reading& reading, const Node& node, const std::vector<std::string>& registries,
                std::vector<Rule>& rules);
void read_rule(Reading& reading, const Node& node, const std::vector<std::string>& registries,
               Rule& rule);

void read_bus(Reading& reading, const Node& node, Bus& bus);
void read_http(Reading& reading, const Node& node, Http& http);
void read_transfers(Reading& reading, const Node& node, Transfers& transfers);
void read_retry(Reading& reading, const Node& node, Retry& retry);
void read_reconcile(Reading& reading, const Node& node, Reconcile& reconcile);
void read_log(Reading& reading, const Node& node, Log& log);

}  // namespace transship::config
