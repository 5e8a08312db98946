#include "storage/segments.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "storage/segment/change.h"
#include "storage/segment/core.h"
#include "storage/segment/export.h"
#include "storage/segment/expression.h"
#include "storage/segment/planner.h"
#include "storage/segment/query.h"
#include "storage/segment/query_start.h"
#include "storage/segment/rewriter.h"

namespace thermocline::storage {
namespace {

using segment::Catalog;
using segment::Core;
using segment::Layer;
using segment::MemoryLine;
using segment::QueryStart;
using segment::SegmentEntry;

constexpr size_t kMostListed = 100;
constexpr size_t kStorePageIds = 64 << 10;

absl::Status CheckName(std::string_view name) {
  if (segment::IsSegmentName(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "the segment's name has {} bytes: it must have 1 to {} bytes of UTF-8 without control characters",
      name.size(), kMaxSegmentNameBytes));
}

// Copies the pages of a query into a segment.
struct Storing {
  std::unique_ptr<SegmentQuery> query;
  std::unique_ptr<SegmentWrite> write;
  IdPage page;
  absl::AnyInvocable<void(absl::Status)> done;
};

void End(const std::shared_ptr<Storing>& storing, const absl::Status& status) {
  absl::AnyInvocable<void(absl::Status)> done = std::move(storing->done);
  storing->query = nullptr;
  storing->write = nullptr;
  done(status);
}

// Says of each file what was read of it; `leaves` are in the order of the plan.
void Measure(SegmentPlan& step, const std::vector<std::shared_ptr<segment::ReadCounts>>& leaves,
             size_t& leaf) {
  const bool part = step.kind == SegmentPlan::Kind::kPart;
  if ((part || step.kind == SegmentPlan::Kind::kFile) && leaf < leaves.size()) {
    const segment::ReadCounts& counts = *leaves[leaf++];
    step.blocks_read = counts.blocks_read.load(std::memory_order_relaxed);
    step.bytes_read = counts.bytes_read.load(std::memory_order_relaxed);
  }
  if (part) return;  // what it was made of was read before
  for (SegmentPlan& input : step.inputs) Measure(input, leaves, leaf);
}

}  // namespace

class Segments::Impl {
 public:
  Impl(const SegmentsOptions& options, const SegmentsWorld& world)
      : core_(std::make_shared<Core>(options, world)),
        rewriter_(std::make_shared<segment::Rewriter>(core_)) {}

  absl::Status Open() { return core_->Open(); }

  absl::Status Close() {
    if (std::exchange(closed_, true)) return absl::OkStatus();
    rewriter_->Stop();
    return core_->Close();
  }

  absl::StatusOr<std::unique_ptr<SegmentWrite>> Write(std::string_view name, SegmentChange change,
                                                      const SegmentWriteOptions& options) {
    if (absl::Status status = CheckName(name); !status.ok()) return status;
    if (absl::Status status = core_->catalog->write_status(); !status.ok()) return status;
    absl::StatusOr<std::shared_ptr<Core::Reading>> inside = core_->NewReading();
    if (!inside.ok()) return inside.status();
    return std::unique_ptr<SegmentWrite>(new SegmentWrite(std::make_shared<SegmentWrite::Impl>(
        core_, *rewriter_, *std::move(inside), std::string(name), change, options)));
  }

  void Query(std::string_view expression, const SegmentQueryOptions& options, QueryDone done) {
    absl::StatusOr<std::shared_ptr<QueryStart>> start = QueryStart::Parse(core_, expression, options);
    if (!start.ok()) return done(start.status());
    (*start)->Look(/*fetch=*/true,
                   [start = *start, done = std::move(done)](const absl::Status& status) mutable {
                     if (!status.ok()) return done(status);
                     start->Begin(std::move(done));
                   });
  }

  void Store(std::string_view expression, std::string_view name, const SegmentQueryOptions& options,
             StoreDone done);
  void Explain(std::string_view expression, bool execute, SegmentQueryOptions options, ExplainDone done);

  void List(std::string prefix, std::string after, size_t limit, ListDone done) {
    InBackground(std::move(done), [this, prefix, after, limit]() -> absl::StatusOr<std::vector<SegmentInfo>> {
      std::vector<SegmentInfo> list;
      if (limit == 0) return list;
      const absl::Status status = core_->catalog->ForEach(
          prefix, after, nullptr, [&](std::string_view name, const SegmentEntry& entry) {
            list.push_back(core_->Info(name, entry));
            return list.size() < limit;
          });
      if (!status.ok()) return status;
      return list;
    });
  }

