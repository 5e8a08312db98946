#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "storage/segment/catalog.h"
#include "storage/segment/expression.h"
#include "storage/segment/id_files.h"
#include "storage/segment/id_stream.h"
#include "storage/segment/read_context.h"
#include "storage/segments.h"

namespace thermocline::storage::segment {

// What a query reads and in which order: its expression, with names resolved at one moment.
struct Plan {
  enum class Kind : uint8_t {
    kUnion,
    kIntersection,
    kDifference,
    kFile,
    kRecent,
    kEmpty,
    kPart,    // a file that its one input is written to first, because all does not fit the memory
    kSource,  // a file that a source's ids are written to first
  };
  Kind kind = Kind::kEmpty;
  std::vector<Plan> inputs;
  std::string segment;  // of kFile and kRecent; of kSource: its text
  FileEntry file;       // of kFile, kPart and kSource; of the latter two, 0 until it is written
  std::shared_ptr<const void> written;  // of kPart: what keeps its file
  uint64_t recent = 0;                  // of kRecent: the layer,
  bool adds = true;                     // and which of its sides
  uint64_t min_count = 0;
  uint64_t max_count = 0;
};

// An expression with the segments it names, as they are at one moment.
struct Resolved {
  Plan plan;
  // 16 bytes that are the same if and (as good as) only if the normal form, the segments and their versions
  // are.
  std::string key;
  std::vector<uint64_t> segments;  // their ids, ascending
  std::vector<uint64_t> files;     // that are read
};

// The files of sources that were fetched, by the text of the leaf.
using SourceFiles = std::map<std::string, FileEntry>;

// `normal` is an expression in normal form, `text` what the user wrote, for errors. Sources that are not
// among `sources` become kSource. NOT_FOUND: there is no segment of a name. RESOURCE_EXHAUSTED: there is more
// to read than kMaxQueryLeaves.
absl::StatusOr<Resolved> Resolve(const Expression& normal, std::string_view text, const Catalog& catalog,
                                 const Catalog::Snapshot& at, const SourceFiles& sources);

// Every source of an expression once.
std::vector<Expression> SourcesOf(const Expression& expression);

// The ids of one segment.
Plan PlanOf(std::string_view name, const SegmentEntry& entry);
// Some consecutive layers of a segment, as one: what they add, or what they remove.
Plan PlanOfLayers(std::string_view name, std::span<const Layer> layers, bool adds);
Plan PlanUnion(std::vector<Plan> inputs);
Plan PlanIntersection(std::vector<Plan> inputs);
Plan PlanDifference(Plan a, Plan b);

// Makes parts of a plan that takes more than `budget_bytes` until what is left takes no more, and no part
// more than `part_bytes`, the parts within it counted as files. RESOURCE_EXHAUSTED: there is no way.
absl::Status Stage(Plan& plan, uint64_t budget_bytes, uint64_t part_bytes);
// A part that has not been written, and has none within it; nullptr: there is none.
Plan* NextPart(Plan& plan);
// `pin` keeps its file, as long as the plan is to be read; number 0: there are no ids and there is no file.
// Parts within it are let go of.
void PartIsWritten(Plan& part, const FileEntry& file, std::shared_ptr<const void> pin);

// What keeps the files of written parts, for who reads them when the plan is gone.
std::vector<std::shared_ptr<const void>> PinsOf(const Plan& plan);

// How much memory the plan's streams take if each reads ahead by `window_bytes`, operators included.
uint64_t MemoryOf(const Plan& plan, size_t window_bytes);
// The window with which the plan takes about `wanted_bytes`.
size_t WindowFor(const Plan& plan, uint64_t wanted_bytes);

uint64_t FileBytesOf(const Plan& plan);
void CollectFiles(const Plan& plan, std::vector<FileEntry>& files);

// The stream of a plan whose files are pinned. `leaves` (nullptr: none) gets counts of each file, in the
// order of CollectFiles. Waits for the store.
absl::StatusOr<std::unique_ptr<IdStream>> Build(const Plan& plan, size_t window_bytes, IdFiles& files,
                                                const Catalog& catalog,
                                                const std::shared_ptr<const Catalog::Snapshot>& at,
                                                const std::shared_ptr<ReadContext>& context,
                                                std::vector<std::shared_ptr<ReadCounts>>* leaves = nullptr);

// For people.
SegmentPlan Describe(const Plan& plan, size_t window_bytes);

}  // namespace thermocline::storage::segment
