#include <gtest/gtest.h>

#include <string>

#include "tests/unit/events_fixture.h"

namespace transship::events {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr Dialect dialect = Dialect::distribution;

// clang-format off
constexpr std::string_view tag_push = R"json({"events":[{"id":"0199b2c4-7d10-7a3e-9c55-000000000001","timestamp":"2026-10-05T08:15:30.123456789Z","action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","size":1234,"length":1234,"repository":"team/app","url":"https://registry.us-east.example.com/v2/team/app/manifests/sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","tag":"v1.4.0"},"request":{"id":"5b0f6d1e-0000-4000-8000-000000000001","addr":"10.20.0.7:51422","host":"registry.us-east.example.com","method":"PUT","useragent":"docker/27.3.1 go/go1.22.7 os/linux arch/amd64"},"actor":{"name":"ci-push"},"source":{"addr":"registry-0:5000","instanceID":"c1f0a2de-0000-4000-8000-0000000000aa"}}]})json";
constexpr std::string_view digest_push = R"json({"events":[{"id":"0199b2c4-7d10-7a3e-9c55-000000000002","timestamp":"2026-10-05T08:15:30.123456789Z","action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195","size":1100,"length":1100,"repository":"team/app","url":"https://registry.us-east.example.com/v2/team/app/manifests/sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195"},"request":{"id":"5b0f6d1e-0000-4000-8000-000000000002","addr":"10.20.0.7:51422","host":"registry.us-east.example.com","method":"PUT","useragent":"transship/1.0 (eu-west)"},"actor":{"name":"ci-push"},"source":{"addr":"registry-0:5000","instanceID":"c1f0a2de-0000-4000-8000-0000000000aa"}}]})json";
constexpr std::string_view index_push = R"json({"events":[{"id":"0199b2c4-7d10-7a3e-9c55-000000000003","timestamp":"2026-10-05T10:15:31.5+02:00","action":"push","target":{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:b3e81406e67adfbe9a633f6f2678e49e25b161b6d9843f815b1d0bd8366e807d","size":856,"length":856,"repository":"team/app","url":"https://registry.us-east.example.com/v2/team/app/manifests/sha256:b3e81406e67adfbe9a633f6f2678e49e25b161b6d9843f815b1d0bd8366e807d","tag":"v1.4.0","references":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195","size":1100},{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:eb56d5ad47fa74c2e80bbd690e968c6f541a0f83e605492fd2c3bebae78ad4c2","size":1100}]},"request":{"id":"5b0f6d1e-0000-4000-8000-000000000003","addr":"10.20.0.7:51422","host":"registry.us-east.example.com","method":"PUT","useragent":"transship/1.0 (eu-west)"},"actor":{"name":"ci-push"},"source":{"addr":"registry-0:5000","instanceID":"c1f0a2de-0000-4000-8000-0000000000aa"}}]})json";
constexpr std::string_view tag_delete = R"json({"events":[{"id":"0199b2c4-7d10-7a3e-9c55-000000000004","timestamp":"2026-10-05T08:15:30.123456789Z","action":"delete","target":{"repository":"team/app","tag":"v1.4.0"},"request":{"id":"5b0f6d1e-0000-4000-8000-000000000004","addr":"10.20.0.7:51422","host":"registry.us-east.example.com","method":"DELETE","useragent":"transship/1.0 (eu-west)"},"actor":{"name":"ci-push"},"source":{"addr":"registry-0:5000","instanceID":"c1f0a2de-0000-4000-8000-0000000000aa"}}]})json";
constexpr std::string_view manifest_delete = R"json({"events":[{"id":"0199b2c4-7d10-7a3e-9c55-000000000005","timestamp":"2026-10-05T08:15:30.123456789Z","action":"delete","target":{"digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","repository":"team/app"},"request":{"id":"5b0f6d1e-0000-4000-8000-000000000005","addr":"10.20.0.7:51422","host":"registry.us-east.example.com","method":"DELETE","useragent":"transship/1.0 (eu-west)"},"actor":{"name":"ci-push"},"source":{"addr":"registry-0:5000","instanceID":"c1f0a2de-0000-4000-8000-0000000000aa"}}]})json";
constexpr std::string_view blob_push = R"json({"events":[{"id":"0199b2c4-7d10-7a3e-9c55-000000000006","timestamp":"2026-10-05T08:15:30.123456789Z","action":"push","target":{"mediaType":"application/octet-stream","digest":"sha256:cbbb87829e81d43a89109c7b0412f1471cc72af1542ec5c49cc132ee023d0f2f","size":73109,"length":73109,"repository":"team/app","url":"https://registry.us-east.example.com/v2/team/app/blobs/sha256:cbbb87829e81d43a89109c7b0412f1471cc72af1542ec5c49cc132ee023d0f2f"},"request":{"id":"5b0f6d1e-0000-4000-8000-000000000006","addr":"10.20.0.7:51422","host":"registry.us-east.example.com","method":"PUT","useragent":"transship/1.0 (eu-west)"},"actor":{"name":"ci-push"},"source":{"addr":"registry-0:5000","instanceID":"c1f0a2de-0000-4000-8000-0000000000aa"}}]})json";
constexpr std::string_view mount = R"json({"events":[{"id":"0199b2c4-7d10-7a3e-9c55-000000000007","timestamp":"2026-10-05T08:15:30.123456789Z","action":"mount","target":{"mediaType":"application/octet-stream","digest":"sha256:cbbb87829e81d43a89109c7b0412f1471cc72af1542ec5c49cc132ee023d0f2f","size":73109,"length":73109,"repository":"team/app","fromRepository":"team/base","url":"https://registry.us-east.example.com/v2/team/app/blobs/sha256:cbbb87829e81d43a89109c7b0412f1471cc72af1542ec5c49cc132ee023d0f2f"},"request":{"id":"5b0f6d1e-0000-4000-8000-000000000007","addr":"10.20.0.7:51422","host":"registry.us-east.example.com","method":"POST","useragent":"transship/1.0 (eu-west)"},"actor":{"name":"ci-push"},"source":{"addr":"registry-0:5000","instanceID":"c1f0a2de-0000-4000-8000-0000000000aa"}}]})json";
constexpr std::string_view pull = R"json({"events":[{"id":"0199b2c4-7d10-7a3e-9c55-000000000008","timestamp":"2026-10-05T08:15:30.123456789Z","action":"pull","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","size":1234,"length":1234,"repository":"team/app","url":"https://registry.us-east.example.com/v2/team/app/manifests/sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","tag":"v1.4.0"},"request":{"id":"5b0f6d1e-0000-4000-8000-000000000008","addr":"10.20.0.7:51422","host":"registry.us-east.example.com","method":"GET","useragent":"transship/1.0 (eu-west)"},"actor":{},"source":{"addr":"registry-0:5000","instanceID":"c1f0a2de-0000-4000-8000-0000000000aa"}}]})json";
// clang-format on

