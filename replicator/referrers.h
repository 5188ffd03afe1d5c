#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "replicator/plan.h"
#include "replicator/registry/registry.h"

// What refers to an image at a registry: found by the referrers API where there is one, else by the
// fallback tag (distribution-spec, "Referrers Tag Schema"), and always by signature tags.
namespace transship {

struct ReferrersLimits {
  std::size_t depth = 8;            // a signature of an SBOM of …
  std::size_t referrers = 5'000;    // of one image, those of referrers included
  std::size_t bytes = 64UL << 20U;  // of all their manifests together
};

// One that a list or a tag names.
struct NamedReferrer {
  oci::Digest digest;
  oci::Digest subject;
  std::optional<oci::Tag> tag = {};  // a signature tag; none: it is listed by its subject
  std::shared_ptr<const oci::Manifest> manifest = {};  // where it was read already
};

using TagList = std::shared_ptr<const std::vector<std::string>>;  // sorted

// Everything that refers to one of `subjects` or to something that does, each once, subjects before
// what refers to them. Nothing of what lists say is proven. `tags` are those of the repository
// where they are known; else they are listed where that costs no more than to ask for .sig, .att
// and .sbom of each subject. Errors: invalid (a limit), what the registry says.
asio::awaitable<Result<std::vector<NamedReferrer>>> find_referrers(
    registry::Registry& registry, oci::Repository repository, std::vector<oci::Digest> subjects,
    TagList tags, ReferrersLimits limits = {});

// The digests that a registry lists for one subject, by API or fallback tag.
asio::awaitable<Result<std::set<oci::Digest>>> listed_referrers(registry::Registry& registry,
                                                                oci::Repository repository,
                                                                oci::Digest subject);

struct ReadReferrers {
  std::vector<Referrer> referrers;    // in the order of their names
  std::vector<std::string> left_out;  // for people: what is named and not there any more
};

// Reads what was named. What the source answers not to have is left out: its list is stale, and the
// image is none the worse. What does not refer to the subject that it is listed for is no referrer
// of it, and left out without a word. Errors: invalid (a limit), what the registry says.
asio::awaitable<Result<ReadReferrers>> read_referrers(registry::Registry& source,
                                                      oci::Repository repository,
                                                      std::vector<NamedReferrer> named,
                                                      ReferrersLimits limits = {});

// The digests of a manifest and of everything below it, as `registry` holds it: what may have
// referrers of an image. Errors: not_found (an index in it is not there), invalid (a limit).
asio::awaitable<Result<std::vector<oci::Digest>>> manifests_of(
    registry::Registry& registry, oci::Repository repository,
    std::shared_ptr<const oci::Manifest> root);

}  // namespace transship
