#include "replicator/fallback_tag.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "replicator/oci/referrers_index.h"
#include "replicator/oci/referrers_tag.h"

namespace transship {

namespace {

using registry::Registry;

// Entries that the registry itself does not have any more: some registries refuse an index that
// names them.
asio::awaitable<Result<std::set<oci::Digest>>> missing_entries(Registry& registry,
                                                               oci::Repository repository,
                                                               const oci::Manifest& index) {
  std::set<oci::Digest> missing;
  for (const oci::Descriptor& entry : index.manifests) {
    auto shown = co_await registry.head_manifest(repository, entry.digest);
    if (!shown) co_return fail(shown.error());
    if (!*shown) missing.insert(entry.digest);
  }
  co_return missing;
}

bool may_be_for_missing_entries(const Error& error) {
  return error.code == "MANIFEST_BLOB_UNKNOWN" || error.code == "MANIFEST_UNKNOWN" ||
         error.kind == ErrorKind::not_found || error.kind == ErrorKind::invalid;
}

}  // namespace

asio::awaitable<Result<void>> list_under_fallback_tag(
    Registry& registry, oci::Repository repository, oci::Digest subject,
    std::vector<std::shared_ptr<const oci::Manifest>> referrers) {
  const oci::Tag tag = oci::fallback_tag(subject);
  const std::string doing =
      fmt::format("list referrers under {}:{} of {}", repository.str(), tag.str(), registry.name());
  const auto turn = co_await registry.tag_turns().take(repository, tag);
  std::set<oci::Digest> gone;
  for (int attempt = 0; attempt < fallback_tries; ++attempt) {
    auto existing = co_await registry.get_manifest(repository, tag);
    if (!existing) co_return fail(existing.error().with_context(doing));
    if (*existing && (*existing)->digest == subject) existing->reset();  // it has no such tags
    auto index = oci::referrers_index_with(*existing ? &**existing : nullptr, referrers, gone);
    if (!index) co_return fail(index.error().with_context(doing));
    if (!*index) co_return Result<void>{};  // as it should be: put by us, or by others
    const oci::Digest wanted = (*index)->digest;
    auto put = co_await registry.put_manifest(
        repository, tag, std::make_shared<const oci::Manifest>(std::move(**index)));
    if (!put) {
      if (!gone.empty() || !*existing || !may_be_for_missing_entries(put.error()))
        co_return fail(put.error().with_context(doing));
      auto missing = co_await missing_entries(registry, repository, **existing);
      if (!missing) co_return fail(missing.error().with_context(doing));
      if (missing->empty()) co_return fail(put.error().with_context(doing));
      gone = std::move(*missing);
      continue;
    }
    auto shown = co_await registry.head_manifest(repository, tag);
    if (!shown) co_return fail(shown.error().with_context(doing));
    if (*shown && (*shown)->digest == wanted) co_return Result<void>{};
    if (*shown && (*shown)->digest == subject) {
      co_return fail(
          ErrorKind::unsupported,
          fmt::format("{}: it has no API for referrers, and takes this tag for the digest "
                      "that it is made of",
                      doing));
    }
  }
  co_return fail(ErrorKind::transient, fmt::format("{}: others change it all the time", doing));
}

}  // namespace transship
