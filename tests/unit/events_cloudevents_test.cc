#include <gtest/gtest.h>

#include <string>

#include "tests/unit/events_fixture.h"

namespace transship::events {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr Dialect dialect = Dialect::cloudevents;

// clang-format off
constexpr std::string_view tag_push = R"json({"specversion":"1.0","id":"a2b8c640-0000-4000-8000-000000000001","source":"zotregistry.dev","type":"zotregistry.image.updated","datacontenttype":"application/json","time":"2026-10-05T08:15:30.987654321Z","data":{"name":"team/app","reference":"v1.4.0","digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","mediaType":"application/vnd.oci.image.manifest.v1+json","manifest":"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"}","actor":{"name":"ci-push"},"request":{"addr":"10.20.0.7:51422","method":"PUT","useragent":"regctl/0.7.1"}}})json";
constexpr std::string_view digest_push = R"json({"specversion":"1.0","id":"a2b8c640-0000-4000-8000-000000000002","source":"zotregistry.dev","type":"zotregistry.image.updated","datacontenttype":"application/json","time":"2026-10-05T08:15:30.987654321Z","data":{"name":"team/app","reference":"sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195","digest":"sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195","mediaType":"application/vnd.oci.image.manifest.v1+json","manifest":"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"}","actor":{"name":"ci-push"},"request":{"addr":"10.20.0.7:51422","method":"PUT","useragent":"regctl/0.7.1"}}})json";
constexpr std::string_view index_push = R"json({"specversion":"1.0","id":"a2b8c640-0000-4000-8000-000000000003","source":"zotregistry.dev","type":"zotregistry.image.updated","datacontenttype":"application/json","time":"2026-10-05T08:15:31Z","data":{"name":"team/app","reference":"v1.4.0","digest":"sha256:b3e81406e67adfbe9a633f6f2678e49e25b161b6d9843f815b1d0bd8366e807d","mediaType":"application/vnd.oci.image.index.v1+json","manifest":"{\"schemaVersion\":2,\"manifests\":[]}","actor":{"name":"ci-push"},"request":{"addr":"10.20.0.7:51422","method":"PUT","useragent":"regctl/0.7.1"}}})json";
constexpr std::string_view tag_delete = R"json({"specversion":"1.0","id":"a2b8c640-0000-4000-8000-000000000004","source":"zotregistry.dev","type":"zotregistry.image.deleted","datacontenttype":"application/json","time":"2026-10-05T08:15:30.987654321Z","data":{"name":"team/app","reference":"v1.4.0","digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","mediaType":"application/vnd.oci.image.manifest.v1+json","actor":{"name":"alice"},"request":{"addr":"10.20.0.9:40000","method":"DELETE","useragent":"regctl/0.7.1"}}})json";
constexpr std::string_view binary_body = R"json({"name":"team/app","reference":"v1.4.0","digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","mediaType":"application/vnd.oci.image.manifest.v1+json","manifest":"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"}","actor":{"name":"ci-push"},"request":{"addr":"10.20.0.7:51422","method":"PUT","useragent":"regctl/0.7.1"}})json";
constexpr std::string_view created = R"json({"specversion":"1.0","id":"a2b8c640-0000-4000-8000-000000000005","source":"zotregistry.dev","type":"zotregistry.repository.created","datacontenttype":"application/json","time":"2026-10-05T08:15:30.987654321Z","data":{"name":"team/app"}})json";
constexpr std::string_view scanned = R"json({"specversion":"1.0","id":"a2b8c640-0000-4000-8000-000000000006","source":"zotregistry.dev","type":"zotregistry.image.scanned","datacontenttype":"application/json","time":"2026-10-05T08:15:30.987654321Z","data":{"name":"team/app","reference":"v1.4.0","digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","mediaType":"application/vnd.oci.image.manifest.v1+json","summary":{"count":2,"fixableCount":1,"unknownCount":0,"lowCount":1,"mediumCount":1,"highCount":0,"criticalCount":0,"maxSeverity":"MEDIUM"}}})json";
// clang-format on

const std::string type_of_push = "zotregistry.image.updated";

Headers binary_headers() {
  return {{"ce-specversion", "1.0"},
          {"ce-id", "a2b8c640-0000-4000-8000-000000000001"},
          {"ce-source", "zotregistry.dev"},
          {"ce-type", type_of_push},
          {"ce-time", "2026-10-05T08:15:30.987654321Z"},
          {"content-type", "application/json"}};
}

void expect_the_tag_push(const Event& event) {
  EXPECT_EQ(shown(event), name("push team/app:v1.4.0", digest_d05));
  EXPECT_EQ(event.media_type, image_manifest);
  EXPECT_EQ(event.time, at_ms(example_ms + 987));
  EXPECT_EQ(event.id, "zotregistry.dev|a2b8c640-0000-4000-8000-000000000001");
  EXPECT_EQ(event.actor, "ci-push");
  EXPECT_EQ(event.user_agent, "regctl/0.7.1");
}

TEST(EventsCloudEvents, StructuredMode) {
  expect_the_tag_push(read(dialect, tag_push).at(0));
  expect_the_tag_push(
      read(dialect, tag_push, {{"content-type", "Application/CloudEvents+json; charset=utf-8"}})
          .at(0));
}

TEST(EventsCloudEvents, BinaryMode) {
  const auto messages = parse(dialect, binary_body, binary_headers());
  expect_carried(dialect, messages, binary_headers());
  ASSERT_EQ(messages.size(), 1U);
  EXPECT_EQ(messages[0].body, binary_body);
  expect_the_tag_push(messages[0].events.at(0));
}

