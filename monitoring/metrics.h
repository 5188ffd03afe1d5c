#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "monitoring/ledger.h"
#include "replicator/base/observer.h"

namespace transship::monitoring {

// Everything that Prometheus sees, by the names and labels of the table in monitoring/README.md.
// Label sets are small: never a repository, a tag or a digest. Used from the loop alone.
class Metrics final : public Observer {
 public:
  Metrics(std::string version, std::string region);
  ~Metrics() override;

  // Exports a pair's series from now on, at zero.
  void add_pair(const Pair& pair);
  void add_registry(std::string_view registry);
  // Ends that, whatever is still heard of the pair later. What other pairs share with it stays.
  void remove_pair(const Pair& pair, const std::vector<Pair>& pairs_left);
  void remove_registry(std::string_view registry);

  // The engine's side.
  void request_done(std::string_view registry, std::string_view method, int code,
                    std::chrono::duration<double> seconds) override;
  void request_retried(std::string_view registry, std::string_view reason) override;
  void blob_done(std::string_view source, std::string_view target, BlobOutcome outcome,
                 std::uint64_t bytes) override;
  void transfers_changed(std::string_view target, int by) override;

  // The daemon's side.
  void image_done(const Pair& pair, std::string_view outcome);
  // A tag of the target was to go: deleted, kept (it is not ours to delete, or the breaker stopped
  // it) or failed.
  void tags_deleted(const Pair& pair, std::string_view outcome, std::uint64_t count = 1);
  void lag_observed(const Pair& pair, std::chrono::duration<double> lag);
  void events_seen(std::string_view registry, std::string_view outcome, std::uint64_t count = 1);
  void set_bus(bool connected, std::uint64_t pending_events);
  void set_dead_letters(std::string_view target, std::uint64_t count);
  void reconciled(const Pair& pair, Time at, std::chrono::duration<double> took);
  // When a certificate for a registry stops being valid; kind: client, ca or server. None: there is
  // no such certificate any more.
  void set_certificate_end(std::string_view registry, std::string_view kind,
                           std::optional<Time> at);
  // The same of a credential; kind: password, or bus, which is no registry's.
  void set_credential_end(std::string_view registry, std::string_view kind, std::optional<Time> at);
  // How late the event loop came to what was due.
  void loop_delayed(std::chrono::duration<double> by);
  void set_drift(const Pair& pair, std::string_view kind, std::uint64_t images);

  // What was counted so far: images of the pair that were copied, and bytes that were sent from its
  // source to its target.
  [[nodiscard]] double images_copied(const Pair& pair) const;
  [[nodiscard]] double bytes_copied(const Pair& pair) const;

  // The text exposition format, version 0.0.4, with what the ledger says at this moment.
  std::string render(const Ledger& ledger, Time now);

 private:
  void remove_rule_and_target(const Pair& pair);

  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace transship::monitoring
