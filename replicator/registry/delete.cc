#include <fmt/format.h>

#include <set>

#include "replicator/registry/naming.h"
#include "replicator/registry/registry.h"

// Deletes (distribution-spec "Content Management"): tags where the registry takes tags, else
// manifests that nothing else needs.
namespace transship::registry {

namespace {

constexpr std::size_t looks_at_once = 16;
constexpr std::size_t repositories_remembered_max = 16;
constexpr std::size_t manifests_of_a_tag_max = 1000;  // indexes in indexes that are read for one

bool is_index_type(std::string_view media_type) {
  return media_type == oci::media_type::oci_index || media_type == oci::media_type::docker_list;
}

}  // namespace

// Which tags of a repository need which manifest. Whoever wants to delete several at once looks
// together, and a look is good for as long again as it took: that its first answers are older than
// its last cannot be helped, and so a repository of n tags of which m go costs no m looks at n.
class Registry::TagLook {
 public:
  using Clock = std::chrono::steady_clock;

  explicit TagLook(asio::any_io_executor executor) : ended(std::move(executor)) {}

  [[nodiscard]] bool is_fresh() const {
    return !done || (!error && Clock::now() - ended_at <= ended_at - began_at);
  }
  // A manifest went, and these tags with it.
  void forget(const oci::Digest& digest) {
    for (const std::string& tag : showing[digest]) {
      for (auto& [child, holders] : holding) holders.erase(tag);
    }
    showing.erase(digest);
  }

