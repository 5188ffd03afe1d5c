#include <fmt/format.h>

#include <ctime>

#include "tests/integration/engine_fixture.h"
#include "tests/support/http_host.h"
#include "tests/support/process.h"

// What can be asked of a registry, and what its odder answers mean.
namespace transship::testing {
namespace {

using registry::Registry;
using std::chrono::milliseconds;

class EngineRegistryTest : public EngineTest {
 protected:
  auto look(Registry& registry, const std::string& of = "v1") {
    return loop_.run(registry.head_manifest(repository("a"), reference(of)));
  }
  auto read(Registry& registry, const std::string& of = "v1") {
    return loop_.run(registry.get_manifest(repository("a"), reference(of)));
  }
  static oci::Descriptor descriptor(const std::string& bytes) {
    return {"application/octet-stream", oci::Digest::of(bytes), bytes.size(), {}, {}};
  }
  // A blob's content, or why it could not be had.
  Result<std::string> read_blob(Registry& registry, const oci::Descriptor& blob) {
    const auto reading = [](Registry& registry,
                            oci::Descriptor blob) -> asio::awaitable<Result<std::string>> {
      auto answer = co_await registry.open_blob(*oci::Repository::parse("a"), blob);
      if (!answer) co_return fail(answer.error());
      if (!*answer) co_return fail(ErrorKind::not_found, "no such blob");
      co_return co_await (*answer)->exchange.read_all(1UL << 20U);
    };
    return loop_.run(reading(registry, blob));
  }
};

TEST_F(EngineRegistryTest, WhatIsNotThereIsNoError) {
  MemoryRegistry memory;
  auto& registry = connect("memory", memory.url());
  EXPECT_TRUE(look(registry) && !*look(registry));
  EXPECT_TRUE(read(registry) && !*read(registry));
  const auto size = loop_.run(registry.head_blob(repository("a"), oci::Digest::of("x")));
  EXPECT_TRUE(size && !*size);
  EXPECT_EQ(read_blob(registry, descriptor("x")).error().kind, ErrorKind::not_found);
  const auto tags = loop_.run(registry.list_tags(repository("a")));
  EXPECT_TRUE(tags && !*tags);
  EXPECT_TRUE(loop_.run(registry.check_access()));
}

TEST_F(EngineRegistryTest, NobodyThereIsUnanswered) {
  auto& registry = connect("gone", "http://127.0.0.1:" + std::to_string(free_port()));
  const auto head = look(registry);
  ASSERT_FALSE(head);
  EXPECT_TRUE(head.error().unanswered);
  EXPECT_EQ(head.error().kind, ErrorKind::transient);
  EXPECT_FALSE(loop_.run(registry.check_access()));
  EXPECT_EQ(observer_.codes[0], 2u);
}

TEST_F(EngineRegistryTest, WithoutADigestTheManifestItselfIsRead) {
  MemoryRegistry::Traits traits;
  traits.tells_digest = false;
  MemoryRegistry memory(traits);
  const TestImage image = make_image(1);
  memory.hold("a", "v1", image);
  const auto head = look(connect("memory", memory.url()));
  ASSERT_TRUE(head && *head);
  EXPECT_EQ((*head)->digest.str(), image.digest());
  EXPECT_EQ((*head)->media_type, image.media_type);
  EXPECT_EQ(memory.count("HEAD"), 1u);
  EXPECT_EQ(memory.count("GET"), 1u);
}

TEST_F(EngineRegistryTest, WhereHeadIsNotAllowedTheManifestIsRead) {
  MemoryRegistry memory;
  const TestImage image = make_image(1);
  memory.hold("a", "v1", image);
  memory.set_fault([](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method == "HEAD") return HostReply{405, {}, {}};
    return std::nullopt;
  });
  auto& registry = connect("memory", memory.url(), single());
  const auto head = look(registry);
  ASSERT_TRUE(head && *head);
  EXPECT_EQ((*head)->digest.str(), image.digest());
  EXPECT_FALSE(*look(registry, "v2"));
}

TEST_F(EngineRegistryTest, AManifestWithAnotherDigestIsCorrupt) {
  MemoryRegistry memory;
  const TestImage image = make_image(1);
  memory.hold("a", "v1", image);
  auto& registry = connect("memory", memory.url());
  memory.set_distortion([](const HostRequest&, HostReply& reply) {
    for (auto& [name, value] : reply.headers) {
      if (name == "Docker-Content-Digest") value = oci::Digest::of("something else").str();
    }
  });
  EXPECT_EQ(read(registry).error().kind, ErrorKind::corrupt);
  memory.set_distortion([](const HostRequest&, HostReply& reply) { reply.body += " "; });
  EXPECT_EQ(read(registry).error().kind, ErrorKind::corrupt);
  EXPECT_EQ(read(registry, image.digest()).error().kind, ErrorKind::corrupt);
}

TEST_F(EngineRegistryTest, ARedirectLoopEnds) {
  MemoryRegistry memory;
  std::atomic<int> asked{0};
  memory.set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    ++asked;
    return HostReply{307, {{"Location", request.path + "?again"}}, "gone that way"};
  });
  const auto got = read_blob(connect("memory", memory.url()), descriptor("x"));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::invalid);
  EXPECT_EQ(asked, 6);
}

