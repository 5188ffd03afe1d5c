#include <gtest/gtest.h>

#include <string>

#include "tests/unit/events_fixture.h"

namespace transship::events {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr Dialect dialect = Dialect::acr;

// clang-format off
constexpr std::string_view tag_push = R"json({"id":"d4e0fa60-0000-4000-8000-000000000001","timestamp":"2026-10-05T08:15:30.246813579Z","action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1234,"digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","length":1234,"repository":"team/app","tag":"v1.4.0"},"request":{"id":"d4e0fa60-0000-4000-8000-000000000011","host":"teamregistry.azurecr.io","method":"PUT","useragent":"docker/27.3.1 go/go1.22.7 UpstreamClient(Docker-Client/27.3.1 \\(linux\\))"}})json";
constexpr std::string_view digest_push = R"json({"id":"d4e0fa60-0000-4000-8000-000000000002","timestamp":"2026-10-05T08:15:30.246813579Z","action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1100,"digest":"sha256:d9161d59f95ebc8b479911588367588319a658498b066a45244a897fa62b2195","length":1100,"repository":"team/app"},"request":{"id":"d4e0fa60-0000-4000-8000-000000000012","host":"teamregistry.azurecr.io","method":"PUT","useragent":"docker/27.3.1 go/go1.22.7 UpstreamClient(Docker-Client/27.3.1 \\(linux\\))"}})json";
constexpr std::string_view manifest_delete = R"json({"id":"d4e0fa60-0000-4000-8000-000000000003","timestamp":"2026-10-05T08:15:30.246813579Z","action":"delete","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","repository":"team/app"},"request":{"id":"d4e0fa60-0000-4000-8000-000000000013","host":"teamregistry.azurecr.io","method":"DELETE","useragent":"docker/27.3.1 go/go1.22.7 UpstreamClient(Docker-Client/27.3.1 \\(linux\\))"}})json";
constexpr std::string_view grid_push = R"json([{"id":"e5f10b70-0000-4000-8000-000000000001","topic":"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg1/providers/Microsoft.ContainerRegistry/registries/teamregistry","subject":"team/app:v1.4.0","eventType":"Microsoft.ContainerRegistry.ImagePushed","eventTime":"2026-10-05T08:15:30.9753124Z","data":{"id":"d4e0fa60-0000-4000-8000-000000000005","timestamp":"2026-10-05T08:15:30.246813579Z","action":"push","target":{"mediaType":"application/vnd.oci.image.index.v1+json","size":856,"digest":"sha256:b3e81406e67adfbe9a633f6f2678e49e25b161b6d9843f815b1d0bd8366e807d","length":856,"repository":"team/app","tag":"v1.4.0"},"request":{"id":"d4e0fa60-0000-4000-8000-000000000015","host":"teamregistry.azurecr.io","method":"PUT","useragent":"docker/27.3.1 go/go1.22.7 UpstreamClient(Docker-Client/27.3.1 \\(linux\\))"}},"dataVersion":"1.0","metadataVersion":"1"}])json";
constexpr std::string_view cloud_delete = R"json({"specversion":"1.0","id":"e5f10b70-0000-4000-8000-000000000002","source":"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg1/providers/Microsoft.ContainerRegistry/registries/teamregistry","subject":"team/app","type":"Microsoft.ContainerRegistry.ImageDeleted","time":"2026-10-05T08:15:33.1112223Z","data":{"id":"d4e0fa60-0000-4000-8000-000000000006","timestamp":"2026-10-05T08:15:30.246813579Z","action":"delete","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:d05ed6eaf108ab8b17b742e1cbb7752e62e84942dc3c5fb4f9c6884fc10aeb71","repository":"team/app"},"request":{"id":"d4e0fa60-0000-4000-8000-000000000016","host":"teamregistry.azurecr.io","method":"DELETE","useragent":"docker/27.3.1 go/go1.22.7 UpstreamClient(Docker-Client/27.3.1 \\(linux\\))"}}})json";
constexpr std::string_view chart = R"json({"id":"d4e0fa60-0000-4000-8000-000000000004","timestamp":"2026-10-05T08:15:32.1357913Z","action":"chart_push","target":{"mediaType":"application/vnd.acr.helm.chart","size":25000,"digest":"sha256:cbbb87829e81d43a89109c7b0412f1471cc72af1542ec5c49cc132ee023d0f2f","repository":"repo","tag":"app-1.4.0.tgz","name":"app","version":"1.4.0.tgz"}})json";
constexpr std::string_view validation = R"json([{"id":"e5f10b70-0000-4000-8000-000000000003","topic":"/subscriptions/00000000-0000-0000-0000-000000000001","subject":"","data":{"validationCode":"0a1b2c3d-0000-4000-8000-000000000009","validationUrl":"https://example.com/validate?id=0a1b"},"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","eventTime":"2026-10-05T08:00:00.1234567Z","metadataVersion":"1","dataVersion":"1"}])json";
// clang-format on