  void Describe(std::string name, DescribeDone done) {
    InBackground(std::move(done), [this, name]() -> absl::StatusOr<SegmentInfo> {
      absl::StatusOr<std::optional<SegmentEntry>> entry = core_->catalog->Find(name);
      if (!entry.ok()) return entry.status();
      if (!entry->has_value())
        return absl::NotFoundError(fmt::format("there is no segment with the name {}", name));
      return core_->Info(name, **entry);
    });
  }

  void Drop(std::string name, DropDone done);
  SegmentsStats Stats() const;

  const std::shared_ptr<Core>& core() const { return core_; }

 private:
  template <typename Done, typename Do>
  void InBackground(Done done, Do what) {
    absl::StatusOr<std::shared_ptr<Core::Reading>> inside = core_->NewReading();
    if (!inside.ok()) return done(inside.status());
    core_->world.changes.Run(
        [inside = *std::move(inside), done = std::move(done), what]() mutable { done(what()); });
  }

  const std::shared_ptr<Core> core_;
  const std::shared_ptr<segment::Rewriter> rewriter_;
  bool closed_ = false;
};

namespace {

// One page after the other, each of which may be anything but the last.
void StoreNextPage(const std::shared_ptr<Storing>& storing) {
  storing->query->Next(
      kStorePageIds, /*bitmaps=*/false, &storing->page, [storing](const absl::Status& status) {
        if (!status.ok()) return End(storing, status);
        storing->write->Add(storing->page.ids, [storing](const absl::Status& added) {
          if (!added.ok()) return End(storing, added);
          if (!storing->page.done) return StoreNextPage(storing);
          storing->query = nullptr;  // its memory may be what others wait for
          storing->write->Finish(
              [storing](const absl::StatusOr<SegmentWriteResult>& result) { End(storing, result.status()); });
        });
      });
}

}  // namespace

void Segments::Impl::Store(std::string_view expression, std::string_view name,
                           const SegmentQueryOptions& options, StoreDone done) {
  auto storing = std::make_shared<Storing>();
  storing->done = [this, name = std::string(name),
                   done = std::move(done)](const absl::Status& status) mutable {
    if (!status.ok()) return done(status);
    Describe(std::move(name), std::move(done));
  };
  absl::StatusOr<std::unique_ptr<SegmentWrite>> write = Write(name, SegmentChange::kReplace, {});
  if (!write.ok()) return End(storing, write.status());
  storing->write = *std::move(write);
  SegmentQueryOptions once = options;
  once.keep_result = false;  // it is kept as a segment
  Query(expression, once, [storing](absl::StatusOr<std::unique_ptr<SegmentQuery>> query) {
    if (!query.ok()) return End(storing, query.status());
    storing->query = *std::move(query);
    StoreNextPage(storing);
  });
}

void Segments::Impl::Explain(std::string_view expression, bool execute, SegmentQueryOptions options,
                             ExplainDone done) {
  options.use_kept_result = !execute;
  absl::StatusOr<std::shared_ptr<QueryStart>> parsed = QueryStart::Parse(core_, expression, options);
  if (!parsed.ok()) return done(parsed.status());
  (*parsed)->Look(
      execute, [start = *parsed, execute, done = std::move(done)](const absl::Status& status) mutable {
        if (!status.ok()) return done(status);
        auto explanation = std::make_shared<SegmentExplanation>(start->Explain());
        if (!execute) return done(std::move(*explanation));
        start->Begin([start, explanation,
                      done = std::move(done)](absl::StatusOr<std::unique_ptr<SegmentQuery>> query) mutable {
          if (!query.ok()) return done(query.status());
          const std::shared_ptr<SegmentQuery> shared = *std::move(query);
          shared->Count([shared, start, explanation,
                         done = std::move(done)](const absl::StatusOr<uint64_t>& count) mutable {
            if (!count.ok()) return done(count.status());
            *explanation = start->Explain();  // with parts that have been written
            explanation->plan.exact_count = *count;
            explanation->execution = shared->progress();
            size_t leaf = 0;
            Measure(explanation->plan, start->leaves(), leaf);
            done(std::move(*explanation));
          });
        });
      });
}

void Segments::Impl::Drop(std::string name, DropDone done) {
  absl::StatusOr<std::shared_ptr<Core::Reading>> inside = core_->NewReading();
  if (!inside.ok()) return done(inside.status());
  auto drop = [core = core_, inside = *std::move(inside), name, done = std::move(done)]() mutable {
    absl::StatusOr<std::optional<SegmentEntry>> entry = core->catalog->Find(name);
    if (!entry.ok() || !entry->has_value()) {
      core->locks->Release(name);
      if (entry.ok()) return done(false);
      return done(entry.status());
    }
    Catalog::Batch batch;
    std::vector<uint64_t> removed;
    batch.Remove(name);
    for (const Layer& layer : (*entry)->layers) {
      if (layer.recent != 0) {
        batch.DropRecent(layer.recent);
        continue;
      }
      for (const uint64_t number : {layer.adds.number, layer.removes.number}) {
        if (number != 0) removed.push_back(number);
      }
    }
    absl::Status status = core->catalog->Write(batch);
    if (status.ok()) core->Count(**entry, -1);
    core->locks->Release(name);
    if (status.ok()) status = core->Settle((*entry)->id, std::move(removed));
    if (!status.ok()) return done(status);
    done(true);
  };
  core_->locks->Acquire(
      name, [core = core_, drop = std::move(drop)]() mutable { core->world.changes.Run(std::move(drop)); });
}

SegmentsStats Segments::Impl::Stats() const {
  SegmentsStats stats;
  const MemoryLine::Counts memory = core_->memory->counts();
  const MemoryLine::Counts changes = core_->change_memory->counts();
  stats.memory_limit = core_->options.memory_bytes;
  stats.memory_used = core_->options.memory_bytes - core_->memory->limit() - core_->change_memory->limit() +
                      memory.used + changes.used;
  stats.queries_waiting = memory.waiting;
  stats.changes_waiting = changes.waiting;
  stats.queries_refused = memory.refused;
  stats.queries = core_->queries.load(std::memory_order_relaxed);
  stats.segments = core_->segments.load(std::memory_order_relaxed);
  stats.id_files = core_->id_files.load(std::memory_order_relaxed);
  stats.id_file_bytes = core_->id_file_bytes.load(std::memory_order_relaxed);
  stats.recent_changes = core_->recent_changes.load(std::memory_order_relaxed);
  stats.ids_returned = core_->ids_returned.load(std::memory_order_relaxed);
  const segment::Results::Counts results = core_->results->counts();
  stats.kept_results = results.results;
  stats.kept_result_bytes = results.bytes;
  stats.kept_result_hits = results.hits;
  stats.blocks_read = core_->total.blocks_read.load(std::memory_order_relaxed);
  stats.bytes_read = core_->total.bytes_read.load(std::memory_order_relaxed);
  const segment::Rewriter::Counts rewrites = rewriter_->counts();
  stats.rewrites = rewrites.rewrites;
  stats.rewrite_status = rewrites.last_status;
  stats.write_status = core_->catalog->write_status();
  stats.running = core_->works.List(kMostListed);
  return stats;
}

Segments::Segments(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Segments::~Segments() { impl_->Close().IgnoreError(); }

absl::StatusOr<std::unique_ptr<Segments>> Segments::Open(const SegmentsOptions& options,
                                                         const SegmentsWorld& world) {
  auto impl = std::make_unique<Impl>(options, world);
  if (absl::Status status = impl->Open(); !status.ok()) return status;
  return std::unique_ptr<Segments>(new Segments(std::move(impl)));
}

absl::Status Segments::Close() { return impl_->Close(); }

absl::StatusOr<std::unique_ptr<SegmentWrite>> Segments::Write(std::string_view name, SegmentChange change,
                                                              const SegmentWriteOptions& options) {
  return impl_->Write(name, change, options);
}

void Segments::Query(std::string_view expression, const SegmentQueryOptions& options, QueryDone done) {
  impl_->Query(expression, options, std::move(done));
}

void Segments::Store(std::string_view expression, std::string_view name, const SegmentQueryOptions& options,
                     StoreDone done) {
  impl_->Store(expression, name, options, std::move(done));
}

void Segments::Explain(std::string_view expression, bool execute, const SegmentQueryOptions& options,
                       ExplainDone done) {
  impl_->Explain(expression, execute, options, std::move(done));
}

void Segments::List(std::string_view prefix, std::string_view after, size_t limit, ListDone done) {
  impl_->List(std::string(prefix), std::string(after), limit, std::move(done));
}

void Segments::Describe(std::string_view name, DescribeDone done) {
  impl_->Describe(std::string(name), std::move(done));
}
void Segments::Drop(std::string_view name, DropDone done) { impl_->Drop(std::string(name), std::move(done)); }
SegmentsStats Segments::Stats() const { return impl_->Stats(); }

std::unique_ptr<SegmentExport> Segments::Export(std::string_view expression,
                                                const SegmentExportOptions& options, CreateObject create,
                                                ExportDone done) {
  auto exported = std::make_shared<SegmentExport::Impl>(impl_->core(), *this, expression, options,
                                                        std::move(create), std::move(done));
  exported->Begin();
  return std::unique_ptr<SegmentExport>(new SegmentExport(std::move(exported)));
}

}  // namespace thermocline::storage
