// kill -9 of every part at random moments under pushes from four writers, and nothing is lost. On
// real parts. CONTRIBUTING.md says how to have it rage for longer, and with another seed.
#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/e2e/two_registries.h"

namespace transship::testing {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int writers_count = 4;
// Of what must come right by itself once all is up. JetStream alone gives a delivery that died with
// its daemon to the next one after half a minute.
constexpr seconds patience{300};

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text == nullptr ? otherwise : std::stoull(text);
}

std::string repository_of(int writer) { return "chaos/" + std::to_string(writer); }

HttpAnswer manifest_at(const std::string& registry, const std::string& repository,
                       const std::string& reference) {
  return http("GET", fmt::format("{}/v2/{}/manifests/{}", registry, repository, reference), {},
              {"Accept: " + std::string(oci::accept_header())});
}

// A random moment of a run, which is no wait for anything.
void pass_time(std::mt19937_64& random, unsigned most_ms) {
  std::this_thread::sleep_for(milliseconds(random() % most_ms));
}

// Pushes to a repository of its own. A push counts once the source has answered 201 and shows it.
class Writer {
 public:
  Writer(std::string source, int number, std::uint64_t seed)
      : source_(std::move(source)), number_(number), random_(seed * 100 + unsigned(number)) {}

  // Some tags move again and again, others are pushed once.
  void push_until(const std::atomic<bool>& enough) {
    while (!enough && !gave_up_) {
      const bool moves = random_() % 4 != 0;
      push_one(moves ? fmt::format("moves-{}", random_() % 3) : fmt::format("v{}", made_));
      pass_time(random_, 400);
    }
  }
  // docker-registry writes in place. Killed while it does, it may have torn a tag that it moved
  // before, and answers 500 for it until it is pushed again.
  void push_torn_again() {
    const auto pushed = pushed_;
    for (const auto& [tag, digest] : pushed) {
      if (digest_at(source_, repository(), tag) == digest) continue;
      ++torn_;
      push_one(tag);
    }
  }
  [[nodiscard]] std::string repository() const { return repository_of(number_); }
  [[nodiscard]] const std::map<std::string, std::string>& pushed() const { return pushed_; }
  [[nodiscard]] std::uint64_t pushes() const { return pushes_; }
  [[nodiscard]] int torn() const { return torn_; }
  [[nodiscard]] bool gave_up() const { return gave_up_; }

