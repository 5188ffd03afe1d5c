// The commands against real docker-registry as it is secured in practice: TLS by a private
// authority, passwords, client certificates, a token server, a front that redirects blobs to a
// storage host.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "replicator/base/base64.h"
#include "tests/support/certificates.h"
#include "tests/support/http.h"
#include "tests/support/image.h"
#include "tests/support/memory_registry.h"
#include "tests/support/servers.h"
#include "tests/support/token_server.h"

namespace transship::testing {
namespace {

using Json = nlohmann::json;

constexpr const char* user = "robot";
constexpr const char* password = "s3cret";
// What `htpasswd -nB` makes of them.
constexpr const char* htpasswd =
    "robot:$2y$04$jmH95woAbX29tN93L/Fz.OgUyfH0sb/2yvWCqtij0Sl.YSE7UcQOW\n";

class Secured : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"docker-registry", "openssl"}) {
      if (!has_program(program)) GTEST_SKIP() << program << " is not installed";
    }
  }

  // Each registry as "{url: …, …}".
  void configure(const std::string& source, const std::string& target,
                 const std::string& more = {}) {
    write_file(config(), fmt::format("registries:\n  source: {}\n  target: {}\nstate: '{}'\n{}"
                                     "retry: {{attempts: 2, first_pause: 10ms, longest_pause: "
                                     "50ms}}\nrules:\n  - {{name: r, source: source, targets: "
                                     "[target], repositories: ['**'], deletes: propagate}}\n",
                                     source, target, (directory / "state").string(), more));
  }
  [[nodiscard]] std::string config() const { return (directory / "transship.yaml").string(); }
  Finished command(std::vector<std::string> words, std::vector<std::string> environment = {}) {
    words.insert(words.begin(), TRANSSHIP_PROGRAM);
    words.insert(words.end(), {"--config", config()});
    Finished finished = run(std::move(words), std::move(environment));
    EXPECT_EQ((finished.output + finished.errors).find(password), std::string::npos)
        << "a secret was printed: " << finished.output << finished.errors;
    return finished;
  }
  Json total_of(const std::vector<std::string>& words, int exit_code,
                const std::vector<std::string>& environment = {}) {
    std::vector<std::string> with_json = words;
    with_json.insert(with_json.end(), {"--output", "json"});
    const Finished finished = command(with_json, environment);
    EXPECT_EQ(finished.exit_code, exit_code) << finished.output << finished.errors;
    std::istringstream text(finished.output);
    Json last;
    for (std::string line; std::getline(text, line);) last = Json::parse(line);
    return last;
  }
  // What `check --online` says of a registry.
  std::string check(const std::string& registry, int exit_code,
                    const std::vector<std::string>& environment = {}) {
    const Finished finished = command({"check", "--online"}, environment);
    EXPECT_EQ(finished.exit_code, exit_code) << finished.output << finished.errors;
    std::istringstream text(finished.output);
    const std::string start = "registry " + registry + ": ";
    for (std::string line; std::getline(text, line);) {
      if (line.starts_with(start)) return line.substr(start.size());
    }
    return "nothing";
  }
  [[nodiscard]] std::string file(const std::string& name, const std::string& content) const {
    write_file(directory / name, content);
    return (directory / name).string();
  }
  // A docker-registry that wants TLS and a password.
  [[nodiscard]] DockerRegistry::Options locked(const std::string& more_of_tls = {}) const {
    DockerRegistry::Options options;
    options.tls = fmt::format("{{certificate: '{}', key: '{}'{}}}",
                              certificates.certificate(Certificates::server),
                              certificates.key(Certificates::server), more_of_tls);
    options.extra = fmt::format("auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n",
                                file("htpasswd", htpasswd));
    return options;
  }
  [[nodiscard]] std::string tls() const {
    return fmt::format("tls: {{ca_file: '{}'}}", certificates.authority());
  }
  [[nodiscard]] std::string basic(const std::string& with) const {
    return fmt::format("auth: {{type: basic, username: {}, password_file: '{}'}}", user,
                       file("password-" + with, with + "\n"));
  }
  static std::string plain(const DockerRegistry& registry) {
    return fmt::format("{{url: '{}'}}", registry.url());
  }
  void push_some(const DockerRegistry& registry) {
    push(registry.url(), "team/app", "v1", make_image(1));
    push(registry.url(), "team/multi", "v1", make_index({make_image(2), make_image(3)}));
  }

  Certificates certificates;
  TemporaryDirectory directory;
};

