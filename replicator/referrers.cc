#include "replicator/referrers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "replicator/image_tree.h"
#include "replicator/oci/referrers_tag.h"

namespace transship {

namespace {

using registry::Registry;

constexpr std::size_t side_by_side_max = 16;
// Where tags cannot be listed cheaply, these are asked for: cosign's.
constexpr std::array<std::string_view, 3> usual_suffixes{"sig", "att", "sbom"};

// Calls `each(i)` for all numbers below `count`, some of them side by side.
template <class Each>
asio::awaitable<Result<void>> for_each_index(std::size_t count, Each each) {
  std::size_t next = 0;
  TaskGroup group(co_await asio::this_coro::executor);
  for (std::size_t i = 0; i < std::min(count, side_by_side_max); ++i) {
    group.spawn([](std::size_t& next, std::size_t count,
                   const Each& each) -> asio::awaitable<Result<void>> {
      while (next < count) {
        if (auto done = co_await each(next++); !done) co_return done;
      }
      co_return Result<void>{};
    }(next, count, each));
  }
  co_return co_await group.join();
}

// The digests in the index under a subject's fallback tag; what is no index lists nothing, nor does
// the subject itself: GitLab's registry takes the tag for the digest that it is made of.
asio::awaitable<Result<std::vector<oci::Digest>>> listed_under_tag(Registry& registry,
                                                                   oci::Repository repository,
                                                                   oci::Digest subject) {
  auto index = co_await registry.get_manifest(repository, oci::fallback_tag(subject));
  if (!index) co_return fail(index.error());
  std::vector<oci::Digest> digests;
  if (*index && (*index)->digest != subject) {
    for (const oci::Descriptor& entry : (*index)->manifests) digests.push_back(entry.digest);
  }
  co_return digests;
}

class Search {
 public:
  Search(Registry& registry, oci::Repository repository, TagList tags, ReferrersLimits limits)
      : registry_(registry),
        repository_(std::move(repository)),
        tags_(std::move(tags)),
        limits_(limits) {}

  asio::awaitable<Result<std::vector<NamedReferrer>>> run(std::vector<oci::Digest> subjects);

 private:
  using Subjects = std::vector<oci::Digest>;
  asio::awaitable<Result<void>> look(const Subjects& subjects, bool first);
  asio::awaitable<Result<void>> list_tags();
  asio::awaitable<Result<void>> ask_api(oci::Digest subject, bool& has_api);
  asio::awaitable<Result<void>> read_fallback_tag(oci::Digest subject);
  asio::awaitable<Result<void>> read_signature_tags(const Subjects& subjects);
  asio::awaitable<Result<void>> read_signature_tag(oci::Digest subject, oci::Tag tag);
  [[nodiscard]] std::vector<std::string> tags_to_ask(const oci::Digest& subject) const;
  [[nodiscard]] bool may_have(const std::string& tag) const;
  Result<void> add(NamedReferrer referrer);