TEST_F(EngineRegistryTest, ARedirectToNowhereIsInvalid) {
  for (const char* location :
       {"", "ftp://127.0.0.1/x", "http://user:password@127.0.0.1/x", "http://127.0.0.1:99999/"}) {
    MemoryRegistry memory;
    memory.set_fault([&](const HostRequest&) -> std::optional<HostReply> {
      HostReply reply{302, {}, {}};
      if (*location != '\0') reply.headers.emplace_back("Location", location);
      return reply;
    });
    const auto got = read_blob(connect("memory", memory.url()), descriptor("x"));
    ASSERT_FALSE(got) << location;
    EXPECT_EQ(got.error().kind, ErrorKind::invalid) << got.error().message;
    EXPECT_EQ(got.error().message.find("password"), std::string::npos);
  }
}

TEST_F(EngineRegistryTest, ABlobOfAnotherLengthIsCorrupt) {
  MemoryRegistry memory;
  const TestImage image = make_image_of({"content"}, 1);
  memory.hold("a", "v1", image);
  auto& registry = connect("memory", memory.url());
  EXPECT_EQ(read_blob(registry, descriptor("content")).value_or("nothing"), "content");
  oci::Descriptor longer = descriptor("content");
  ++longer.size;
  EXPECT_EQ(read_blob(registry, longer).error().kind, ErrorKind::corrupt);
}

// --- waiting as asked
// ---------------------------------------------------------------------------------------------------

TEST_F(EngineRegistryTest, AShortRetryAfterIsObeyed) {
  for (const int status : {429, 503}) {
    MemoryRegistry memory;
    memory.hold("a", "v1", make_image(1));
    std::atomic<int> refusals{2};
    memory.set_fault([&](const HostRequest&) -> std::optional<HostReply> {
      if (refusals-- > 0) return HostReply{status, {{"Retry-After", "0"}}, "later"};
      return std::nullopt;
    });
    const auto before = observer_.retries["throttled"];
    const auto start = std::chrono::steady_clock::now();
    const auto head = look(connect("memory", memory.url()));
    ASSERT_TRUE(head) << head.error().message;
    EXPECT_EQ(observer_.retries["throttled"], before + 2);
    EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(200));
  }
}

TEST_F(EngineRegistryTest, ALongOrEndlessRetryAfterIsLeftToTheCaller) {
  MemoryRegistry memory;
  std::string wait = "1000";
  memory.set_fault([&](const HostRequest&) -> std::optional<HostReply> {
    return HostReply{429, {{"Retry-After", wait}}, {}};
  });
  auto& registry = connect("memory", memory.url());
  const auto longer = look(registry);
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().kind, ErrorKind::throttled);
  EXPECT_EQ(longer.error().retry_after, std::chrono::seconds(1000));
  EXPECT_EQ(memory.count("HEAD"), 1u);

  const std::time_t later = std::time(nullptr) + 500;
  std::tm date{};
  gmtime_r(&later, &date);
  char text[64];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &date);
  wait = text;
  const auto dated = look(registry);
  ASSERT_FALSE(dated);
  ASSERT_TRUE(dated.error().retry_after);
  EXPECT_NEAR(static_cast<double>(dated.error().retry_after->count()), 500'000, 5'000);

  wait = "0";
  memory.forget_seen();
  EXPECT_EQ(look(registry).error().kind, ErrorKind::throttled);
  EXPECT_EQ(memory.count("HEAD"), 4u);
}

