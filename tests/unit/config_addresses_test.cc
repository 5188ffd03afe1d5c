// Addresses that are wrong: of registries, of the bus, our own.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/reader.h"
#include "tests/unit/config_testing.h"

namespace transship::config {
namespace {

using testing::Bad;
using testing::expect_at_top;
using testing::expect_mistakes;
using testing::read;

TEST(ConfigAddressesTest, Urls) {
  const std::string none =
      " is not a URL; write https://HOST or http://HOST, such as https://registry.example.com";
  const std::string host = " is not a host, or a host and a port (1 to 65535)";
  const std::vector<Bad> cases = {
      {"registry.example.com", "\"registry.example.com\"" + none},
      {"ftp://a", "\"ftp://a\"" + none},
      {"HTTPS://a", "\"HTTPS://a\"" + none},
      {"https:/a", "\"https:/a\"" + none},
      {"", "\"\"" + none},
      {"user:pass@host", "what is written" + none},
      {"https://", "\"\"" + host},
      {"https:///", "\"\"" + host},
      {"https://a b", "\"a b\"" + host},
      {"https://a:", "\"a:\"" + host},
      {"https://a:0", "\"a:0\"" + host},
      {"https://a:65536", "\"a:65536\"" + host},
      {"https://a:-1", "\"a:-1\"" + host},
      {"https://a:1:2", "\"a:1:2\"" + host},
      {"https://::1", "\"::1\"" + host},
      {"https://[::1", "\"[::1\"" + host},
      {"https://[::g]", "\"[::g]\"" + host},
      {"https://[::1]x", "\"[::1]x\"" + host},
      {"https://a..b", "\"a..b\"" + host},
      {"https://-a", "\"-a\"" + host},
      {"https://1.2.3", "\"1.2.3\"" + host},
      {"https://1.2.3.256", "\"1.2.3.256\"" + host},
      {"https://a%2fb", "\"a%2fb\"" + host},
      {"https://a/v2", "\"a/v2\" has a path; write scheme, host and port alone"},
      {"https://a//", "\"a//\" has a path; write scheme, host and port alone"},
      {"https://a?x", "holds a query or a fragment"},
      {"https://a/#x", "holds a query or a fragment"},
      {"https://user:secret@a", "holds a user or password; they belong in auth"},
      {"https://user:secret@a/x?y", "holds a user or password; they belong in auth"},
  };
  for (const auto& [url, message] : cases) {
    expect_mistakes(fmt::format("registries: {{a: {{url: §\"{}\"}}}}\n"
                                "rules: [{{name: r, source: a, targets: §a, repositories: x}}]\n",
                                url),
                    {"url: " + message, "targets: is the rule's own source; a rename is needed"});
  }
}

TEST(ConfigAddressesTest, Bus) {
  const std::string server =
      " is not a NATS server; write nats://HOST or tls://HOST, such as "
      "nats://nats.example.com:4222";
  const std::string stream =
      " is not a stream's name; it has no blank, '.', '*', '>', '/' or '\\' and 1 to 255 "
      "characters";
  expect_at_top({
      {"bus: §jetstream", "bus: must be a map, not a single value"},
      {"bus: §{}", "bus: type is missing"},
      {"bus: §{type: jetstream}", "bus: servers is missing"},
      {"bus: {type: jetstream, servers: §[]}", "servers: is an empty list"},
      {"bus: {type: jetstream, servers: §~}", "servers: has no value"},
      {"bus: {type: jetstream, servers: [\"nats://a\", §\"http://b\"]}",
       "servers: \"http://b\"" + server},
      {"bus: {type: jetstream, servers: §\"a:4222\"}", "servers: \"a:4222\"" + server},
      {"bus: {type: jetstream, servers: §\"nats://u:p@a\"}",
       "servers: holds a user or password; they belong in credentials_file"},
      {"bus: {type: jetstream, servers: §\"nats://a/b\"}",
       "servers: \"a/b\" has a path; write scheme, host and port alone"},
      {"bus: {type: jetstream, servers: [\"nats://a\", §\"nats://a\"]}",
       "servers: \"nats://a\" is there twice"},
      {"bus: {type: jetstream, servers: \"nats://a\", credentials_file: §''}",
       "credentials_file: is empty; write the path of a file"},
      {"bus: {type: jetstream, servers: \"nats://a\", subjects: §[]}",
       "subjects: is an empty list"},
      {"bus: {type: jetstream, servers: \"nats://a\", subjects: [§a, b.>]}",
       "subjects: the first must end with a wildcard, in whose place the registry's name is put, "
       "such as a.>"},
      {"bus: {type: jetstream, servers: \"nats://a\", subjects: §a.b}",
       "subjects: the first must end with a wildcard, in whose place the registry's name is put, "
       "such as a.b.>"},
      {"bus: {type: jetstream, servers: \"nats://a\", subjects: [a.*, §a.*]}",
       "subjects: \"a.*\" is there twice"},
      {"bus: {type: journal, §stream: S}", "stream: does not belong to bus of type journal"},
      {"bus: {type: journal, §server: S}",
       "bus: \"server\" is not a known key; did you mean \"servers\"?"},
  });
  for (const std::string text : {"", "a.b", "a b", "a*", ">", "a/b", "a\\b"}) {
    expect_at_top(
        {{fmt::format("bus: {{type: jetstream, servers: 'nats://a', stream: §'{}'}}", text),
          fmt::format("stream: \"{}\"{}", text, stream)}});
  }
  for (const std::string text :
       {"", ".", "a.", ".a", "a..>", "a.>.b", "a>", "a.b*", "a b.>", ">.a"}) {
    expect_at_top(
        {{fmt::format("bus: {{type: jetstream, servers: 'nats://a', subjects: [x.>, §'{}']}}",
                      text),
          fmt::format("subjects: \"{}\" is not a NATS subject, such as registry.events.>", text)}});
  }
}

TEST(ConfigAddressesTest, Http) {
  const std::string none =
      " is not an address and a port, such as 127.0.0.1:9480, 0.0.0.0:9480 or [::1]:9480";
  for (const std::string text : {"9480", ":9480", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
                                 "::1:80", "[::1]", "http://a:1", "*:80", "a:b", "a:1 "}) {
    expect_at_top({{fmt::format("http: {{listen: §'{}'}}", text),
                    fmt::format("listen: \"{}\"{}", text, none)}});
  }
  const auto missing = [](const char* address) {
    return fmt::format(
        "http: token_file is missing; it is needed because {} can be reached from other machines",
        address);
  };
  expect_at_top({
      {"http: §{listen: 0.0.0.0:9480}", missing("0.0.0.0:9480")},
      {"http:\n  §listen: 128.0.0.1:1", missing("128.0.0.1:1")},
      {"http: §{listen: '[::]:1'}", missing("[::]:1")},
      {"http: §{listen: '127.example.com:1'}", missing("127.example.com:1")},
      {"http: §{listen: 'localhost.example.com:1'}", missing("localhost.example.com:1")},
      {"http: {listen: 0.0.0.0:9480, token_file: §''}",
       "token_file: is empty; write the path of a file"},
      {"state: §''", "state: is empty; write the path of a file"},
  });
}

TEST(ConfigAddressesTest, RegistriesAreSchemeHostAndPort) {
  const struct {
    const char* url;
    const char* shown;
    int port;
  } cases[] = {
      {"https://a", "https://a", 443},
      {"http://a", "http://a", 80},
      {"http://a:443", "http://a:443", 443},
      {"https://Registry.Example.COM/", "https://registry.example.com", 443},
      {"https://a_b.c-d:65535/", "https://a_b.c-d:65535", 65535},
      {"http://127.0.0.1:5000", "http://127.0.0.1:5000", 5000},
      {"http://[::1]:5000", "http://[::1]:5000", 5000},
      {"https://[2001:DB8::1]", "https://[2001:db8::1]", 443},
  };
  for (const auto& [url, shown, port] : cases) {
    const ReadResult result = read(
        fmt::format("registries: {{a: {{url: \"{}\"}}}}\n"
                    "rules: [{{name: r, source: a, targets: a, repositories: x, rename: y}}]\n",
                    url));
    ASSERT_TRUE(result) << url;
    EXPECT_EQ(to_string(result->registries[0].url), shown);
    EXPECT_EQ(result->registries[0].url.port_or_default(), port);
  }
}

TEST(ConfigAddressesTest, LoopbackIsWhatNeverLeavesTheMachine) {
  for (const char* host : {"127.0.0.1", "127.255.0.9", "localhost", "[::1]", "::1"}) {
    EXPECT_TRUE(is_loopback(host)) << host;
  }
  for (const char* host : {"", "0.0.0.0", "128.0.0.1", "127.example.com", "127.0.0.1.example.com",
                           "localhost.example.com", "[::]", "127.1", "127."}) {
    EXPECT_FALSE(is_loopback(host)) << host;
  }
}

}  // namespace
}  // namespace transship::config