TEST_F(Secured, TlsWithAPrivateAuthorityAndPasswords) {
  DockerRegistry open;
  DockerRegistry secure(locked());
  DockerRegistry copy;
  push_some(open);
  const auto secured = [&](const std::string& more) {
    return fmt::format("{{url: '{}', {}}}", secure.url(), more);
  };
  // To it with a password file, from it with Docker's own configuration.
  configure(plain(open), secured(tls() + ", " + basic(password)));
  EXPECT_EQ(check("target", 0), "ok");
  EXPECT_EQ(total_of({"sync"}, 0)["copied"], 2);
  EXPECT_EQ(total_of({"verify", "--deep"}, 0)["in_step"], 2);
  write_file(directory / "config.json",
             fmt::format(R"({{"auths":{{"{}":{{"auth":"{}"}}}}}})", secure.host(),
                         base64_encoded(fmt::format("{}:{}", user, password))));
  const std::vector<std::string> docker{"DOCKER_CONFIG=" + directory.path().string()};
  configure(secured(tls() + ", auth: {type: docker_config}"), plain(copy));
  EXPECT_EQ(check("source", 0, docker), "ok");
  EXPECT_EQ(total_of({"sync"}, 0, docker)["copied"], 2);
  EXPECT_EQ(incompleteness(copy.url(), "team/multi", "v1"), "");
}

TEST_F(Secured, AWrongPasswordIsAnAnswerAndAWrongAuthorityIsNone) {
  DockerRegistry open;
  DockerRegistry secure(locked());
  push_some(open);
  const auto secured = [&](const std::string& more) {
    return fmt::format("{{url: '{}', {}}}", secure.url(), more);
  };
  for (const std::string& credentials : {basic("wrong"), std::string("auth: anonymous")}) {
    configure(plain(open), secured(tls() + ", " + credentials));
    const std::string said = check("target", 1);
    EXPECT_NE(said.find("401"), std::string::npos) << said;
    EXPECT_NE(said.find("registries.target.auth"), std::string::npos) << said;
    EXPECT_EQ(said.find("no credentials are configured") != std::string::npos,
              credentials == "auth: anonymous")
        << said;
    EXPECT_EQ(total_of({"sync"}, 1)["failed"], 2);
  }
  for (const std::string& trust :
       {fmt::format("tls: {{ca_file: '{}'}}, ", certificates.other_authority()), std::string()}) {
    configure(plain(open), secured(trust + basic(password)));
    const std::string said = check("target", 1);
    EXPECT_NE(said.find("certificate"), std::string::npos) << said;
    EXPECT_NE(said.find("registries.target.tls"), std::string::npos) << said;
    EXPECT_EQ(command({"sync"}).exit_code, 3);
  }
  EXPECT_TRUE(
      digest_at(fmt::format("https://{}:{}@{}", user, password, secure.host()), "team/app", "v1")
          .empty());
}

TEST_F(Secured, MutualTls) {
  DockerRegistry open;
  DockerRegistry secure(locked(fmt::format(", clientcas: ['{}']", certificates.authority())));
  DockerRegistry copy;
  push_some(open);
  const auto secured = [&](const std::string& more_of_tls) {
    return fmt::format("{{url: '{}', tls: {{ca_file: '{}'{}}}, {}}}", secure.url(),
                       certificates.authority(), more_of_tls, basic(password));
  };
  const std::string own = fmt::format(", cert_file: '{}', key_file: '{}'",
                                      certificates.certificate(Certificates::client),
                                      certificates.key(Certificates::client));
  configure(plain(open), secured(own));
  EXPECT_EQ(check("target", 0), "ok");
  EXPECT_EQ(total_of({"sync"}, 0)["copied"], 2);
  configure(secured(own), plain(copy));
  EXPECT_EQ(total_of({"sync"}, 0)["copied"], 2);
  EXPECT_EQ(incompleteness(copy.url(), "team/app", "v1"), "");
  // Without one, or with one that nobody signed, the registry hangs up: that is no answer, and
  // what it says first, if anything, may be lost.
  const std::string foreign =
      fmt::format(", cert_file: '{}', key_file: '{}'", certificates.other_authority(),
                  certificates.key("other"));
  for (const std::string& wrong : {std::string(), foreign}) {
    configure(plain(open), secured(wrong));
    EXPECT_NE(check("target", 1), "ok");
    EXPECT_EQ(command({"sync"}).exit_code, 3);
  }
}

