#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace transship::testing {

// A blocking HTTP client for tests: one request, one answer. Status 0 when nobody answers.
struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};
HttpAnswer http(const std::string& method, const std::string& url, const std::string& body = {},
                const std::vector<std::string>& headers = {});

}  // namespace transship::testing