TEST(EventsCloudEvents, BinaryHeadersArePercentEncoded) {
  Headers headers = binary_headers();
  headers["ce-source"] = "zot%20%E2%82%AC%zz%4";
  EXPECT_EQ(read(dialect, binary_body, headers)[0].id,
            "zot \xE2\x82\xAC%zz%4|a2b8c640-0000-4000-8000-000000000001");
}

TEST(EventsCloudEvents, BinaryAttributesAreRequired) {
  for (const char* required : {"ce-specversion", "ce-id", "ce-source", "ce-type"}) {
    Headers headers = binary_headers();
    headers.erase(required);
    EXPECT_EQ(read_shown(dialect, binary_body, headers), Lines{"malformed"}) << required;
    headers[required] = "";
    EXPECT_EQ(read_shown(dialect, binary_body, headers), Lines{"malformed"}) << required;
  }
  Headers headers = binary_headers();
  headers.erase("ce-time");
  EXPECT_EQ(read(dialect, binary_body, headers)[0].time, std::nullopt);
  EXPECT_EQ(read_shown(dialect, "", binary_headers()), Lines{"malformed"});
  headers["ce-type"] = "zotregistry.image.lint_failed";
  EXPECT_EQ(read_shown(dialect, "not JSON", headers), Lines{"ignored"});
}

TEST(EventsCloudEvents, Examples) {
  EXPECT_EQ(read_shown(dialect, digest_push), Lines{name("push team/app", digest_d91)});
  EXPECT_EQ(read_shown(dialect, index_push), Lines{name("push team/app:v1.4.0", digest_b3e)});
  EXPECT_EQ(read_shown(dialect, tag_delete), Lines{name("remove team/app:v1.4.0", digest_d05)});
  EXPECT_EQ(read_shown(dialect, created), Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, scanned), Lines{"ignored"});
}

TEST(EventsCloudEvents, StructuredAttributesAreRequired) {
  for (const char* required :
       {R"("specversion":"1.0",)", R"("id":"a2b8c640-0000-4000-8000-000000000001",)",
        R"("source":"zotregistry.dev",)", R"("type":"zotregistry.image.updated",)"}) {
    EXPECT_EQ(read_shown(dialect, with(std::string(tag_push), required, "")), Lines{"malformed"})
        << required;
  }
  EXPECT_EQ(read_shown(dialect, with(std::string(tag_push), R"("specversion":"1.0")",
                                     R"("specversion":1.0)")),
            Lines{"malformed"});
  // What is of no interest needs nothing but its type.
  EXPECT_EQ(read_shown(dialect, R"({"type":"other"})"), Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, R"({"type":5})"), Lines{"malformed"});
}

TEST(EventsCloudEvents, Batch) {
  const Headers headers{{"content-type", "application/cloudevents-batch+json"}};
  const std::string batch = "[" + std::string(tag_push) + ", [" + std::string(tag_push) + "], 5 ," +
                            std::string(created) + "]";
  const auto messages = parse(dialect, batch, headers);
  expect_carried(dialect, messages, headers);
  expect_carried(dialect, messages);
  EXPECT_EQ(shown(events_of(messages)),
            (Lines{name("push team/app:v1.4.0", digest_d05), "malformed", "malformed", "ignored"}));
  EXPECT_EQ(messages.at(0).body, tag_push);
  EXPECT_EQ(read_shown(dialect, "[]", headers), Lines{});
  expect_the_tag_push(read(dialect, "[" + std::string(tag_push) + "]", headers).at(0));
}

TEST(EventsCloudEvents, DataInBase64) {
  const std::string head = R"({"specversion":"1.0","id":"1","source":"s","type":")" + type_of_push;
  // {"name":"team/app","reference":"v1"}
  const std::string data = "eyJuYW1lIjoidGVhbS9hcHAiLCJyZWZlcmVuY2UiOiJ2MSJ9";
  EXPECT_EQ(read_shown(dialect, head + R"(","data_base64":")" + data + "\"}"),
            Lines{"push team/app:v1"});
  for (const char* broken : {R"("eyJuYW1l*")", R"("eyJuYW1lIjoidGVh")", "5", R"("")"}) {
    EXPECT_EQ(read_shown(dialect, head + R"(","data_base64":)" + broken + "}"), Lines{"malformed"})
        << broken;
  }
  EXPECT_EQ(read_shown(dialect, head + "\"}"), Lines{"malformed"});
}

TEST(EventsCloudEvents, AReferenceIsATagOrADigest) {
  const std::string without_digest =
      with(std::string(digest_push), with(R"("digest":"D",)", "D", digest_d91), "");
  EXPECT_EQ(read_shown(dialect, without_digest), Lines{name("push team/app", digest_d91)});
  EXPECT_EQ(read_shown(dialect, with(std::string(tag_push), "\"v1.4.0\"", "\"sha256:12\"")),
            Lines{"malformed"});
}

TEST(EventsCloudEvents, AManifestOf4MiBInTheData) {
  const std::string large = with(std::string(tag_push), R"({\"schemaVersion\":2,)",
                                 R"({\"x\":\")" + std::string(4U << 20U, 'x') + R"(\",)");
  expect_the_tag_push(read(dialect, large).at(0));
}

TEST(EventsCloudEvents, TellingHeaders) {
  for (const auto& [header, value] : binary_headers()) {
    EXPECT_TRUE(is_telling_header(dialect, header));
    EXPECT_FALSE(is_telling_header(Dialect::harbor, header));
  }
  EXPECT_FALSE(is_telling_header(dialect, "authorization"));
}

}  // namespace
}  // namespace transship::events
