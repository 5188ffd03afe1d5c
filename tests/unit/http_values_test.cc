#include <gtest/gtest.h>

#include "replicator/http/fitted.h"
#include "replicator/http/url.h"
#include "replicator/registry/auth/challenge.h"
#include "replicator/registry/auth/docker_config.h"
#include "replicator/registry/transport.h"

namespace transship {
namespace {

TEST(Url, IsReadAndWrittenByteForByte) {
  const auto url =
      http::Url::parse("https://Registry.Example.com/v2/a/blobs/uploads/x?_state=a%2Bb%3D&b=%7e#f");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->host, "registry.example.com");
  EXPECT_EQ(url->port, 443);
  EXPECT_EQ(url->target, "/v2/a/blobs/uploads/x?_state=a%2Bb%3D&b=%7e");
  EXPECT_EQ(url->origin(), "https://registry.example.com");
  EXPECT_EQ(http::Url::parse("http://h:5000")->str(), "http://h:5000/");
  EXPECT_EQ(http::Url::parse("http://[::1]:5000/a")->host, "[::1]");
}

TEST(Url, RefusesWhatIsNoWebAddress) {
  for (const char* bad : {"", "h/a", "ftp://h/a", "http://", "http://user:secret@h/",
                          "http://h:99999/", "http://h/a b", "file:///etc/passwd", "http://h/\n",
                          "http:/h/", "http:///h/", "http://33%38/"}) {
    EXPECT_FALSE(http::Url::parse(bad)) << bad;
  }
}

TEST(Url, ResolvesALocation) {
  const auto base = *http::Url::parse("https://h:8443/v2/a/blobs/uploads/?mount=x");
  EXPECT_EQ(base.resolve("/v2/a/u?_state=q%3D")->str(), "https://h:8443/v2/a/u?_state=q%3D");
  EXPECT_EQ(base.resolve("https://other/x?y=//z")->str(), "https://other/x?y=//z");
  EXPECT_EQ(base.resolve("//other/x")->str(), "https://other/x");
  EXPECT_EQ(base.resolve("id")->str(), "https://h:8443/v2/a/blobs/uploads/id");
  EXPECT_EQ(base.resolve("?n=1")->str(), "https://h:8443/v2/a/blobs/uploads/?n=1");
  EXPECT_EQ(base.resolve("/p?u=http://x/")->origin(), "https://h:8443");
  EXPECT_FALSE(base.resolve(""));
  EXPECT_FALSE(base.resolve("gopher://x/"));
}

TEST(Url, KnowsLoopback) {
  for (const char* yes :
       {"http://127.0.0.1/", "http://127.9.9.9:1/", "http://localhost/", "http://[::1]/"}) {
    EXPECT_TRUE(http::Url::parse(yes)->is_loopback()) << yes;
  }
  for (const char* no :
       {"http://128.0.0.1/", "http://127.example.com/", "http://localhost.example.com/"}) {
    EXPECT_FALSE(http::Url::parse(no)->is_loopback()) << no;
  }
}

TEST(Challenge, ReadsSeveralInOneHeader) {
  const auto all = registry::parse_challenges(
      R"(Basic realm="a, b", Bearer realm="https://auth.example.com/token",service="r",scope="repository:a/b:pull,push")");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].scheme, "basic");
  EXPECT_EQ(all[0].parameters.at("realm"), "a, b");
  EXPECT_EQ(all[1].parameters.at("scope"), "repository:a/b:pull,push");
  EXPECT_EQ(
      registry::parse_challenges("Bearer realm=unquoted , x=\"q\\\"q\"")[0].parameters.at("x"),
      "q\"q");
  EXPECT_TRUE(registry::parse_challenges("").empty());
  EXPECT_TRUE(registry::parse_challenges(",,,").empty());
  EXPECT_TRUE(registry::parse_challenges("=\"").empty());
}

TEST(RetryAfter, TakesSecondsAndDates) {
  EXPECT_EQ(registry::parse_retry_after("5", 0), 5);
  EXPECT_EQ(registry::parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40), 60);
  EXPECT_EQ(registry::parse_retry_after("Thu, 01 Jan 1970 00:00:10 GMT", 40), 0)
      << "a date that is over";
  EXPECT_EQ(registry::parse_retry_after("-3", 0), 0);
  EXPECT_FALSE(registry::parse_retry_after("soon", 0));
}

TEST(KindOfStatus, SaysWhatToDoNext) {
  using registry::kind_of_status;
  EXPECT_EQ(kind_of_status(429, "", false), ErrorKind::throttled);
  EXPECT_EQ(kind_of_status(503, "", true), ErrorKind::throttled);
  EXPECT_EQ(kind_of_status(503, "", false), ErrorKind::transient);
  EXPECT_EQ(kind_of_status(500, "", false), ErrorKind::transient);
  EXPECT_EQ(kind_of_status(401, "", false), ErrorKind::unauthorized);
  EXPECT_EQ(kind_of_status(403, "DENIED", false), ErrorKind::unauthorized);
  EXPECT_EQ(kind_of_status(404, "NAME_UNKNOWN", false), ErrorKind::not_found);
  EXPECT_EQ(kind_of_status(405, "", false), ErrorKind::unsupported);
  EXPECT_EQ(kind_of_status(409, "", false), ErrorKind::conflict);
  EXPECT_EQ(kind_of_status(400, "DIGEST_INVALID", false), ErrorKind::transient);
  EXPECT_EQ(kind_of_status(400, "MANIFEST_INVALID", false), ErrorKind::invalid);
}

TEST(DockerConfig, FindsALoginUnderItsManySpellings) {
  using registry::find_docker_login;
  const auto plain = find_docker_login(R"({"auths":{"h:5000":{"auth":"dTpwOnE="}}})", "h:5000");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->credentials->username, "u");
  EXPECT_EQ(plain->credentials->password.reveal(), "p:q");
  EXPECT_EQ(find_docker_login(R"({"auths":{"https://h/v2/":{"username":"u","password":"p"}}})", "h")
                ->credentials->username,
            "u");
  EXPECT_EQ(find_docker_login(R"({"auths":{"h":{"identitytoken":"t"}}})", "h")
                ->credentials->identity_token.reveal(),
            "t");
  EXPECT_EQ(
      find_docker_login(R"({"credHelpers":{"h":"ecr-login"},"credsStore":"pass"})", "h")->helper,
      "ecr-login");
  EXPECT_EQ(
      find_docker_login(R"({"credsStore":"pass","auths":{"h":{"auth":"dTpw"}}})", "h")->helper,
      "pass");
  EXPECT_FALSE(find_docker_login(R"({"auths":{"other":{"auth":"dTpw"}}})", "h")->credentials);
  EXPECT_FALSE(find_docker_login(R"({"auths":{"h":{"auth":"???"}}})", "h"));
  EXPECT_FALSE(find_docker_login("[]", "h"));
}

TEST(Secret, NeverPrints) { EXPECT_EQ(fmt::format("{}", Secret("hunter2")), "***"); }

TEST(Fitted, APieceInAMuchLargerBufferGetsOneOfItsOwnSize) {
  auto wide = std::make_shared<std::string>("a piece");
  wide->reserve(100'000);
  const http::Chunk kept = http::fitted(wide);
  EXPECT_EQ(*kept, "a piece");
  EXPECT_LT(kept->capacity(), 100U);
  const auto full = std::make_shared<const std::string>(100'000, 'x');
  EXPECT_EQ(http::fitted(full), full) << "it is not copied";
}

}  // namespace
}  // namespace transship
