#include <fmt/format.h>

#include <mutex>

#include "replicator/base/base64.h"
#include "tests/integration/engine_fixture.h"
#include "tests/support/http_host.h"

// Who is told which credentials, and how often they are asked for.
namespace transship::testing {
namespace {

// A registry's door: Bearer tokens that are told apart, and that can be made to expire.
class TokenGate {
 public:
  explicit TokenGate(std::string key = "token") : key_(std::move(key)) {}

  std::optional<HostReply> operator()(const HostRequest& request, const std::string& realm) {
    const std::lock_guard lock(mutex_);
    if (request.path == "/token") {
      ++given;
      scopes.push_back(request.query.contains("scope") ? request.query.at("scope") : "");
      if (refuse_credentials) return HostReply{401, {}, {}};
      return HostReply{200, {}, fmt::format(R"({{"{}":"token-{}"}})", key_, given)};
    }
    const bool good = request.header("authorization") == fmt::format("Bearer token-{}", given) &&
                      given > expired && !refuse_all;
    if (good) {
      if (uses_left > 0 && --uses_left == 0) expired = given;
      return std::nullopt;
    }
    return HostReply{
        401, {{"WWW-Authenticate", fmt::format(R"(Bearer realm="{}",service="s")", realm)}}, {}};
  }

  int given = 0;    // tokens
  int expired = 0;  // tokens up to this one
  int uses_left = 0;
  bool refuse_all = false;
  bool refuse_credentials = false;
  std::vector<std::string> scopes;

 private:
  std::string key_;
  std::mutex mutex_;
};

class EngineAuthTest : public EngineTest {
 protected:
  void guard(MemoryRegistry& registry, TokenGate& gate) {
    registry.set_fault([&gate, realm = registry.url() + "/token"](const HostRequest& request) {
      return gate(request, realm);
    });
  }
  Result<std::optional<registry::Registry::ManifestHead>> look(registry::Registry& registry,
                                                               const std::string& repo = "a",
                                                               const char* tag = "v1") {
    return loop_.run(registry.head_manifest(repository(repo), reference(tag)));
  }
  Options with_password(std::string password = "secret") {
    Options options;
    options.username = "user";
    options.password = std::move(password);
    return options;
  }
};

TEST_F(EngineAuthTest, ATokenIsFetchedOnceThoughManyAskAtOnce) {
  TokenGate gate;
  MemoryRegistry memory;
  memory.hold("a", "v1", make_image(1));
  guard(memory, gate);
  auto& registry = connect("memory", memory.url());
  for (int round = 0; round < 2; ++round) {
    std::vector<
        std::shared_ptr<Loop::Running<Result<std::optional<registry::Registry::ManifestHead>>>>>
        all;
    for (int i = 0; i < 50; ++i) {
      all.push_back(loop_.start(registry.head_manifest(repository("a"), reference("v1"))));
    }
    for (auto& one : all) {
      const auto head = loop_.await(one);
      ASSERT_TRUE(head) << head.error().message;
      EXPECT_TRUE(*head);
    }
    EXPECT_EQ(gate.given, 1);
  }
  EXPECT_EQ(gate.scopes, std::vector<std::string>{"repository:a:pull"});
}

TEST_F(EngineAuthTest, AnAccessTokenWillDo) {
  TokenGate gate("access_token");
  MemoryRegistry memory;
  memory.hold("a", "v1", make_image(1));
  guard(memory, gate);
  EXPECT_TRUE(look(connect("memory", memory.url())).has_value());
}

TEST_F(EngineAuthTest, AnExpiredTokenIsRenewed) {
  TokenGate gate;
  MemoryRegistry memory;
  memory.hold("a", "v1", make_image(1));
  guard(memory, gate);
  auto& registry = connect("memory", memory.url());
  ASSERT_TRUE(look(registry));
  gate.expired = gate.given;
  const auto again = look(registry);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(*again);
  EXPECT_EQ(gate.given, 2);
  EXPECT_EQ(observer_.retries["token"], 2u);
}

TEST_F(EngineAuthTest, ARefusedTokenIsRenewedTwiceAtMost) {
  TokenGate gate;
  MemoryRegistry memory;
  memory.hold("a", "v1", make_image(1));
  guard(memory, gate);
  auto& registry = connect("memory", memory.url());
  ASSERT_TRUE(look(registry));
  gate.refuse_all = true;
  const auto refused = look(registry);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::unauthorized);
  EXPECT_FALSE(refused.error().unanswered);
  EXPECT_EQ(gate.given, 3);
}

// A token server that refuses is asked once, however many requests wait for its answer: else it
// locks the account.
TEST_F(EngineAuthTest, AWrongPasswordIsTriedOnceForAllWhoWait) {
  TokenGate gate;
  MemoryRegistry memory;
  gate.refuse_credentials = true;
  guard(memory, gate);
  auto& registry = connect("memory", memory.url(), with_password("wrong"));
  std::vector<
      std::shared_ptr<Loop::Running<Result<std::optional<registry::Registry::ManifestHead>>>>>
      all;
  for (int i = 0; i < 30; ++i)
    all.push_back(loop_.start(registry.head_manifest(repository("a"), reference("v1"))));
  for (auto& one : all) {
    const auto head = loop_.await(one);
    ASSERT_FALSE(head);
    EXPECT_EQ(head.error().kind, ErrorKind::unauthorized);
  }
  EXPECT_LE(gate.given, 3);
}

TEST_F(EngineAuthTest, BasicCredentialsAreGivenWhereTheyAreAskedFor) {
  MemoryRegistry::Traits traits;
  traits.basic_auth = "user:secret";
  MemoryRegistry memory(traits);
  memory.hold("a", "v1", make_image(1));
  auto& registry = connect("memory", memory.url(), with_password());
  ASSERT_TRUE(look(registry));
  ASSERT_TRUE(look(registry));
  EXPECT_EQ(memory.count("HEAD"), 3u);  // the first was refused
}

TEST_F(EngineAuthTest, AWrongPasswordIsUnauthorizedAtOnce) {
  MemoryRegistry::Traits traits;
  traits.basic_auth = "user:secret";
  MemoryRegistry memory(traits);
  const auto wrong = look(connect("wrong", memory.url(), with_password("guess")));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().kind, ErrorKind::unauthorized);
  EXPECT_EQ(memory.count("HEAD"), 2u);
  memory.forget_seen();
  const auto none = look(connect("none", memory.url()));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::unauthorized);
  EXPECT_EQ(memory.count("HEAD"), 1u);
  EXPECT_EQ(wrong.error().message.find("guess"), std::string::npos);
}

