#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/commands/commands.h"
#include "replicator/base/error.h"
#include "replicator/base/secret.h"
#include "replicator/http/url.h"

namespace transship::commands {

// As it stands in the query of an address (RFC 3986, "Percent-Encoding").
std::string escaped(std::string_view text);

// A running daemon, as the commands that ask it see it.
class Remote {
 public:
  // At `url`, else where the configuration says that the daemon listens; its token is the first of
  // http.token_file. Prints what is wrong and returns nothing where neither can be had.
  static std::optional<Remote> find(const Common& common, const std::optional<std::string>& url);

  struct Answer {
    int status = 0;
    nlohmann::json json;
    [[nodiscard]] std::string message() const;  // the daemon's own words
  };
  // Whatever the daemon answers with JSON. Errors: unanswered where it is not there; else what came
  // instead.
  Result<Answer> ask(const std::string& method, const std::string& target,
                     const std::string& body = {});
  // The JSON of an answer 200. Errors: unanswered where it is not there; else what it said.
  Result<nlohmann::json> get(const std::string& target);

 private:
  http::Url url_;
  Secret token_;
};

}  // namespace transship::commands