// --- a token server

class SecuredByTokens : public Secured {
 protected:
  static DockerRegistry::Options with(const TokenServer& tokens) {
    DockerRegistry::Options options;
    options.extra = tokens.registry_section();
    return options;
  }
};

TEST_F(SecuredByTokens, ATokenForEachRepositoryAndBothForAMount) {
  TokenServer tokens(user, password, std::chrono::seconds(300), std::chrono::seconds(300));
  DockerRegistry open;
  DockerRegistry secure(with(tokens));
  DockerRegistry copy;
  const std::string shared = noise(1, 50'000);
  push(open.url(), "team/one", "v1", make_image_of({shared}, 1));
  push(open.url(), "team/two", "v1", make_image_of({shared}, 2));
  const std::string secured = fmt::format("{{url: '{}', {}}}", secure.url(), basic(password));
  configure(plain(open), secured);
  EXPECT_EQ(check("target", 0), "ok");
  const Json total = total_of({"sync"}, 0);
  EXPECT_EQ(total["copied"], 2);
  EXPECT_EQ(total["blobs"]["mounted"], 1) << "the other repository's token opens it too";
  bool both = false;
  for (const std::string& scopes : tokens.given()) {
    both = both ||
           (scopes.find("team/one:pull") != std::string::npos &&
            scopes.find("team/two:pull,push") != std::string::npos) ||
           (scopes.find("team/two:pull") != std::string::npos &&
            scopes.find("team/one:pull,push") != std::string::npos);
  }
  EXPECT_TRUE(both);
  EXPECT_LE(tokens.given().size(), 8u) << "tokens are kept";
  // To delete takes one more right.
  const std::string digest = push(open.url(), "team/one", "v2", make_image(3));
  EXPECT_EQ(total_of({"sync"}, 0)["copied"], 1);
  EXPECT_EQ(http("DELETE", open.url() + "/v2/team/one/manifests/" + digest).status, 202);
  EXPECT_EQ(total_of({"sync"}, 0)["deleted"], 1);
  configure(secured, plain(copy));
  EXPECT_EQ(total_of({"sync"}, 0)["copied"], 2);
  EXPECT_EQ(incompleteness(copy.url(), "team/two", "v1"), "");
}

TEST_F(SecuredByTokens, AWrongPasswordIsRefusedByTheTokenServer) {
  TokenServer tokens(user, password, std::chrono::seconds(300), std::chrono::seconds(300));
  DockerRegistry open;
  DockerRegistry secure(with(tokens));
  push_some(open);
  configure(plain(open), fmt::format("{{url: '{}', {}}}", secure.url(), basic("wrong")));
  const std::string said = check("target", 1);
  EXPECT_NE(said.find("token server"), std::string::npos) << said;
  EXPECT_NE(said.find("401"), std::string::npos) << said;
  EXPECT_EQ(total_of({"sync"}, 1)["copied"], 0);
  EXPECT_GT(tokens.refused(), 0u);
  EXPECT_LT(tokens.refused(), 30u) << "a wrong password is not tried again and again";
}

TEST_F(SecuredByTokens, CredentialsGoToNoTokenServerWithoutTls) {
  TokenServer tokens(user, password, std::chrono::seconds(300), std::chrono::seconds(300));
  DockerRegistry open;
  DockerRegistry::Options options = locked();
  options.extra = tokens.registry_section();
  DockerRegistry secure(options);
  push_some(open);
  configure(plain(open),
            fmt::format("{{url: '{}', {}, {}}}", secure.url(), tls(), basic(password)));
  const std::string said = check("target", 1);
  EXPECT_NE(said.find("without TLS"), std::string::npos) << said;
  EXPECT_EQ(total_of({"sync"}, 1)["copied"], 0);
  EXPECT_TRUE(tokens.given().empty());
  EXPECT_EQ(tokens.refused(), 0u) << "it was not even asked";
}

// Each image takes a while, since the source is slow, and the tokens of the target last two
// seconds.
class TokensThatExpire : public SecuredByTokens,
                         public ::testing::WithParamInterface<std::chrono::seconds> {};

INSTANTIATE_TEST_SUITE_P(Told, TokensThatExpire,
                         ::testing::Values(std::chrono::seconds(2), std::chrono::seconds(300)),
                         [](const auto& info) {
                           return info.param.count() == 2 ? "honestly" : "wrongly";
                         });

TEST_P(TokensThatExpire, AreRenewedInTheMiddleOfARun) {
  TokenServer tokens(user, password, std::chrono::seconds(2), GetParam());
  DockerRegistry secure(with(tokens));
  MemoryRegistry slow;
  for (std::uint64_t i = 0; i < 30; ++i)
    slow.hold("team/app", fmt::format("v{}", i), make_image(i, {1000}));
  slow.set_distortion([](const HostRequest& request, HostReply& reply) {
    if (request.method == "GET" && request.path.find("/blobs/") != std::string::npos)
      reply.delay = std::chrono::milliseconds(100);
  });
  configure(fmt::format("{{url: '{}'}}", slow.url()),
            fmt::format("{{url: '{}', {}}}", secure.url(), basic(password)),
            "transfers: {images: 1, blobs: 1}\n");
  const Json total = total_of({"sync"}, 0);
  EXPECT_EQ(total["copied"], 30);
  EXPECT_EQ(total["failed"], 0);
  std::map<std::string, int> times;
  int most = 0;
  for (const std::string& scopes : tokens.given()) most = std::max(most, ++times[scopes]);
  EXPECT_GE(most, 2) << "a run of six seconds outlives a token of two";
}

// --- a front that redirects blobs

// Wants a password, passes everything on to a docker-registry behind it, and sends readers of blobs
// to the storage host.
class Front {
 public:
  explicit Front(const DockerRegistry& behind)
      : behind_(behind.url()),
        storage_([this](const HostRequest& request) { return serve_blob(request); }),
        front_([this](const HostRequest& request) { return pass_on(request); }) {}

  [[nodiscard]] std::string url() const { return front_.url(); }
  [[nodiscard]] std::size_t blobs_served() const { return served_; }
  [[nodiscard]] std::size_t leaks() const { return leaks_; }

 private:
  HostReply serve_blob(const HostRequest& request) {
    ++served_;
    if (!request.header("authorization").empty()) ++leaks_;
    const HttpAnswer answer = http("GET", behind_ + request.path);
    return {answer.status, {{"Content-Type", "application/octet-stream"}}, answer.body};
  }
  HostReply pass_on(const HostRequest& request) {
    if (request.header("authorization") !=
        "Basic " + base64_encoded(fmt::format("{}:{}", user, password))) {
      return {401, {{"WWW-Authenticate", R"(Basic realm="front")"}}, "{}"};
    }
    const bool blob = request.path.find("/blobs/sha256:") != std::string::npos;
    if (request.method == "GET" && blob)
      return {307, {{"Location", storage_.url() + request.path}}, {}};
    std::string query;
    for (const auto& [name, value] : request.query)
      query += (query.empty() ? "?" : "&") + name + "=" + value;
    const HttpAnswer answer = http(request.method, behind_ + request.path + query, request.body,
                                   {"Accept: " + request.header("accept")});
    HostReply reply{answer.status, {}, answer.body};
    for (const char* name : {"content-type", "docker-content-digest"}) {
      if (answer.headers.contains(name)) reply.headers.emplace_back(name, answer.headers.at(name));
    }
    return reply;
  }

  std::string behind_;
  std::atomic<std::size_t> served_ = 0;
  std::atomic<std::size_t> leaks_ = 0;
  HttpHost storage_;
  HttpHost front_;
};

TEST_F(Secured, AFrontThatRedirectsBlobsHandsNoCredentialsOn) {
  DockerRegistry behind;
  DockerRegistry copy;
  push_some(behind);
  Front front(behind);
  configure(fmt::format("{{url: '{}', {}}}", front.url(), basic(password)), plain(copy));
  EXPECT_EQ(check("source", 0), "ok");
  EXPECT_EQ(total_of({"sync"}, 0)["copied"], 2);
  EXPECT_EQ(incompleteness(copy.url(), "team/app", "v1"), "");
  EXPECT_EQ(incompleteness(copy.url(), "team/multi", "v1"), "");
  EXPECT_GE(front.blobs_served(), 9u);
  EXPECT_EQ(front.leaks(), 0u);
  configure(fmt::format("{{url: '{}', {}}}", front.url(), basic("wrong")), plain(copy));
  EXPECT_NE(check("source", 1).find("401"), std::string::npos);
}

}  // namespace
}  // namespace transship::testing
