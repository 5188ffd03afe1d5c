#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "replicator/registry/registry.h"

// Lists in pages (distribution-spec "Listing Tags", RFC 8288 links).
namespace transship::registry {

namespace {

constexpr std::size_t page_bytes_max = 8UL << 20U;

// The target of the link with rel="next", if there is one.
std::optional<std::string> next_link(const http::ResponseHead& head) {
  for (const auto& [name, value] : head.headers) {
    if (name != "link") continue;
    // One header may hold several links: <target>; rel="prev", <target>; rel=next
    for (std::size_t open = value.find('<'); open != std::string::npos;) {
      const std::size_t close = value.find('>', open);
      if (close == std::string::npos) break;
      const std::size_t following = value.find('<', close);
      const std::string_view parameters = std::string_view(value).substr(close, following - close);
      if (parameters.find("rel=\"next\"") != std::string_view::npos ||
          parameters.find("rel=next") != std::string_view::npos) {
        return value.substr(open + 1, close - open - 1);
      }
      open = following;
    }
  }
  return std::nullopt;
}

Result<std::size_t> add_names(const std::string& body, const char* key,
                              std::set<std::string>& names) {
  // What lies deeper than a list of names is left out, so that a page of brackets costs no memory.
  const auto shallow = [](int depth, nlohmann::json::parse_event_t, const nlohmann::json&) {
    return depth <= 2;
  };
  const auto json = nlohmann::json::parse(body, shallow, /*allow_exceptions=*/false);
  if (!json.is_object()) return fail(ErrorKind::invalid, "the list is not a JSON object");
  const auto list = json.find(key);
  if (list == json.end() || list->is_null())
    return 0;  // docker-registry: a repository without tags
  if (!list->is_array()) return fail(ErrorKind::invalid, fmt::format("\"{}\" is not a list", key));
  const std::size_t before = names.size();
  for (const auto& entry : *list) {
    if (!entry.is_string())
      return fail(ErrorKind::invalid, fmt::format("\"{}\" holds no strings", key));
    names.insert(entry.get<std::string>());
  }
  return names.size() - before;
}

}  // namespace

asio::awaitable<Result<void>> Registry::pages(std::string target, Scopes scopes, std::string accept,
                                              std::string doing, std::size_t most, AddPage add) {
  const std::string context = fmt::format("{}: {}", doing, name());
  for (std::size_t page = 0; page < most; ++page) {
    Call call;
    call.target = target;
    call.scopes = scopes;
    if (!accept.empty()) call.headers.emplace_back("Accept", accept);
    auto answer = co_await transport_.send(std::move(call));
    if (!answer) co_return fail(answer.error().with_context(fmt::format("{}: {}", doing, name())));
    if (answer->head.status != 200) {
      Error error = co_await transport_.error_of(std::move(*answer), doing);
      // That there is no such list would have been the answer to the first page.
      if (page > 0 && error.kind == ErrorKind::not_found) {
        error.kind = ErrorKind::invalid;
        error.message += " to a page that it named itself";
      }
      co_return fail(std::move(error));
    }
    const auto next = next_link(answer->head);
    auto body = co_await answer->exchange.read_all(page_bytes_max);
    if (!body) co_return fail(body.error().with_context(context));
    auto added = add(answer->head, std::move(*body));
    if (!added) co_return fail(added.error().with_context(context));
    if (!next) co_return Result<void>{};
    auto url = answer->url.resolve(*next);
    if (!url) co_return fail(url.error().with_context(context));
    if (url->origin() != answer->url.origin()) {
      co_return fail(ErrorKind::invalid, context + " sends its next page to another host");
    }
    if (url->target == target || *added == 0) {
      co_return fail(ErrorKind::invalid, context + " gives pages without end");
    }
    target = url->target;
  }
  co_return fail(ErrorKind::invalid, fmt::format("{} gives more than {} pages", context, most));
}

asio::awaitable<Result<std::optional<std::vector<std::string>>>> Registry::list(std::string target,
                                                                                Scopes scopes,
                                                                                const char* key,
                                                                                std::string doing) {
  std::set<std::string> names;
  const auto add = [&](const http::ResponseHead&, std::string body) -> Result<std::size_t> {
    auto added = add_names(body, key, names);
    if (added && names.size() > names_max)
      return fail(ErrorKind::invalid, fmt::format("lists more than {} names", names_max));
    return added;
  };
  auto read = co_await pages(std::move(target), std::move(scopes), {}, doing, pages_max, add);
  if (!read && read.error().kind == ErrorKind::not_found)
    co_return std::optional<std::vector<std::string>>();
  if (!read) co_return fail(read.error());
  co_return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace transship::registry