 private:
  void push_one(const std::string& tag) {
    TestImage image = next_image();
    int not_shown = 0;
    gave_up_ = !eventually(
        [&] {
          try {
            push(source_, repository(), tag, image);
          } catch (const std::exception&) {
            return false;  // it was killed, or is not up yet
          }
          if (digest_at(source_, repository(), tag) == image.digest()) return true;
          // A manifest whose file was torn is never written again: then it has to be another.
          if (++not_shown % 5 == 0) image = next_image();
          return false;
        },
        patience);
    if (gave_up_) return;
    pushed_[tag] = image.digest();
    ++pushes_;
  }
  // Of a layer that all repositories share, one that this repository shares, and one of its own;
  // now and then an index of two.
  TestImage next_image() {
    const auto one = [&] {
      const std::uint64_t id = std::uint64_t(number_) * 1'000'000 + made_++;
      return make_image_of({noise(random_() % 4, 150'000),
                            noise(1000 + unsigned(number_) * 10 + random_() % 3, 40'000),
                            noise(10'000'000 + id, 1 + random_() % 60'000)},
                           id);
    };
    TestImage image = one();
    return made_ % 8 == 0 ? make_index({std::move(image), one()}) : image;
  }

  const std::string source_;
  const int number_;
  std::mt19937_64 random_;
  std::uint64_t made_ = 0;
  std::map<std::string, std::string> pushed_;  // digests by tag
  std::uint64_t pushes_ = 0;
  int torn_ = 0;
  bool gave_up_ = false;
};

// Looks at the target all the while: whatever tag it shows must be complete.
class Watcher {
 public:
  explicit Watcher(std::string target) : target_(std::move(target)) {}

  void watch_until(const std::atomic<bool>& enough) {
    for (; !enough; pass_time(random_, 100)) look_at_all();
  }
  void look_at_all() {
    for (int writer = 0; writer < writers_count; ++writer) look_at(writer);
    ++rounds_;
  }
  [[nodiscard]] int rounds() const { return rounds_; }
  [[nodiscard]] std::size_t manifests() const { return complete_.size(); }

 private:
  void look_at(int writer) {
    const std::string repository = repository_of(writer);
    const auto list = http("GET", fmt::format("{}/v2/{}/tags/list", target_, repository));
    if (list.status != 200) return;
    const auto tags = nlohmann::json::parse(list.body)["tags"].get<std::vector<std::string>>();
    for (const std::string& tag : tags) {
      const std::string missing = missing_of(repository, tag, /*is_tag=*/true);
      if (!missing.empty()) ADD_FAILURE() << repository << ":" << tag << " lacks " << missing;
    }
  }
  // What a manifest reaches and the target plainly has not: no answer and an answer that it cannot
  // tell say nothing. Once something was complete it stays so: nobody deletes anything.
  std::string missing_of(const std::string& repository, const std::string& reference, bool is_tag) {
    const auto got = manifest_at(target_, repository, reference);
    if (got.status == 404 && !is_tag) return "manifest " + reference;
    if (got.status != 200) return {};
    const std::string key = repository + "@" + oci::Digest::of(got.body).str();
    if (complete_.contains(key)) return {};
    auto manifest = oci::parse_manifest(got.body, got.headers.at("content-type"));
    if (!manifest) return manifest.error().message;
    bool told_all = true;
    for (const oci::Descriptor& child : manifest->manifests) {
      std::string missing = missing_of(repository, child.digest.str(), /*is_tag=*/false);
      if (!missing.empty()) return missing;
      told_all = told_all && complete_.contains(repository + "@" + child.digest.str());
    }
    for (const oci::Descriptor& blob : manifest->blobs) {
      const auto head =
          http("HEAD", fmt::format("{}/v2/{}/blobs/{}", target_, repository, blob.digest.str()));
      if (head.status == 404) return "blob " + blob.digest.str();
      told_all = told_all && head.status == 200;
    }
    if (told_all) complete_.insert(key);
    return {};
  }

  const std::string target_;
  std::mt19937_64 random_{1};
  std::set<std::string> complete_;  // repository@digest
  int rounds_ = 0;
};

struct Variant {
  BusKind bus;
  // docker-registry keeps what it has yet to tell in memory: killed, it loses events. Only where
  // that may happen reconciliation helps; else events alone bring everything.
  bool kills_source;
};

class Chaos : public ::testing::TestWithParam<Variant> {
 protected:
  struct Victim {
    std::string name;
    std::function<void()> kill;
    std::function<void()> start;
    int kills = 0;
  };

  void SetUp() override {
    for (const char* program : {"docker-registry", "nats-server"}) {
      if (!has_program(program)) GTEST_SKIP() << program << " is not installed";
    }
    if (GetParam().bus == BusKind::jetstream) nats_.emplace();
    const std::uint16_t port = free_port();
    source_.emplace(DockerRegistry::Options{
        fmt::format("http://127.0.0.1:{}/intake/us-east", port), true, 0, {}});
    target_.emplace();
    daemon_.emplace(TRANSSHIP_PROGRAM, configuration(), std::vector<std::string>{}, port);
    ASSERT_TRUE(daemon_->wait_until_ready()) << daemon_->log();
    victims_.push_back({"daemon", [this] { kill_daemon(); }, [this] { daemon_->start(); }});
    victims_.push_back({"target", [this] { target_->stop(); }, [this] { target_->start(); }});
    if (nats_) victims_.push_back({"bus", [this] { nats_->kill(); }, [this] { nats_->start(); }});
    if (GetParam().kills_source)
      victims_.push_back({"source", [this] { source_->stop(); }, [this] { source_->start(); }});
  }
  [[nodiscard]] std::string configuration() const {
    return fmt::format(
        "registries:\n  us-east: {{url: '{}'}}\n  eu-west: {{url: '{}'}}\n{}"
        "retry: {{first_pause: 50ms, longest_pause: 500ms}}\nlog: {{level: debug}}\n"
        "reconcile: {}\n"
        "rules:\n  - {{name: all, source: us-east, targets: [eu-west], repositories: '**'}}\n",
        source_->url(), target_->url(),
        nats_ ? fmt::format("bus: {{type: jetstream, servers: ['{}']}}\n", nats_->url()) : "",
        GetParam().kills_source ? "{interval: 3s}" : "{at_start: false, interval: 7d}");
  }
  void kill_daemon() {
    EXPECT_TRUE(daemon_->process().running()) << "it ended by itself";
    daemon_->kill();
  }

  // One after another, in the order that the seed gives; then all is up.
  void rage(seconds duration) {
    std::mt19937_64 random(seed_);
    const auto until = Clock::now() + duration;
    while (Clock::now() < until) {
      pass_time(random, 1000);
      Victim& victim = victims_[random() % victims_.size()];
      victim.kill();
      ++victim.kills;
      pass_time(random, 800);
      victim.start();
    }
  }
  // Empty where the target shows all that was pushed.
  std::string out_of_step() {
    for (const Writer& writer : writers_) {
      for (const auto& [tag, digest] : writer.pushed()) {
        if (digest_at(target_->url(), writer.repository(), tag) != digest)
          return writer.repository() + ":" + tag;
      }
    }
    return {};
  }
  std::string incomplete() {
    for (const Writer& writer : writers_) {
      for (const auto& [tag, digest] : writer.pushed()) {
        std::string what = incompleteness(target_->url(), writer.repository(), tag);
        if (!what.empty()) return fmt::format("{}:{} {}", writer.repository(), tag, what);
      }
    }
    return {};
  }
  double metric(const std::string& series) { return daemon_->metric(series).value_or(-1); }
  bool is_settled() {
    return metric(R"(transship_oldest_pending_seconds{rule="all",target="eu-west"})") == 0 &&
           metric(R"(transship_dead_letters{target="eu-west"})") == 0 &&
           metric("transship_bus_pending_events") == 0;
  }
  [[nodiscard]] std::string story() const {
    std::string text = fmt::format("seed {}:", seed_);
    for (const Victim& victim : victims_)
      text += fmt::format(" {} killed {} times,", victim.name, victim.kills);
    for (const Writer& writer : writers_)
      text += fmt::format(" {} pushes to {} tags ({} torn),", writer.pushes(),
                          writer.pushed().size(), writer.torn());
    return text;
  }
  // What went wrong long ago is at the beginning of a log that is too long to print.
  std::string kept_log() const {
    const auto file = std::filesystem::temp_directory_path() /
                      fmt::format("transship-chaos-{}-{}.log", seed_, target_->port());
    write_file(file, daemon_->log());
    return fmt::format("{} The daemon's log is kept in {}", story(), file.string());
  }

  const std::uint64_t seed_ = from_environment("TRANSSHIP_CHAOS_SEED", 1);
  std::optional<NatsServer> nats_;
  std::optional<DockerRegistry> source_;
  std::optional<DockerRegistry> target_;
  std::optional<DaemonProcess> daemon_;
  std::vector<Victim> victims_;
  std::vector<Writer> writers_;
};

INSTANTIATE_TEST_SUITE_P(
    Bus, Chaos,
    ::testing::Values(Variant{BusKind::journal, false}, Variant{BusKind::journal, true},
                      Variant{BusKind::jetstream, false}, Variant{BusKind::jetstream, true}),
    [](const auto& info) {
      return std::string(info.param.bus == BusKind::journal ? "journal" : "jetstream") +
             (info.param.kills_source ? "" : "_events_alone");
    });

TEST_P(Chaos, KillsLoseNothingAndNoTagIsEverIncomplete) {
  for (int i = 0; i < writers_count; ++i) writers_.emplace_back(source_->url(), i, seed_);
  Watcher watcher(target_->url());
  std::atomic<bool> enough_pushed{false};
  std::atomic<bool> enough_watched{false};
  std::vector<std::thread> pushing;
  for (Writer& writer : writers_) pushing.emplace_back([&] { writer.push_until(enough_pushed); });
  std::thread watching([&] { watcher.watch_until(enough_watched); });

  EXPECT_NO_THROW(rage(seconds(from_environment("TRANSSHIP_CHAOS_SECONDS", 15))));
  enough_pushed = true;
  for (std::thread& thread : pushing) thread.join();
  const auto calm = Clock::now();
  for (Writer& writer : writers_) writer.push_torn_again();
  EXPECT_TRUE(eventually([&] { return out_of_step().empty(); }, patience))
      << out_of_step() << " is not in step: " << kept_log();
  const auto in_step = Clock::now();
  EXPECT_TRUE(eventually([&] { return is_settled(); }, patience)) << kept_log();
  const auto settled = Clock::now();
  enough_watched = true;
  watching.join();
  watcher.look_at_all();
  // Of what was complete a kill may have torn the link of a blob, which docker-registry writes
  // again whenever it is asked to mount it: no fault of ours, and mended.
  EXPECT_EQ(http("POST", daemon_->url() + "/api/v1/reconcile", R"({"closure":true})").status, 202);
  EXPECT_TRUE(eventually([&] { return incomplete().empty(); }, patience))
      << incomplete() << " " << kept_log();
  EXPECT_TRUE(daemon_->process().running());
  EXPECT_GT(watcher.manifests(), 0u);
  for (const Writer& writer : writers_) {
    EXPECT_FALSE(writer.gave_up()) << "the source took no push any more";
    EXPECT_TRUE(GetParam().kills_source || writer.torn() == 0);
  }
  const std::string log = daemon_->log();
  for (const char* never : {"AddressSanitizer", "runtime error:", "internal error"})
    EXPECT_EQ(log.find(never), std::string::npos) << kept_log();
  const auto seconds_of = [](Clock::duration took) {
    return std::chrono::duration<double>(took).count();
  };
  std::cout << fmt::format(
      "{} in step {:.1f} s and settled {:.1f} s after the last, {} manifests watched in {} "
      "rounds\n",
      story(), seconds_of(in_step - calm), seconds_of(settled - calm), watcher.manifests(),
      watcher.rounds());
}

}  // namespace
}  // namespace transship::testing