TEST_F(EngineAuthTest, AWrongPasswordAtTheTokenServerIsUnauthorized) {
  MemoryRegistry::Traits traits;
  traits.basic_auth = "user:secret";
  traits.bearer_auth = true;
  MemoryRegistry memory(traits);
  memory.hold("a", "v1", make_image(1));
  EXPECT_TRUE(look(connect("right", memory.url(), with_password())));
  memory.forget_seen();
  const auto wrong = look(connect("wrong", memory.url(), with_password("guess")));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().kind, ErrorKind::unauthorized);
  EXPECT_EQ(memory.count("GET", "/token"), 1u);
}

// On loopback, where all of it stays on one machine, a realm at another port may have the
// credentials.
TEST_F(EngineAuthTest, ARealmOnLoopbackMayHaveThem) {
  std::atomic<int> asked{0};
  std::string given;
  HttpHost realm([&](const HostRequest& request) {
    ++asked;
    given = request.header("authorization");
    return HostReply{200, {}, R"({"token":"good"})"};
  });
  MemoryRegistry::Traits traits;
  traits.bearer_auth = true;
  traits.token_realm = realm.url() + "/token?account=x";
  MemoryRegistry memory(traits);
  memory.hold("a", "v1", make_image(1));
  ASSERT_TRUE(look(connect("memory", memory.url(), with_password())));
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(given, "Basic " + base64_encoded("user:secret"));
}