  std::map<oci::Digest, std::set<std::string>> showing;  // tags by what they show
  std::map<oci::Digest, std::set<std::string>> holding;  // tags by what their indexes reach
  bool done = false;
  std::optional<Error> error;
  Clock::time_point began_at = Clock::now();
  Clock::time_point ended_at = {};
  Event ended;
};

asio::awaitable<Result<bool>> Registry::plainly_lacks(oci::Repository repository, oci::Tag tag) {
  auto shown = co_await head_manifest(repository, oci::Reference(tag));
  if (!shown) co_return fail(shown.error());
  if (*shown) co_return false;
  auto access = co_await check_access();
  if (access || access.error().kind == ErrorKind::unauthorized) co_return true;
  if (access.error().unanswered) co_return fail(access.error());
  co_return fail(
      ErrorKind::transient,
      fmt::format("look whether {} is gone from {}: what answers there does not speak "
                  "the registry API: {}",
                  named(repository, oci::Reference(tag)), name(), access.error().message));
}

// The status, and what a refusal said.
asio::awaitable<Result<int>> Registry::send_delete(oci::Repository repository,
                                                   oci::Reference reference,
                                                   std::optional<Error>& refusal) {
  Call call;
  call.method = "DELETE";
  call.target = path(repository, "manifests/" + reference.str());
  call.scopes = delete_scope(repository);
  auto answer = co_await transport_.send(std::move(call));
  if (!answer) co_return fail(answer.error());
  const int status = answer->head.status;
  if (status >= 200 && status < 300) co_return status;
  refusal =
      co_await transport_.error_of(std::move(*answer), "delete " + named(repository, reference));
  co_return status;
}

asio::awaitable<Result<Registry::Deletion>> Registry::delete_tag(oci::Repository repository,
                                                                 oci::Tag tag, oci::Digest digest,
                                                                 MayGo may_go) {
  const oci::Reference reference(tag);
  // Somebody else may have moved it.
  auto shown = co_await head_manifest(repository, reference);
  if (!shown) co_return fail(shown.error());
  if (!*shown) co_return Deletion{Deletion::Outcome::absent};
  if ((*shown)->digest != digest) co_return Deletion{Deletion::Outcome::moved};
  if (!takes_no_tags_) {
    std::optional<Error> refusal;
    auto status = co_await send_delete(repository, reference, refusal);
    if (!status) co_return fail(status.error());
    if (!refusal) co_return Deletion{};
    takes_no_tags_ = *status == 400 || *status == 405;
    // 404 to what it showed a moment ago: it may have looked for a manifest of that name.
    if (!takes_no_tags_ && *status != 404) co_return fail(*refusal);
  }
  co_return co_await delete_manifest(std::move(repository), std::move(tag), std::move(digest),
                                     std::move(may_go));
}

asio::awaitable<Result<Registry::Deletion>> Registry::delete_manifest(oci::Repository repository,
                                                                      oci::Tag tag,
                                                                      oci::Digest digest,
                                                                      MayGo may_go) {
  const std::string kept = fmt::format("{}:{} stays at {}, which deletes by digest alone",
                                       repository.str(), tag.str(), name());
  // Twins that go at the same time: the first one takes the manifest, the others find it gone.
  const auto turn = co_await tag_turns_.take(
      repository, *oci::Tag::parse("deleting-" + std::string(digest.hex().substr(0, 64))));
  auto look = co_await look_at_tags(repository);
  if (!look) co_return fail(look.error());
  Deletion deletion;
  deletion.by_digest = true;
  const std::set<std::string> showing = (*look)->showing[digest];  // a copy: others look too
  for (const std::string& other : showing) {
    auto twin = oci::Tag::parse(other);
    if (!twin || *twin == tag) continue;
    auto may = co_await may_go(*twin);
    if (!may) co_return fail(may.error().with_context(kept));
    if (!*may) {
      co_return fail(ErrorKind::conflict,
                     fmt::format("{}: tag {} shows the same digest and is to stay", kept, other));
    }
    deletion.also.push_back(std::move(*twin));
  }
  if (const auto& holders = (*look)->holding[digest]; !holders.empty()) {
    co_return fail(ErrorKind::conflict,
                   fmt::format("{}: the index of tag {} needs it", kept, *holders.begin()));
  }
  // The look may have taken a while.
  auto shown = co_await head_manifest(repository, oci::Reference(tag));
  if (!shown) co_return fail(shown.error());
  if (!*shown) co_return Deletion{Deletion::Outcome::absent};
  if ((*shown)->digest != digest) co_return Deletion{Deletion::Outcome::moved};
  std::optional<Error> refusal;
  auto status = co_await send_delete(repository, oci::Reference(digest), refusal);
  if (!status) co_return fail(status.error());
  if (*status == 405) {
    takes_no_tags_ = false;  // nor anything else, until an operator allows it
    co_return fail(ErrorKind::unsupported, refusal->message +
                                               " (deletes are not enabled at this registry; for "
                                               "docker-registry: storage.delete.enabled)");
  }
  if (*status == 404) co_return Deletion{Deletion::Outcome::absent};
  if (refusal) co_return fail(*refusal);
  (*look)->forget(digest);
  co_return deletion;
}

asio::awaitable<Result<std::shared_ptr<Registry::TagLook>>> Registry::look_at_tags(
    oci::Repository repository) {
  std::erase_if(tag_looks_, [](const auto& entry) { return !entry.second->is_fresh(); });
  if (const auto known = tag_looks_.find(repository); known != tag_looks_.end()) {
    const auto look = known->second;
    while (!look->done) co_await look->ended.wait();
    if (look->error) co_return fail(*look->error);
    co_return look;
  }
  auto look = std::make_shared<TagLook>(co_await asio::this_coro::executor);
  if (tag_looks_.size() < repositories_remembered_max) tag_looks_[repository] = look;
  struct End {  // also where this coroutine is cancelled: others wait for it
    TagLook& look;
    ~End() {
      look.done = true;
      look.ended_at = TagLook::Clock::now();
      look.ended.notify();
    }
  };
  const End end{*look};
  look->error = Error{ErrorKind::transient, "the look at the tags was broken off"};
  auto filled = co_await fill(*look, repository);
  look->error = filled ? std::nullopt : std::optional(filled.error());
  if (!filled) co_return fail(filled.error());
  co_return look;
}

asio::awaitable<Result<void>> Registry::fill(TagLook& look, oci::Repository repository) {
  auto tags = co_await list_tags(repository);
  if (!tags) co_return fail(tags.error());
  if (!*tags) co_return Result<void>{};
  if ((*tags)->size() > tags_looked_at_max) {
    co_return fail(ErrorKind::unsupported,
                   fmt::format("delete a tag of {}: {} deletes by digest alone, and the repository "
                               "has more than {} tags to be looked at before",
                               repository.str(), name(), tags_looked_at_max));
  }
  co_return co_await for_each_index((*tags)->size(), looks_at_once,
                                    [&](std::size_t i) -> asio::awaitable<Result<void>> {
                                      auto tag = oci::Tag::parse((**tags)[i]);
                                      if (!tag) co_return Result<void>{};
                                      co_return co_await fill(look, repository, std::move(*tag));
                                    });
}

asio::awaitable<Result<void>> Registry::fill(TagLook& look, oci::Repository repository,
                                             oci::Tag tag) {
  auto shown = co_await head_manifest(repository, oci::Reference(tag));
  if (!shown) co_return fail(shown.error());
  if (!*shown) co_return Result<void>{};
  look.showing[(*shown)->digest].insert(tag.str());
  // What an index holds, indexes in it too.
  std::vector<oci::Digest> indexes;
  if (is_index_type((*shown)->media_type)) indexes.push_back((*shown)->digest);
  for (std::size_t i = 0; i < indexes.size(); ++i) {
    if (i >= manifests_of_a_tag_max) {
      co_return fail(ErrorKind::invalid,
                     fmt::format("{}:{} reaches more than {} indexes", repository.str(), tag.str(),
                                 manifests_of_a_tag_max));
    }
    auto index = co_await get_manifest(repository, indexes[i]);
    if (!index) co_return fail(index.error());
    if (!*index) continue;
    for (const oci::Descriptor& child : (*index)->manifests) {
      const bool is_new = look.holding[child.digest].insert(tag.str()).second;
      if (is_new && is_index_type(child.media_type)) indexes.push_back(child.digest);
    }
  }
  co_return Result<void>{};
}

}  // namespace transship::registry