TEST_F(EngineRegistryTest, WhoWaitsAsAskedTakesNoConnection) {
  MemoryRegistry memory;
  memory.hold("a", "v1", make_image(1));
  std::atomic<bool> first = true;
  memory.set_fault([&](const HostRequest& request) -> std::optional<HostReply> {
    if (request.path.ends_with("/slow") && first.exchange(false)) {
      return HostReply{429, {{"Retry-After", "3"}}, {}};
    }
    return std::nullopt;
  });
  auto& registry = connect("memory", memory.url(), single());
  const auto slow = loop_.start(registry.head_manifest(repository("a"), reference("slow")));
  ASSERT_TRUE(loop_.run_until([&] { return observer_.retries["throttled"] == 1; }));
  ASSERT_TRUE(look(registry));
  EXPECT_FALSE(slow->done());
  ASSERT_TRUE(loop_.await(slow));
}

TEST_F(EngineRegistryTest, NoMoreConnectionsThanAllowed) {
  std::atomic<int> now{0};
  std::atomic<int> most{0};
  HttpHost host([&](const HostRequest&) {
    const int here = ++now;
    for (int seen = most; here > seen && !most.compare_exchange_weak(seen, here);) {
    }
    std::this_thread::sleep_for(milliseconds(5));
    --now;
    return HostReply{404, {}, {}};
  });
  auto& registry = connect("host", host.url(), connections(3));
  std::vector<std::shared_ptr<Loop::Running<Result<std::optional<Registry::ManifestHead>>>>> all;
  for (int i = 0; i < 20; ++i)
    all.push_back(loop_.start(registry.head_manifest(repository("a"), reference("v1"))));
  for (auto& one : all) EXPECT_TRUE(loop_.await(one));
  EXPECT_LE(most, 3);
}

// --- lists
// --------------------------------------------------------------------------------------------------------------

TEST_F(EngineRegistryTest, TagsComeInPages) {
  MemoryRegistry::Traits traits;
  traits.page_size = 7;
  MemoryRegistry memory(traits);
  const TestImage image = make_image(1);
  std::vector<std::string> expected;
  for (int i = 100; i < 150; ++i) expected.push_back("v" + std::to_string(i));
  for (const std::string& tag : expected) memory.hold("a", tag, image);
  const auto tags = loop_.run(connect("memory", memory.url()).list_tags(repository("a")));
  ASSERT_TRUE(tags && *tags) << tags.error().message;
  EXPECT_EQ(**tags, expected);
  EXPECT_EQ(memory.count("GET", "/tags/list"), 8u);
}

TEST_F(EngineRegistryTest, LinksAreReadAsTheirSpecificationSays) {
  for (const char* link : {R"(<PAGE>; rel="next")", R"(<PAGE>; rel=next)",
                           R"(</v2/a/tags/list?first>; rel="prev", <PAGE>; rel="next")"}) {
    HttpHost host([&](const HostRequest& request) {
      if (request.query.contains("second")) return HostReply{200, {}, R"({"tags":["b"]})"};
      std::string header = link;
      header.replace(header.find("PAGE"), 4, "/v2/a/tags/list?second=1");
      return HostReply{200, {{"Link", header}}, R"({"tags":["a"]})"};
    });
    const auto tags = loop_.run(connect("host", host.url()).list_tags(repository("a")));
    ASSERT_TRUE(tags && *tags) << link;
    EXPECT_EQ(**tags, (std::vector<std::string>{"a", "b"})) << link;
  }
}

TEST_F(EngineRegistryTest, PagesWithoutEndAreAnError) {
  std::atomic<int> pages{0};
  HttpHost host([&](const HostRequest&) {
    return HostReply{200,
                     {{"Link", fmt::format(R"(</v2/a/tags/list?page={}>; rel="next")", ++pages)}},
                     R"({"tags":["same"]})"};
  });
  const auto tags = loop_.run(connect("host", host.url()).list_tags(repository("a")));
  ASSERT_FALSE(tags);
  EXPECT_EQ(tags.error().kind, ErrorKind::invalid);
  EXPECT_LE(pages, 3);
}

TEST_F(EngineRegistryTest, AListThatBreaksOffIsNoListThatIsNotThere) {
  HttpHost host([](const HostRequest& request) {
    if (request.query.contains("last")) return HostReply{404, {}, {}};
    return HostReply{
        200, {{"Link", R"(</v2/a/tags/list?last=b>; rel="next")"}}, R"({"tags":["b"]})"};
  });
  const auto tags = loop_.run(connect("host", host.url()).list_tags(repository("a")));
  ASSERT_FALSE(tags);
  EXPECT_EQ(tags.error().kind, ErrorKind::invalid);
  EXPECT_NE(tags.error().message.find("404"), std::string::npos) << tags.error().message;
}