TEST(EventsDistribution, TagPush) {
  const auto events = read(dialect, tag_push);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(shown(events[0]), name("push team/app:v1.4.0", digest_d05));
  EXPECT_EQ(events[0].media_type, image_manifest);
  EXPECT_EQ(events[0].time, at_ms(example_ms + 123));
  EXPECT_EQ(events[0].id, "0199b2c4-7d10-7a3e-9c55-000000000001");
  EXPECT_EQ(events[0].actor, "ci-push");
  EXPECT_EQ(events[0].user_agent, "docker/27.3.1 go/go1.22.7 os/linux arch/amd64");
  EXPECT_EQ(events[0].host, std::nullopt);
}

TEST(EventsDistribution, Examples) {
  EXPECT_EQ(read_shown(dialect, digest_push), Lines{name("push team/app", digest_d91)});
  EXPECT_EQ(read_shown(dialect, index_push), Lines{name("push team/app:v1.4.0", digest_b3e)});
  EXPECT_EQ(read(dialect, index_push)[0].time, at_ms(example_ms + 1500));
  EXPECT_EQ(read_shown(dialect, tag_delete), Lines{"remove team/app:v1.4.0"});
  EXPECT_EQ(read_shown(dialect, manifest_delete), Lines{name("remove team/app", digest_d05)});
  EXPECT_EQ(read_shown(dialect, blob_push), Lines{name("blob_push team/app", digest_cbb)});
  EXPECT_EQ(read_shown(dialect, mount), Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, pull), Lines{"ignored"});
}

TEST(EventsDistribution, TheSizeOfABlobIsToldWhereItIsANumber) {
  EXPECT_EQ(read(dialect, blob_push)[0].size, 73109U);
  const std::string push(blob_push);
  for (const char* wrong : {R"("many")", "-1", "1.5", "1e3", "18446744073709551616", "null"}) {
    const auto events =
        read(dialect, with(push, R"("size":73109)", R"("size":)" + std::string(wrong)));
    EXPECT_EQ(events[0].action, Action::blob_push);
    EXPECT_EQ(events[0].size, std::nullopt) << wrong;
  }
}

