#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "config/config.h"
#include "daemon/dead_letters_api.h"
#include "daemon/http_server.h"
#include "daemon/intake.h"
#include "daemon/page/history.h"
#include "daemon/page/page.h"
#include "daemon/reconcile.h"
#include "daemon/status.h"
#include "daemon/tokens.h"
#include "daemon/why.h"

namespace transship {

// What the daemon answers over HTTP: which path is whose, and who may ask.
class Api {
 public:
  struct Parts {
    Intake& intake;
    Status& status;
    DeadLettersApi& dead_letters;
    Why& why;
    const History& history;
    std::function<std::string()> metrics;  // the text of /metrics
    // Asks for a reconciliation of a rule and a target, of all where a name is empty; false where
    // there is no such pair.
    std::function<bool(const std::string& rule, const std::string& target,
                       Reconciler::Extent extent)>
        reconcile;
  };
  Api(const Generations& generations, Parts parts);

  // Who may ask: http.token_file, and registries.R.events.token_file by R.
  struct Keys {
    std::unique_ptr<Tokens> tokens;
    std::map<std::string, std::unique_ptr<Tokens>> of_registries;
  };
  // Reads the token files. Errors: invalid (one cannot be read).
  static Result<Keys> read_keys(const config::Config& config);
  void set_keys(Keys keys) { keys_ = std::move(keys); }
  asio::awaitable<HttpResponse> answer(HttpRequest request);

 private:
  asio::awaitable<HttpResponse> intake(HttpRequest request);
  HttpResponse open_to_all(const HttpRequest& request, bool& found);
  asio::awaitable<HttpResponse> for_operators(HttpRequest request);
  HttpResponse reconcile(const HttpRequest& request);
  static HttpResponse refuse_token(const Tokens& tokens, std::string_view how);

  const Generations& generations_;
  Parts parts_;
  Page page_;
  Keys keys_;
};

}  // namespace transship