  Registry& registry_;
  oci::Repository repository_;
  TagList tags_;  // null: not known
  ReferrersLimits limits_;
  std::vector<NamedReferrer> found_;
  std::set<std::pair<oci::Digest, std::optional<oci::Tag>>> known_;
  std::size_t bytes_ = 0;
};

asio::awaitable<Result<std::vector<NamedReferrer>>> Search::run(Subjects subjects) {
  std::set<oci::Digest> looked_at(subjects.begin(), subjects.end());
  for (std::size_t depth = 0; !subjects.empty(); ++depth) {
    if (depth >= limits_.depth) {
      co_return fail(ErrorKind::invalid,
                     fmt::format("referrers of referrers deeper than {} levels", limits_.depth));
    }
    const std::size_t before = found_.size();
    if (auto looked = co_await look(subjects, depth == 0); !looked) co_return fail(looked.error());
    subjects.clear();
    for (std::size_t i = before; i < found_.size(); ++i) {
      if (looked_at.insert(found_[i].digest).second) subjects.push_back(found_[i].digest);
    }
  }
  co_return std::move(found_);
}

// Over a long link time is counted in round trips: one for the lists, and one more where they say
// that there is something. Where there are so many tags that a list costs more than to ask for the
// usual ones, they are asked for at once.
asio::awaitable<Result<void>> Search::look(const Subjects& subjects, bool first) {
  const bool lists_tags =
      first && !tags_ &&
      registry_.tag_lists().cost(repository_) <= subjects.size() * usual_suffixes.size();
  bool has_api = true;
  TaskGroup group(co_await asio::this_coro::executor);
  group.spawn(lists_tags ? list_tags() : read_signature_tags(subjects));
  group.spawn(for_each_index(subjects.size(),
                             [&](std::size_t i) { return ask_api(subjects[i], has_api); }));
  if (auto listed = co_await group.join(); !listed) co_return listed;
  TaskGroup rest(co_await asio::this_coro::executor);
  if (lists_tags) rest.spawn(read_signature_tags(subjects));
  if (!has_api) {
    rest.spawn(for_each_index(subjects.size(),
                              [&](std::size_t i) { return read_fallback_tag(subjects[i]); }));
  }
  co_return co_await rest.join();
}

asio::awaitable<Result<void>> Search::list_tags() {
  auto tags = co_await registry_.tag_lists().now(repository_);
  if (tags) {
    tags_ = *tags;
  } else if (tags.error().kind == ErrorKind::transient ||
             tags.error().kind == ErrorKind::throttled) {
    co_return fail(tags.error());
  }  // else it lists none for us
  co_return Result<void>{};
}

asio::awaitable<Result<void>> Search::ask_api(oci::Digest subject, bool& has_api) {
  auto listed = co_await registry_.list_referrers(repository_, subject);
  if (!listed) co_return fail(listed.error());
  if (!*listed) {
    has_api = false;
    co_return Result<void>{};
  }
  for (oci::Descriptor& referrer : **listed) {
    if (auto added = add({std::move(referrer.digest), subject}); !added) co_return added;
  }
  co_return Result<void>{};
}

asio::awaitable<Result<void>> Search::read_fallback_tag(oci::Digest subject) {
  if (!may_have(oci::fallback_tag(subject).str())) co_return Result<void>{};
  auto digests = co_await listed_under_tag(registry_, repository_, subject);
  if (!digests) co_return fail(digests.error());
  for (oci::Digest& digest : *digests) {
    if (auto added = add({std::move(digest), subject}); !added) co_return added;
  }
  co_return Result<void>{};
}

asio::awaitable<Result<void>> Search::read_signature_tags(const Subjects& subjects) {
  std::vector<std::pair<oci::Digest, oci::Tag>> tags;
  for (const oci::Digest& subject : subjects) {
    for (const std::string& name : tags_to_ask(subject)) {
      if (auto tag = oci::Tag::parse(name)) tags.emplace_back(subject, std::move(*tag));
    }
  }
  co_return co_await for_each_index(tags.size(), [&](std::size_t i) {
    return read_signature_tag(tags[i].first, tags[i].second);
  });
}

asio::awaitable<Result<void>> Search::read_signature_tag(oci::Digest subject, oci::Tag tag) {
  auto manifest = co_await registry_.get_manifest(repository_, tag);
  if (!manifest) co_return fail(manifest.error());
  if (!*manifest) co_return Result<void>{};
  bytes_ += (*manifest)->bytes.size();
  auto shared = std::make_shared<const oci::Manifest>(std::move(**manifest));
  const oci::Digest digest = shared->digest;
  co_return add({digest, std::move(subject), std::move(tag), std::move(shared)});
}

std::vector<std::string> Search::tags_to_ask(const oci::Digest& subject) const {
  const std::string prefix = oci::ReferrersTag::subject_of(subject) + ".";
  std::vector<std::string> names;
  if (!tags_) {
    for (const std::string_view suffix : usual_suffixes)
      names.push_back(prefix + std::string(suffix));
    return names;
  }
  for (auto tag = std::lower_bound(tags_->begin(), tags_->end(), prefix);
       tag != tags_->end() && tag->starts_with(prefix); ++tag)
    names.push_back(*tag);
  return names;
}

bool Search::may_have(const std::string& tag) const {
  return !tags_ || std::binary_search(tags_->begin(), tags_->end(), tag);
}

Result<void> Search::add(NamedReferrer referrer) {
  if (!known_.emplace(referrer.digest, referrer.tag).second) return {};
  if (found_.size() >= limits_.referrers) {
    return fail(ErrorKind::invalid,
                fmt::format("{} names more than {} referrers of an image in {}", registry_.name(),
                            limits_.referrers, repository_.str()));
  }
  if (bytes_ > limits_.bytes) {
    return fail(ErrorKind::invalid,
                fmt::format("signatures have more than {} bytes of manifests", limits_.bytes));
  }
  found_.push_back(std::move(referrer));
  return {};
}

// One of many that are read side by side.
struct OneRead {
  std::optional<Referrer> referrer;
  std::string left_out;
};

asio::awaitable<Result<OneRead>> read_one(Registry& source, oci::Repository repository,
                                          NamedReferrer named) {
  const auto gone = [&](std::string_view why) {
    return OneRead{std::nullopt, fmt::format("{} lists {} as a referrer of {}, {}", source.name(),
                                             named.digest.str(), named.subject.str(), why)};
  };
  auto manifest = named.manifest;
  if (!manifest) {
    auto read = co_await source.get_manifest(repository, named.digest);
    if (!read) co_return fail(read.error());
    if (!*read) co_return gone("and does not have it");
    manifest = std::make_shared<const oci::Manifest>(std::move(**read));
  }
  const bool refers = manifest->subject && manifest->subject->digest == named.subject;
  if (!named.tag && !refers) co_return OneRead{};
  auto tree = co_await read_tree(source, repository, manifest, {});
  if (!tree && tree.error().kind == ErrorKind::not_found)
    co_return gone("and does not have what is below it");
  if (!tree) co_return fail(tree.error());
  co_return OneRead{Referrer{std::move(*tree), named.subject, named.tag}, {}};
}

asio::awaitable<Result<void>> add_indexes_below(Registry& registry, oci::Repository repository,
                                                std::shared_ptr<const oci::Manifest> index,
                                                std::size_t depth, std::set<oci::Digest>& all) {
  const TreeLimits limits;
  for (const oci::Descriptor& child : index->manifests) {
    if (!all.insert(child.digest).second) continue;
    if (all.size() > limits.manifests || depth > limits.depth)
      co_return fail(ErrorKind::invalid, "the index reaches too many manifests");
    if (child.media_type != oci::media_type::oci_index &&
        child.media_type != oci::media_type::docker_list)
      continue;
    auto inner = co_await registry.get_manifest(repository, child.digest);
    if (!inner) co_return fail(inner.error());
    if (!*inner) {
      co_return fail(ErrorKind::not_found, fmt::format("{} lacks {}@{}", registry.name(),
                                                       repository.str(), child.digest.str()));
    }
    auto below = co_await add_indexes_below(
        registry, repository, std::make_shared<const oci::Manifest>(std::move(**inner)), depth + 1,
        all);
    if (!below) co_return below;
  }
  co_return Result<void>{};
}

}  // namespace

asio::awaitable<Result<std::vector<NamedReferrer>>> find_referrers(
    Registry& registry, oci::Repository repository, std::vector<oci::Digest> subjects, TagList tags,
    ReferrersLimits limits) {
  Search search(registry, std::move(repository), std::move(tags), limits);
  co_return co_await search.run(std::move(subjects));
}

asio::awaitable<Result<std::set<oci::Digest>>> listed_referrers(Registry& registry,
                                                                oci::Repository repository,
                                                                oci::Digest subject) {
  std::set<oci::Digest> digests;
  auto listed = co_await registry.list_referrers(repository, subject);
  if (!listed) co_return fail(listed.error());
  if (*listed) {
    for (const oci::Descriptor& referrer : **listed) digests.insert(referrer.digest);
    co_return digests;
  }
  auto under_tag = co_await listed_under_tag(registry, repository, subject);
  if (!under_tag) co_return fail(under_tag.error());
  digests.insert(under_tag->begin(), under_tag->end());
  co_return digests;
}

asio::awaitable<Result<ReadReferrers>> read_referrers(Registry& source, oci::Repository repository,
                                                      std::vector<NamedReferrer> named,
                                                      ReferrersLimits limits) {
  std::vector<OneRead> reads(named.size());
  std::size_t bytes = 0;
  const auto read = [&](std::size_t i) -> asio::awaitable<Result<void>> {
    auto one = co_await read_one(source, repository, named[i]);
    if (!one) co_return fail(one.error());
    if (one->referrer) {
      for (const auto& manifest : one->referrer->tree.manifests) bytes += manifest->bytes.size();
    }
    if (bytes > limits.bytes) {
      co_return fail(ErrorKind::invalid,
                     fmt::format("referrers have more than {} bytes of manifests", limits.bytes));
    }
    reads[i] = std::move(*one);
    co_return Result<void>{};
  };
  if (auto all = co_await for_each_index(named.size(), read); !all) co_return fail(all.error());
  ReadReferrers result;
  for (OneRead& one : reads) {
    if (one.referrer) result.referrers.push_back(std::move(*one.referrer));
    if (!one.left_out.empty()) result.left_out.push_back(std::move(one.left_out));
  }
  co_return result;
}

asio::awaitable<Result<std::vector<oci::Digest>>> manifests_of(
    Registry& registry, oci::Repository repository, std::shared_ptr<const oci::Manifest> root) {
  std::set<oci::Digest> all{root->digest};
  if (auto read = co_await add_indexes_below(registry, std::move(repository), root, 0, all); !read)
    co_return fail(read.error());
  co_return std::vector<oci::Digest>(all.begin(), all.end());
}

}  // namespace transship
