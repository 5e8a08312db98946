#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/cancellation.h"
#include "storage/gate.h"
#include "storage/segment/catalog.h"
#include "storage/segment/id_files.h"
#include "storage/segment/id_sorter.h"
#include "storage/segment/memory_line.h"
#include "storage/segment/name_locks.h"
#include "storage/segment/read_context.h"
#include "storage/segment/results.h"
#include "storage/segment/work_list.h"
#include "storage/segments.h"
#include "storage/thread_pool.h"

namespace thermocline::storage::segment {

class SourceFetches;

// What queries, changes and rewrites share. Thread-safe.
class Core {
 public:
  Core(const SegmentsOptions& options, const SegmentsWorld& world) : options(options), world(world) {}

  // Opens the catalog and removes files that nobody names.
  absl::Status Open();
  // Nothing new begins; returns when all readings are gone.
  absl::Status Close();

  // What the streams of a query need; let go of after them.
  struct Reading {
    struct Inside {
      explicit Inside(Gate& entered) : gate(entered) {}
      ~Inside() { gate.Leave(); }
      Gate& gate;
    };
    explicit Reading(Gate& entered) : inside(entered) {}

    const Inside inside;  // the last to go
    MemoryLine::Grant memory;
    IdFiles::Pins pins;
    std::vector<IdFiles::Pins> source_pins;              // of the files of its sources
    std::vector<std::shared_ptr<const void>> part_pins;  // of the files of its plan's parts
    std::shared_ptr<const Catalog::Snapshot> at;
    std::shared_ptr<const void> listed;
  };
  // UNAVAILABLE: closed.
  absl::StatusOr<std::shared_ptr<Reading>> NewReading();
  std::shared_ptr<ReadContext> NewContext() { return std::make_shared<ReadContext>(gate, total); }
  // `inside` is a reading.
  std::shared_ptr<IdSorter> NewSorter(std::shared_ptr<const void> inside, Cancellation cancellation = {});

  // After a batch was written: makes it durable; removes the files that the catalog does not name any more,
  // and forgets the results that depend on the segment that changed (0: none has).
  absl::Status Settle(uint64_t changed_segment, std::vector<uint64_t> removed_files);
  void KeepResult(ResultEntry entry);
  void ForgetResult(const std::string& key);

  // Counts what a segment has (1), or had (-1), in the figures below.
  void Count(const SegmentEntry& entry, int sign);

  SegmentInfo Info(std::string_view name, const SegmentEntry& entry) const;

  const SegmentsOptions options;
  const SegmentsWorld world;
  const Cancellation closing = Cancellation::New();
  Gate gate;  // readings and reads are inside
  ReadCounts total;
  WorkList works;
  std::unique_ptr<Catalog> catalog;
  std::shared_ptr<IdFiles> files;
  std::shared_ptr<MemoryLine> memory;         // of queries
  std::shared_ptr<MemoryLine> change_memory;  // of changes and rewrites
  // What fetches of sources may have of that: they wait here as long as it takes, and so nobody else does.
  std::shared_ptr<MemoryLine> fetch_memory;
  std::shared_ptr<SourceFetches> fetches;
  std::unique_ptr<ThreadPool>
      fetch_threads;  // that read sources, and may wait for hours; nullptr: there are none
  std::shared_ptr<MemoryLine> export_memory;  // what exports may take of that of queries, one after the other
  std::unique_ptr<Results> results;
  std::unique_ptr<NameLocks> locks;  // every change of a segment happens under its name's
  // Held shared from a look into catalog or results until the files that they name are pinned; alone while
  // files are removed.
  std::shared_mutex naming;

  // Of all segments.
  std::atomic<uint64_t> segments{0};
  std::atomic<uint64_t> id_files{0};
  std::atomic<uint64_t> id_file_bytes{0};
  std::atomic<uint64_t> recent_changes{0};
  std::atomic<uint64_t> ids_returned{0};
  std::atomic<uint64_t> queries{0};
  std::atomic<int> keeping{0};  // results on their way into files

 private:
  void RemoveFiles(const std::vector<uint64_t>& numbers);
};

}  // namespace thermocline::storage::segment