TEST(EventsAcr, WebhookTagPush) {
  const Event event = read(dialect, tag_push).at(0);
  EXPECT_EQ(shown(event), name("push team/app:v1.4.0", digest_d05));
  EXPECT_EQ(event.time, at_ms(example_ms + 246));
  EXPECT_EQ(event.id, "d4e0fa60-0000-4000-8000-000000000001");
  EXPECT_EQ(event.media_type, image_manifest);
  EXPECT_EQ(event.user_agent,
            R"(docker/27.3.1 go/go1.22.7 UpstreamClient(Docker-Client/27.3.1 \(linux\)))");
}

TEST(EventsAcr, Examples) {
  EXPECT_EQ(read_shown(dialect, digest_push), Lines{name("push team/app", digest_d91)});
  EXPECT_EQ(read_shown(dialect, manifest_delete), Lines{name("remove team/app", digest_d05)});
  EXPECT_EQ(read_shown(dialect, grid_push), Lines{name("push team/app:v1.4.0", digest_b3e)});
  EXPECT_EQ(read_shown(dialect, cloud_delete), Lines{name("remove team/app", digest_d05)});
  EXPECT_EQ(read_shown(dialect, chart), Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, validation), Lines{"ignored"});
}

TEST(EventsAcr, EventGridTimesAndIds) {
  const Event grid = read(dialect, grid_push).at(0);
  EXPECT_EQ(grid.time, at_ms(example_ms + 246));
  EXPECT_EQ(grid.id, "e5f10b70-0000-4000-8000-000000000001");
  EXPECT_EQ(read(dialect, with(std::string(grid_push),
                               R"("timestamp":"2026-10-05T08:15:30.246813579Z",)", ""))[0]
                .time,
            at_ms(example_ms + 975));
  const Event cloud = read(dialect, cloud_delete).at(0);
  EXPECT_EQ(cloud.id, "e5f10b70-0000-4000-8000-000000000002");
  EXPECT_EQ(read(dialect, with(std::string(cloud_delete), R"("timestamp":"2026)",
                               R"("timestamp":"x2026)"))[0]
                .time,
            at_ms(example_ms + 3111));
  EXPECT_EQ(read(dialect, with(std::string(grid_push), R"("request":{)",
                               R"("actor":{"name":"someone"},"request":{)"))[0]
                .actor,
            "someone");
}

TEST(EventsAcr, OldTypeNames) {
  EXPECT_EQ(read_shown(dialect, with(std::string(grid_push), "Microsoft.ContainerRegistry.", "")),
            Lines{name("push team/app:v1.4.0", digest_b3e)});
  EXPECT_EQ(read_shown(dialect, with(std::string(grid_push), "ImagePushed", "ChartPushed")),
            Lines{"ignored"});
  EXPECT_EQ(read_shown(dialect, with(std::string(tag_push), R"("tag":"v1.4.0")", R"("tag":"")")),
            Lines{name("push team/app", digest_d05)});
}

TEST(EventsAcr, ABatchIsCarriedEventByEvent) {
  const std::string one(grid_push.substr(1, grid_push.size() - 2));
  const auto messages =
      parse(dialect,
            "[" + one + "," + std::string(tag_push) + "," + std::string(cloud_delete) + ",0]", {});
  expect_carried(dialect, messages);
  // A webhook's object is no Event Grid event, not even alone.
  EXPECT_EQ(shown(events_of(messages)),
            (Lines{name("push team/app:v1.4.0", digest_b3e), "malformed",
                   name("remove team/app", digest_d05), "malformed"}));
  EXPECT_EQ(messages.at(0).body, grid_push);
  EXPECT_EQ(read_shown(dialect, "[]"), Lines{});
}

TEST(EventsAcr, NeitherIsMalformed) {
  for (const char* broken : {"{}", "7", R"({"target":{}})", R"({"action":5})", R"({"data":{}})",
                             R"({"data":{},"type":5})", R"([{"eventType":null,"type":"x"}])"}) {
    EXPECT_EQ(read_shown(dialect, broken), Lines{"malformed"}) << broken;
  }
  for (const char* other : {R"({"action":"ping"})", R"({"action":"quarantine","target":0})"}) {
    EXPECT_EQ(read_shown(dialect, other), Lines{"ignored"}) << other;
  }
}

TEST(EventsAcr, TheHandshakeIsAnswered) {
  EXPECT_EQ(handshake_answer(dialect, validation),
            R"({"validationResponse":"0a1b2c3d-0000-4000-8000-000000000009"})");
  EXPECT_EQ(handshake_answer(dialect, grid_push), std::nullopt);
  EXPECT_EQ(handshake_answer(dialect, "not JSON"), std::nullopt);
  EXPECT_EQ(handshake_answer(Dialect::harbor, validation), std::nullopt);
  EXPECT_EQ(handshake_answer(dialect, with(std::string(validation),
                                           "0a1b2c3d-0000-4000-8000-000000000009", R"(\"\u00e4)")),
            "{\"validationResponse\":\"\\\"\xC3\xA4\"}");
}

}  // namespace
}  // namespace transship::events
