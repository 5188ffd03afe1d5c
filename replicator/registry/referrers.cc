#include <fmt/format.h>

#include <set>

#include "replicator/registry/naming.h"
#include "replicator/registry/registry.h"

// The referrers API (distribution-spec 1.1, "Listing Referrers").
namespace transship::registry {

std::optional<bool> Registry::has_referrers_api() const {
  const bool known = referrers_api_ && std::chrono::steady_clock::now() - referrers_api_->told <
                                           referrers_api_remembered;
  return known ? std::optional(referrers_api_->has) : std::nullopt;
}

void Registry::note_referrers_api(bool has) {
  referrers_api_ = ReferrersApi{has, std::chrono::steady_clock::now()};
}

asio::awaitable<Result<std::optional<std::vector<oci::Descriptor>>>> Registry::list_referrers(
    oci::Repository repository, oci::Digest subject) {
  using Listed = std::optional<std::vector<oci::Descriptor>>;
  while (!has_referrers_api() && asking_for_referrers_) {
    const std::shared_ptr<Event> asking = asking_for_referrers_;
    co_await asking->wait();
  }
  if (has_referrers_api() == false) co_return Listed();
  struct First {  // the others wait for what it learns
    std::shared_ptr<Event>* asking = nullptr;
    ~First() {
      if (asking != nullptr) std::exchange(*asking, nullptr)->notify();
    }
  } first;
  if (!has_referrers_api()) {
    asking_for_referrers_ = std::make_shared<Event>(co_await asio::this_coro::executor);
    first.asking = &asking_for_referrers_;
  }
  std::vector<oci::Descriptor> referrers;
  std::set<oci::Digest> seen;
  bool is_api = true;
  const auto add = [&](const http::ResponseHead& head, std::string body) -> Result<std::size_t> {
    // A page for people is what some registries answer to everything that they do not know.
    const std::string_view type = head.header("content-type").value_or("");
    is_api = type.starts_with(oci::media_type::oci_index);
    if (!is_api) return 0;
    auto page = oci::parse_manifest(std::move(body), type);
    if (!page) return fail(page.error());
    std::size_t added = 0;
    for (oci::Descriptor& referrer : page->manifests) {
      if (!seen.insert(referrer.digest).second) continue;
      referrers.push_back(std::move(referrer));
      ++added;
    }
    if (referrers.size() > referrers_max)
      return fail(ErrorKind::invalid, fmt::format("lists more than {} referrers", referrers_max));
    return added;
  };
  const std::string doing =
      fmt::format("list what refers to {}@{}", repository.str(), subject.str());
  auto read =
      co_await pages(path(repository, "referrers/" + subject.str()), pull_scope(repository),
                     std::string(oci::media_type::oci_index), doing, referrers_pages_max, add);
  if (!read && is_api) {
    const ErrorKind kind = read.error().kind;
    // Quay, of a subject that it does not hold.
    if (kind == ErrorKind::invalid && read.error().code == "MANIFEST_UNKNOWN")
      co_return std::vector<oci::Descriptor>();
    if (kind != ErrorKind::not_found && kind != ErrorKind::unsupported)
      co_return fail(read.error());
    // A registry that does not know the repository may know the API; one that had it a moment ago
    // has it.
    if (read.error().code != "NAME_UNKNOWN" && !has_referrers_api()) note_referrers_api(false);
    co_return Listed();
  }
  note_referrers_api(is_api);
  co_return is_api ? Listed(std::move(referrers)) : Listed();
}

}  // namespace transship::registry
