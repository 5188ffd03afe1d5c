#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>

#include "replicator/image_plan.h"
#include "replicator/image_referrers.h"
#include "replicator/image_verify.h"
#include "tests/integration/engine_fixture.h"

namespace transship::testing {

// Two registries in memory, with the referrers API or without, and jobs that carry referrers.
class EngineReferrersTest : public EngineTest {
 protected:
  static MemoryRegistry::Traits with_api() {
    MemoryRegistry::Traits traits;
    traits.referrers_api = true;
    return traits;
  }
  static MemoryRegistry::Traits without_api() { return {}; }

  void open(MemoryRegistry::Traits from, MemoryRegistry::Traits to) {
    from_.emplace(std::move(from));
    to_.emplace(std::move(to));
    source_ = &connect("source", from_->url());
    target_ = &target_of(connect("target", to_->url()));
  }
  // "a:v1" to "a".
  ImageJob job_for(const std::string& image) {
    ImageJob made = job(*source_, image, *target_, image.substr(0, image.find_first_of(":@")));
    made.referrers = true;
    return made;
  }
  ImageResult copy(const std::string& image) { return get(copy_image(job_for(image))); }
  ImageResult get(asio::awaitable<Result<ImageResult>> work) {
    auto result = loop_.run(std::move(work));
    EXPECT_TRUE(result) << (result ? "" : result.error().message);
    return result ? *result : ImageResult{};
  }
  std::optional<Drift> drift_of(const std::string& image, bool deep = false) {
    Proven proven;
    auto verified = loop_.run(verify_image(job_for(image), deep, proven));
    EXPECT_TRUE(verified) << (verified ? "" : verified.error().message);
    return verified ? verified->drift : std::nullopt;
  }
  // Where in the order of requests the target was first asked to put this; nullopt: never.
  [[nodiscard]] std::optional<std::size_t> when_put(const std::string& reference) const {
    const auto seen = to_->seen();
    const auto put = std::find_if(seen.begin(), seen.end(), [&](const auto& request) {
      return request.method == "PUT" && request.path.ends_with("/manifests/" + reference);
    });
    return put == seen.end() ? std::nullopt : std::optional<std::size_t>(put - seen.begin());
  }
  void expect_before(const std::string& first, const std::string& second) const {
    ASSERT_TRUE(when_put(first)) << first;
    ASSERT_TRUE(when_put(second)) << second;
    EXPECT_LT(*when_put(first), *when_put(second)) << first << " before " << second;
  }
  // It is at the target, whole, and listed.
  void expect_referrer(const TestImage& subject, const TestImage& referrer) const {
    EXPECT_EQ(incompleteness(to_->url(), "a", referrer.digest()), "");
    EXPECT_EQ(to_->manifest_of("a", referrer.digest()), referrer.manifest);
    EXPECT_TRUE(to_->lists_referrer("a", subject.digest(), referrer.digest()));
  }
  void forget_seen() {
    from_->forget_seen();
    to_->forget_seen();
  }
  // Puts referrers at a registry that has no API, as a client does: also under the fallback tag.
  static void hold_listed(MemoryRegistry& registry, const TestImage& subject,
                          const std::vector<TestImage>& referrers) {
    for (const TestImage& referrer : referrers) registry.hold("a", "", referrer);
    registry.hold("a", referrers_tag(subject.digest()), make_index(referrers));
  }

  // What faults refer to, before their servers: requests may still be under way at a test's end.
  const std::string kind_ = "application/vnd.example.sbom";
  const TestImage image_ = make_image(1);
  std::atomic<std::size_t> asked_ = 0;
  std::vector<TestImage> made_;
  std::optional<MemoryRegistry> from_;
  std::optional<MemoryRegistry> to_;
  registry::Registry* source_ = nullptr;
  Target* target_ = nullptr;
};

}  // namespace transship::testing
