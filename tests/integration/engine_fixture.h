#pragma once

#include <gtest/gtest.h>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <map>
#include <optional>

#include "replicator/image_copy.h"
#include "tests/support/memory_registry.h"

namespace transship::testing {

// An event loop that a test runs until what it waits for has happened.
class Loop {
 public:
  asio::any_io_executor executor() { return io_.get_executor(); }

  // A coroutine under way.
  template <class T>
  struct Running {
    std::optional<T> result;
    bool threw = false;
    asio::cancellation_signal cancel_signal;
    [[nodiscard]] bool done() const { return result.has_value() || threw; }
    void cancel() { cancel_signal.emit(asio::cancellation_type::terminal); }
  };

  template <class T>
  std::shared_ptr<Running<T>> start(asio::awaitable<T> work) {
    auto running = std::make_shared<Running<T>>();
    asio::co_spawn(io_, hand_over(std::move(work), running),
                   asio::bind_cancellation_slot(running->cancel_signal.slot(),
                                                [running](std::exception_ptr thrown) {
                                                  running->threw = thrown != nullptr;
                                                }));
    return running;
  }
  // False when it has not come true in time.
  bool run_until(const std::function<bool()>& condition,
                 std::chrono::seconds patience = std::chrono::seconds(60)) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    io_.restart();
    while (!condition() && std::chrono::steady_clock::now() < deadline)
      io_.run_one_for(std::chrono::milliseconds(20));
    return condition();
  }
  template <class T>
  T await(std::shared_ptr<Running<T>> running) {
    if (!run_until([&] { return running->done(); }))
      throw std::runtime_error("the coroutine does not end");
    if (running->threw) throw std::runtime_error("the coroutine ended by an exception");
    return std::move(*running->result);
  }
  template <class T>
  T run(asio::awaitable<T> work) {
    return await(start(std::move(work)));
  }

 private:
  template <class T>
  static asio::awaitable<void> hand_over(asio::awaitable<T> work,
                                         std::shared_ptr<Running<T>> running) {
    running->result.emplace(co_await std::move(work));
  }
  asio::io_context io_;
};

// Counts what the engine tells.
struct CountingObserver final : Observer {
  void request_done(std::string_view, std::string_view, int code,
                    std::chrono::duration<double>) override {
    ++requests;
    ++codes[code];
  }
  void request_retried(std::string_view, std::string_view reason) override {
    ++retries[std::string(reason)];
  }
  void blob_done(std::string_view, std::string_view, BlobOutcome outcome,
                 std::uint64_t bytes) override {
    ++blobs[outcome];
    blob_bytes[outcome] += bytes;
  }
  void bytes_moved(std::string_view, std::string_view, std::uint64_t bytes) override {
    moved += bytes;
  }
  void transfers_changed(std::string_view, int by) override {
    under_way += by;
    most_under_way = std::max(most_under_way, under_way);
  }

  std::size_t requests = 0;
  std::map<int, std::size_t> codes;
  std::map<std::string, std::size_t> retries;
  std::map<BlobOutcome, std::size_t> blobs;
  std::map<BlobOutcome, std::uint64_t> blob_bytes;
  std::uint64_t moved = 0;
  int under_way = 0;
  int most_under_way = 0;
};

// Credentials that a test gives, and how often they were asked for.
class GivenCredentials final : public registry::CredentialSource {
 public:
  GivenCredentials(std::string username, std::string password)
      : credentials_{std::move(username), Secret(std::move(password)), {}} {}
  asio::awaitable<Result<std::optional<registry::Credentials>>> get() override {
    co_return credentials_;
  }

 private:
  registry::Credentials credentials_;
};

// Registries in memory and the engine that copies between them.
class EngineTest : public ::testing::Test {
 protected:
  struct Options {
    std::size_t connections = 32;
    std::chrono::milliseconds longest_wait{5'000};
    http::Timeouts timeouts = {};
    std::string username = {};
    std::string password = {};
  };

  static Options connections(std::size_t at_once) {
    Options options;
    options.connections = at_once;
    return options;
  }
  static Options single() { return connections(1); }

  registry::Registry& connect(const std::string& name, const std::string& url) {
    return connect(name, url, Options{});
  }
  registry::Registry& connect(const std::string& name, const std::string& url,
                              const Options& options) {
    registry::TransportOptions transport;
    transport.name = name;
    transport.url = *http::Url::parse(url);
    transport.connections = options.connections;
    transport.longest_wait = options.longest_wait;
    transport.timeouts = options.timeouts;
    std::unique_ptr<registry::CredentialSource> credentials = registry::anonymous();
    if (!options.username.empty()) {
      credentials = std::make_unique<GivenCredentials>(options.username, options.password);
    }
    registries_.push_back(std::make_unique<registry::Registry>(client_, std::move(transport),
                                                               std::move(credentials), observer_));
    return *registries_.back();
  }
  Target& target_of(registry::Registry& registry, std::size_t blobs_at_once = 16) {
    targets_.push_back(
        std::make_unique<Target>(loop_.executor(), registry, blobs_at_once, *commons_));
    return *targets_.back();
  }

  static oci::Repository repository(const std::string& name) {
    return *oci::Repository::parse(name);
  }
  static oci::Reference reference(const std::string& text) { return *oci::Reference::parse(text); }

  // "team/app:v1" to "mirror/app", under the same tag, else by its digest.
  static ImageJob job(registry::Registry& source, const std::string& image, Target& target,
                      const std::string& to) {
    auto name = *oci::ImageName::parse(image);
    std::optional<oci::Tag> tag;
    if (name.reference.tag() != nullptr) tag = *name.reference.tag();
    return ImageJob{source, name.repository, name.reference, target, repository(to), tag};
  }

  Loop loop_;
  CountingObserver observer_;
  http::Client client_{loop_.executor(), "transship-test"};
  std::vector<std::unique_ptr<registry::Registry>> registries_;
  std::unique_ptr<Commons> commons_ = std::make_unique<Commons>(loop_.executor());
  std::vector<std::unique_ptr<Target>> targets_;
};

}  // namespace transship::testing
