#pragma once

#include <asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/config.h"
#include "daemon/commands/commands.h"
#include "daemon/extras.h"
#include "daemon/fleet.h"
#include "daemon/two_way.h"
#include "replicator/image_copy.h"
#include "replicator/referrers.h"

// What `plan`, `sync` and `verify` have in common: they go over the images that the rules match, at
// the targets of every region, and do something with each.
namespace transship::commands {

// One image at one target.
struct Visit {
  const config::Rule& rule;
  std::string target;
  oci::Repository repository;
  oci::Reference reference;
  oci::Repository target_repository;
  std::optional<ImageJob::Seen> target_seen;  // absent, where the target's list says so
  std::optional<oci::Digest> source_seen;     // where the source was asked already
  // The repository's tags at the source, where they were listed: its signatures are among them.
  TagList source_tags = {};

  [[nodiscard]] std::string image() const { return repository.str() + reference.suffix(); }
  [[nodiscard]] std::string target_image() const {
    return target_repository.str() + reference.suffix();
  }
};

// The engine's job for it, with what was seen already.
ImageJob job_of(const Visit& visit, Fleet& fleet);

// Of two-way rules, the newer push wins: what the target shows may have to stay. Where nobody can
// know which it is, the job fails with `conflict`.
void let_newer_win(ImageJob& job, TwoWay& two_way, const config::Config& config,
                   const Visit& visit);

// An image or a list that could not be had; names that are not known are empty.
struct Unexamined {
  std::string rule;
  std::string target;
  std::string image;
  Error error;
};
Unexamined unexamined(const Visit& visit, Error error);
// Of an image that the source does not have.
Error absent_at_source(const Visit& visit);

// What a command does with each.
class Visitor {
 public:
  virtual ~Visitor() = default;
  virtual asio::awaitable<void> visit(Visit visit) = 0;
  virtual void unexamined(const Unexamined& what) = 0;
  // What a target has too much by a rule whose deletes propagate; after the rule's images.
  virtual asio::awaitable<void> extras(const config::Rule& rule, Extras extras) = 0;
  // Whether what is no longer as a rule placed it may be forgotten.
  [[nodiscard]] virtual bool keeps_memory() const { return false; }
  // So many visits will come.
  virtual void expect(std::uint64_t images) = 0;
  // The loop runs, or will not run any more.
  virtual void started(asio::any_io_executor executor) = 0;
  virtual void stopped() = 0;
  // Prints the sums. 0, or 1 where something failed or differs.
  virtual int finish() = 0;
};

// Which registries answered anything at all.
class Answers : public Observer {
 public:
  void request_done(std::string_view registry, std::string_view method, int code,
                    std::chrono::duration<double> seconds) override;
  void bytes_moved(std::string_view source, std::string_view target, std::uint64_t bytes) override;
  [[nodiscard]] bool from(const std::string& registry) const {
    return answered_.contains(registry);
  }
  // It was asked, and never said anything.
  [[nodiscard]] bool silent(const std::string& registry) const {
    return asked_.contains(registry) && !from(registry);
  }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  std::set<std::string> asked_;
  std::set<std::string> answered_;
  std::uint64_t bytes_ = 0;
};

// Goes over what the rules match. Lists are read once for each repository and side; images are
// visited side by side, as many at once as `transfers.images` allows for each target.
class Batch {
 public:
  Batch(asio::any_io_executor executor, const config::Config& config, Fleet& fleet,
        PlacedTags& placed, Selection selection, Visitor& visitor);

  asio::awaitable<void> run();

 private:
  struct Side;
  asio::awaitable<void> over_rule(const config::Rule& rule, ExtraSearch* extras);
  asio::awaitable<void> over_named(const config::Rule& rule, ExtraSearch* extras);
  asio::awaitable<void> over_extras(const config::Rule& rule, ExtraSearch& extras);
  asio::awaitable<void> over_repository(const config::Rule& rule, oci::Repository repository,
                                        std::set<std::string>& dead, ExtraSearch* extras);
  asio::awaitable<Result<void>> over_tag(const config::Rule& rule, const std::vector<Side>& sides,
                                         oci::Repository repository, oci::Tag tag,
                                         TagList source_tags);
  [[nodiscard]] std::vector<std::string> targets_of(const config::Rule& rule) const;
  [[nodiscard]] std::optional<oci::Repository> target_repository(const config::Rule& rule,
                                                                 const std::string& target,
                                                                 const oci::Repository& repository);
  void list_failed(const config::Rule& rule, const Error& error);

  asio::any_io_executor executor_;
  const config::Config& config_;
  Fleet& fleet_;
  PlacedTags& placed_;
  Selection selection_;
  Visitor& visitor_;
  std::set<std::string> matched_;  // named images that some rule wanted
};

// Reads the configuration, checks the selection against it, and takes `make`'s visitor over
// everything. Returns the command's exit code: 2 for a mistake, 1 when interrupted, 3 where every
// source or every target needed never answered, else what the visitor's finish() says.
using MakeVisitor =
    std::function<std::unique_ptr<Visitor>(const config::Config&, Fleet&, PlacedTags&)>;
int run_batch(const Common& common, const Selection& selection, Answers& answers,
              const MakeVisitor& make);

}  // namespace transship::commands
