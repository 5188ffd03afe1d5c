#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "daemon/dead_letter_book.h"
#include "daemon/http_server.h"
#include "daemon/outages.h"
#include "daemon/worker.h"

namespace transship {

// Why an image is, or is not, at a target: what this daemon knows of it, and what both sides show
// now.
class Why {
 public:
  struct Parts {
    const Generations& generations;
    const DeadLetterBook& dead_letters;
    const Outages& outages;
    TwoWay& two_way;
    // Null before the bus is there.
    std::function<const Worker*(const std::string& target)> worker;
  };
  explicit Why(Parts parts) : parts_(std::move(parts)) {}

  // GET ?image=…&target=…: the object of `transship why`. 400: no image; 404: no such target.
  asio::awaitable<HttpResponse> answer(HttpRequest request);

 private:
  struct Image {
    oci::Repository repository;
    oci::Reference reference;
    std::string name;
    std::string tag;  // empty where it is named by digest
  };
  struct Shown {
    std::optional<oci::Digest> digest;
    std::optional<Error> error;
  };
  static std::optional<Image> parse(const std::string& name);
  [[nodiscard]] std::vector<Route> routes_of(const Generation& generation,
                                             const std::string& target, const Image& image) const;
  [[nodiscard]] const Route& most_telling(const std::vector<Route>& routes,
                                          const Image& image) const;
  asio::awaitable<Result<void>> look_at_both(Generation& generation, const Route& route,
                                             const Image& image, Shown& source, Shown& target);
  asio::awaitable<void> look(Generation& generation, std::string registry, std::string repository,
                             oci::Reference reference, Shown& shown);
  asio::awaitable<bool> is_conflict(const Generation& generation, const Route& route,
                                    const Image& image, const Shown& source, const Shown& target);
  [[nodiscard]] nlohmann::ordered_json explain(const Route& route, const Image& image,
                                               const Shown& source, const Shown& target) const;

  Parts parts_;
};

}  // namespace transship
