#pragma once

#include <string>

#include "daemon/http_server.h"

namespace transship {

// The status page, `GET /`: one document with its style and its script inside, and a policy by
// which a browser runs and loads nothing else. It holds no figures itself: its script asks the API
// for them, and the reader for a token where the API wants one. Its source is page.html, page.css
// and page.js in this folder.
class Page {
 public:
  Page();
  [[nodiscard]] HttpResponse response() const;

 private:
  std::string document_;
  std::string policy_;
};

}  // namespace transship