TEST_F(EngineRegistryTest, AListThatNobodyAnswersSaysWhoseItIs) {
  HttpHost host([](const HostRequest&) { return HostReply{}; });
  auto& registry = connect("eu-west", host.url());
  host.stop();
  const auto tags = loop_.run(registry.list_tags(repository("team/app")));
  ASSERT_FALSE(tags);
  EXPECT_TRUE(tags.error().unanswered);
  EXPECT_TRUE(tags.error().message.starts_with("list the tags of team/app: eu-west: "))
      << tags.error().message;
}

TEST_F(EngineRegistryTest, OddListsAreErrorsAndAnEmptyOneIsNot) {
  std::string body;
  HttpHost host([&](const HostRequest&) { return HostReply{200, {}, body}; });
  auto& registry = connect("host", host.url());
  for (const std::string& odd : {std::string("no JSON"), std::string("[]"),
                                 std::string(R"({"tags":3})"), std::string(R"({"tags":[1]})"),
                                 std::string(2'000'000, '['), std::string(9UL << 20U, ' ')}) {
    body = odd;
    const auto tags = loop_.run(registry.list_tags(repository("a")));
    ASSERT_FALSE(tags) << odd.substr(0, 50);
    EXPECT_EQ(tags.error().kind, ErrorKind::invalid);
  }
  body = R"({"name":"a","tags":null})";
  const auto none = loop_.run(registry.list_tags(repository("a")));
  ASSERT_TRUE(none && *none);
  EXPECT_TRUE((*none)->empty());
}

TEST_F(EngineRegistryTest, ARegistryWithoutACatalogueSaysSo) {
  MemoryRegistry memory;
  memory.make_repository("a/b");
  auto& registry = connect("memory", memory.url());
  EXPECT_EQ(*loop_.run(registry.list_repositories()), std::vector<std::string>{"a/b"});
  memory.set_fault([](const HostRequest&) { return HostReply{404, {}, {}}; });
  const auto none = loop_.run(registry.list_repositories());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::unsupported);
}

// --- putting manifests
// --------------------------------------------------------------------------------------------------

TEST_F(EngineRegistryTest, AnAnswerWithoutADigestIsProvenByOneMoreQuestion) {
  MemoryRegistry memory;
  const TestImage image = make_image(1);
  memory.hold("a", "old", image);
  memory.set_distortion([](const HostRequest& request, HostReply& reply) {
    if (request.method == "PUT") reply.headers.clear();
  });
  auto manifest =
      std::make_shared<const oci::Manifest>(*oci::parse_manifest(image.manifest, image.media_type));
  auto& registry = connect("memory", memory.url());
  ASSERT_TRUE(loop_.run(registry.put_manifest(repository("a"), reference("v1"), manifest)));
  EXPECT_EQ(memory.count("HEAD"), 1u);
  EXPECT_EQ(memory.count("PUT"), 1u);

  // A registry that says yes and shows something else has not got it.
  memory.set_fault([](const HostRequest& request) -> std::optional<HostReply> {
    if (request.method == "PUT") return HostReply{201, {}, {}};
    return std::nullopt;
  });
  const auto lost = loop_.run(registry.put_manifest(repository("a"), reference("v2"), manifest));
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().kind, ErrorKind::transient);
}

TEST_F(EngineRegistryTest, ErrorsNameTheRegistryAndItsOwnWords) {
  MemoryRegistry memory;
  memory.set_fault([](const HostRequest&) {
    return HostReply{403, {}, R"({"errors":[{"code":"DENIED","message":"not\nyou"}]})"};
  });
  const auto refused = read(connect("eu-west", memory.url()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::unauthorized);
  EXPECT_EQ(refused.error().code, "DENIED");
  EXPECT_EQ(refused.error().message, "read a:v1: eu-west answered 403 DENIED: not you");
  memory.set_fault(
      [](const HostRequest&) { return HostReply{500, {}, std::string(1'000'000, '[')}; });
  EXPECT_EQ(read(connect("eu-west", memory.url())).error().kind, ErrorKind::transient);
}

}  // namespace
}  // namespace transship::testing