TEST(EventsDistribution, ManifestOrBlob) {
  const std::string push(tag_push);
  const std::string type = R"("mediaType":"application/vnd.oci.image.manifest.v1+json",)";
  for (const char* known : {"application/vnd.docker.distribution.manifest.v2+json",
                            "application/vnd.docker.distribution.manifest.list.v2+json",
                            "application/vnd.docker.distribution.manifest.v1+json",
                            "application/vnd.docker.distribution.manifest.v1+prettyjws",
                            "application/vnd.oci.artifact.manifest.v1+json"}) {
    const std::string without_url = with(with(push, image_manifest, known), "/manifests/", "/x/");
    EXPECT_EQ(read_shown(dialect, without_url), Lines{name("push team/app:v1.4.0", digest_d05)});
  }
  // Any other type or none: the URL decides.
  EXPECT_EQ(read_shown(dialect, with(push, image_manifest, "application/vnd.helm")),
            Lines{name("push team/app:v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, with(push, type, "")),
            Lines{name("push team/app:v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, with(push, type, "\"mediaType\":5,")),
            Lines{name("push team/app:v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, with(with(push, type, ""), "/manifests/", "/blobs/")),
            Lines{name("blob_push team/app", digest_d05)});
  // A blob that names nothing is still only ignored.
  EXPECT_EQ(read_shown(dialect, with(std::string(blob_push), "team/app\",\"url", "Team\",\"url")),
            Lines{"ignored"});
}

TEST(EventsDistribution, DeleteOfARepository) {
  EXPECT_EQ(
      read_shown(dialect, R"({"events":[{"action":"delete","target":{"repository":"team/app"}}]})"),
      Lines{"remove team/app"});
}

TEST(EventsDistribution, SeveralEventsAreCarriedEachByItself) {
  std::string body = R"({"events":[ )";
  const auto element = [](std::string_view whole) {
    return std::string(whole.substr(11, whole.size() - 13));
  };
  body += element(tag_push) + " , 17, " + element(pull) + ",[{}],\n" + element(tag_delete) + "]}";
  const auto messages = parse(dialect, body, {});
  expect_carried(dialect, messages);
  EXPECT_EQ(shown(events_of(messages)),
            (Lines{name("push team/app:v1.4.0", digest_d05), "malformed", "ignored", "malformed",
                   "remove team/app:v1.4.0"}));
  ASSERT_EQ(messages.size(), 5U);
  EXPECT_EQ(messages[0].body, tag_push);
  EXPECT_EQ(messages[4].body, tag_delete);
}

TEST(EventsDistribution, OneEventIsCarriedUnchanged) {
  const std::string spaced = "\n { \"extra\": [], \"events\" : [ " +
                             std::string(tag_push.substr(11, tag_push.size() - 13)) + " ] }\n";
  const auto messages = parse(dialect, spaced, {});
  ASSERT_EQ(messages.size(), 1U);
  EXPECT_EQ(messages[0].body, spaced);
}

TEST(EventsDistribution, Envelopes) {
  EXPECT_EQ(read_shown(dialect, R"({"events":[]})"), Lines{});
  for (const char* broken :
       {"{}", "[]", "null", R"({"events":null})", R"({"events":{}})", R"({"Events":[]})"}) {
    EXPECT_EQ(read_shown(dialect, broken), Lines{"malformed"}) << broken;
  }
}

TEST(EventsDistribution, ActionComesFirst) {
  EXPECT_EQ(read_shown(dialect, R"({"events":[{"action":"pull","target":5}]})"), Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, R"({"events":[{"action":""}]})"), Lines{"ignored"});
  for (const char* missing :
       {"{}", R"({"action":null})", R"({"action":1})", R"({"action":["push"]})"}) {
    EXPECT_EQ(read_shown(dialect, R"({"events":[)" + std::string(missing) + "]}"),
              Lines{"malformed"})
        << missing;
  }
}

TEST(EventsDistribution, TooManyEvents) {
  std::string body = R"({"events":[{})";
  for (int i = 1; i < 10'001; ++i) body += ",{}";
  body += "]}";
  EXPECT_EQ(read_shown(dialect, body), Lines{"malformed"});
  EXPECT_EQ(parse(dialect, R"({"events":[{},{},{}]})", {}, Limits{.events = 3}).size(), 3U);
  EXPECT_EQ(parse(dialect, R"({"events":[{},{},{}]})", {}, Limits{.events = 2}).size(), 1U);
}

}  // namespace
}  // namespace transship::events