TEST_F(EngineAuthTest, ARealmElsewhereWithoutTlsGetsNothing) {
  MemoryRegistry::Traits traits;
  traits.bearer_auth = true;
  traits.token_realm = "http://auth.registry.invalid/token";
  MemoryRegistry memory(traits);
  const auto refused = look(connect("memory", memory.url(), with_password()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::unauthorized);
  EXPECT_NE(refused.error().message.find("without TLS"), std::string::npos);
  EXPECT_FALSE(refused.error().unanswered);
  EXPECT_EQ(refused.error().message.find("secret"), std::string::npos);
}

TEST_F(EngineAuthTest, ABlobElsewhereIsReadWithoutCredentials) {
  const TestImage image = make_image(1);
  std::vector<HostRequest> seen;
  std::mutex mutex;
  HttpHost storage([&](const HostRequest& request) {
    const std::lock_guard lock(mutex);
    seen.push_back(request);
    return HostReply{200, {}, image.blobs.at(request.path.substr(request.path.rfind('/') + 1))};
  });
  MemoryRegistry::Traits traits;
  traits.basic_auth = "user:secret";
  traits.blob_redirect = storage.url();
  MemoryRegistry memory(traits);
  memory.hold("a", "v1", image);
  MemoryRegistry to;
  auto& source = connect("source", memory.url(), with_password());
  auto& target = target_of(connect("target", to.url()));
  const auto copied = loop_.run(copy_image(job(source, "a:v1", target, "a")));
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(seen.size(), image.blobs.size());
  for (const HostRequest& request : seen) EXPECT_EQ(request.header("authorization"), "");
  EXPECT_EQ(to.digest_of("a", "v1"), image.digest());
}

TEST_F(EngineAuthTest, AnUploadElsewhereIsSentWithoutCredentials) {
  const TestImage image = make_image(1, {1000});
  std::string given = "not asked";
  MemoryRegistry::Traits traits;
  traits.basic_auth = "user:secret";
  MemoryRegistry to(traits);
  HttpHost storage([&](const HostRequest& request) {
    given = request.header("authorization");
    return HostReply{201, {}, {}};
  });
  to.set_distortion([&](const HostRequest& request, HostReply& reply) {
    if (request.method == "POST" && reply.status == 202)
      reply.headers = {{"Location", storage.url() + "/up?a=b"}};
  });
  MemoryRegistry from;
  from.hold("a", "v1", image);
  auto& source = connect("source", from.url());
  auto& target = target_of(connect("target", to.url(), with_password()));
  // The storage keeps nothing, so that the manifest is refused in the end: only who was told what
  // matters here.
  EXPECT_FALSE(loop_.run(copy_image(job(source, "a:v1", target, "a"))));
  EXPECT_EQ(given, "");
}

// A streamed upload cannot be sent again by itself: the blob starts once more.
TEST_F(EngineAuthTest, ATokenThatExpiresBeforeAnUploadCostsOneMoreStart) {
  const TestImage image = make_image(1, {300'000});
  MemoryRegistry from;
  from.hold("a", "v1", image);
  TokenGate gate;
  std::atomic<int> puts{0};
  MemoryRegistry to;
  to.set_fault([&](const HostRequest& request) {
    if (request.method == "PUT" && request.path.find("/uploads/") != std::string::npos &&
        puts++ == 0) {
      gate.expired = gate.given;
    }
    return gate(request, to.url() + "/token");
  });
  auto& source = connect("source", from.url());
  auto& target = target_of(connect("target", to.url()), 1);
  const auto copied = loop_.run(copy_image(job(source, "a:v1", target, "a")));
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(to.digest_of("a", "v1"), image.digest());
  EXPECT_EQ(puts, 3);  // a config, a layer, and one of them twice
  EXPECT_TRUE(loop_.run_until([&] { return to.open_uploads() == 0; }));
}

TEST_F(EngineAuthTest, AnUploadWhoseTokensAreAllRefusedIsUnauthorized) {
  MemoryRegistry from;
  from.hold("a", "v1", make_image(1, {1000}));
  TokenGate gate;
  MemoryRegistry to;
  to.set_fault([&](const HostRequest& request) {
    const bool put = request.method == "PUT";
    if (put) gate.expired = gate.given;
    return gate(request, to.url() + "/token");
  });
  auto& source = connect("source", from.url());
  auto& target = target_of(connect("target", to.url()));
  const auto copied = loop_.run(copy_image(job(source, "a:v1", target, "a")));
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().kind, ErrorKind::unauthorized);
  EXPECT_EQ(to.digest_of("a", "v1"), "");
}

}  // namespace
}  // namespace transship::testing
