#include "storage/segment/planner.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "fmt/format.h"
#include <xxhash.h>

#include "storage/segment/set_ops.h"

namespace thermocline::storage::segment {
namespace {

uint64_t AddCapped(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

bool HasFile(const Plan& plan) {
  return plan.kind == Plan::Kind::kFile || plan.kind == Plan::Kind::kPart || plan.kind == Plan::Kind::kSource;
}

size_t LeavesOf(const Plan& plan) {
  size_t leaves = plan.inputs.empty() && plan.kind != Plan::Kind::kEmpty ? 1 : 0;
  for (const Plan& input : plan.inputs) leaves += LeavesOf(input);
  return leaves;
}

Plan PlanOfSide(std::string_view name, const Layer& layer, bool adds) {
  const FileEntry& side = adds ? layer.adds : layer.removes;
  if (side.count == 0) return {};
  Plan plan;
  plan.segment = name;
  plan.file = side;
  plan.max_count = side.count;
  plan.min_count = adds ? layer.min_adds : 0;
  if (layer.recent != 0) {
    plan.kind = Plan::Kind::kRecent;
    plan.recent = layer.recent;
    plan.adds = adds;
  } else {
    plan.kind = Plan::Kind::kFile;
    plan.min_count = side.count;
  }
  return plan;
}

// Resolves the names of an expression.
class Resolver {
 public:
  Resolver(std::string_view text, const Catalog& catalog, const Catalog::Snapshot& at,
           const SourceFiles& sources)
      : text_(text), catalog_(catalog), at_(at), sources_(sources) {}

  absl::StatusOr<Plan> Resolve(const Expression& expression) {
    switch (expression.kind) {
      case Expression::Kind::kEmpty:
        return Plan();
      case Expression::Kind::kName:
        return ResolveName(expression);
      case Expression::Kind::kPrefix:
        return ResolvePrefix(expression);
      case Expression::Kind::kSource:
        return ResolveSource(expression);
      default:
        break;
    }
    std::vector<Plan> inputs;
    for (const Expression& input : expression.inputs) {
      absl::StatusOr<Plan> plan = Resolve(input);
      if (!plan.ok()) return plan.status();
      inputs.push_back(*std::move(plan));
    }
    if (expression.kind == Expression::Kind::kUnion) return PlanUnion(std::move(inputs));
    if (expression.kind == Expression::Kind::kIntersection) return PlanIntersection(std::move(inputs));
    return PlanDifference(std::move(inputs[0]), std::move(inputs[1]));
  }

  // Versions are never used again, so they say which segment it is as well.
  std::string KeyOf(const std::string& normal_text) const {
    std::string all = normal_text;
    for (const uint64_t version : versions_)
      all.append(reinterpret_cast<const char*>(&version), sizeof version);
    const XXH128_hash_t hash = XXH3_128bits(all.data(), all.size());
    std::string key(reinterpret_cast<const char*>(&hash.low64), sizeof hash.low64);
    return key.append(reinterpret_cast<const char*>(&hash.high64), sizeof hash.high64);
  }

  std::vector<uint64_t> segments() const { return {segments_.begin(), segments_.end()}; }

 private:
  absl::StatusOr<Plan> ResolveName(const Expression& expression) {
    absl::StatusOr<std::optional<SegmentEntry>> entry = catalog_.Find(expression.name, &at_);
    if (!entry.ok()) return entry.status();
    if (!entry->has_value()) {
      return absl::NotFoundError(PointAt(
          text_, expression.position, fmt::format("there is no segment with the name {}", expression.name)));
    }
    Plan plan = Take(expression.name, **entry);
    if (leaves_ > kMaxQueryLeaves) return TooMuch();
    return plan;
  }

  static absl::Status TooMuch() {
    return absl::ResourceExhaustedError(fmt::format(
        "the expression reads more than {} files and sets of recent changes side by side: store parts of "
        "it as segments first",
        kMaxQueryLeaves));
  }

  absl::StatusOr<Plan> ResolvePrefix(const Expression& expression) {
    std::vector<Plan> inputs;
    const absl::Status status =
        catalog_.ForEach(expression.name, "", &at_, [&](std::string_view name, const SegmentEntry& entry) {
          inputs.push_back(Take(name, entry));
          return leaves_ <= kMaxQueryLeaves;
        });
    if (!status.ok()) return status;
    if (leaves_ > kMaxQueryLeaves) return TooMuch();
    return PlanUnion(std::move(inputs));
  }

  // The file's number says when it was fetched.
  Plan ResolveSource(const Expression& expression) {
    Plan plan;
    plan.segment = ToText(expression);
    ++leaves_;
    const auto found = sources_.find(plan.segment);
    if (found == sources_.end()) {
      plan.kind = Plan::Kind::kSource;
      plan.max_count = UINT64_MAX;
      return plan;
    }
    versions_.push_back(found->second.number);
    if (found->second.count == 0) return {};
    plan.kind = Plan::Kind::kFile;
    plan.file = found->second;
    plan.min_count = plan.max_count = plan.file.count;
    return plan;
  }

  Plan Take(std::string_view name, const SegmentEntry& entry) {
    segments_.insert(entry.id);
    versions_.push_back(entry.version);
    Plan plan = PlanOf(name, entry);
    leaves_ += std::max<size_t>(LeavesOf(plan), 1);  // an empty one costs something as well
    return plan;
  }

  const std::string_view text_;
  const Catalog& catalog_;
  const Catalog::Snapshot& at_;
  const SourceFiles& sources_;
  std::set<uint64_t> segments_;
  std::vector<uint64_t> versions_;
  size_t leaves_ = 0;
};

}  // namespace

Plan PlanUnion(std::vector<Plan> inputs) {
  Plan plan;
  plan.kind = Plan::Kind::kUnion;
  for (Plan& input : inputs) {
    if (input.kind == Plan::Kind::kEmpty) continue;
    plan.max_count = AddCapped(plan.max_count, input.max_count);
    plan.min_count = std::max(plan.min_count, input.min_count);
    plan.inputs.push_back(std::move(input));
  }
  if (plan.inputs.empty()) return {};
  if (plan.inputs.size() == 1) return std::move(plan.inputs.front());
  // Small ones meet first: most ids pass through few operators.
  std::stable_sort(plan.inputs.begin(), plan.inputs.end(),
                   [](const Plan& a, const Plan& b) { return a.max_count < b.max_count; });
  return plan;
}

Plan PlanIntersection(std::vector<Plan> inputs) {
  Plan plan;
  plan.kind = Plan::Kind::kIntersection;
  plan.max_count = UINT64_MAX;
  for (Plan& input : inputs) {
    if (input.kind == Plan::Kind::kEmpty) return {};
    plan.max_count = std::min(plan.max_count, input.max_count);
    plan.inputs.push_back(std::move(input));
  }
  if (plan.inputs.size() == 1) return std::move(plan.inputs.front());
  // The smallest first: its ids decide what is read of the others.
  std::stable_sort(plan.inputs.begin(), plan.inputs.end(),
                   [](const Plan& a, const Plan& b) { return a.max_count < b.max_count; });
  return plan;
}

Plan PlanDifference(Plan a, Plan b) {
  if (a.kind == Plan::Kind::kEmpty || b.kind == Plan::Kind::kEmpty) return a;
  Plan plan;
  plan.kind = Plan::Kind::kDifference;
  plan.max_count = a.max_count;
  plan.min_count = a.min_count - std::min(a.min_count, b.max_count);
  plan.inputs.push_back(std::move(a));
  plan.inputs.push_back(std::move(b));
  return plan;
}

Plan PlanOfLayers(std::string_view name, std::span<const Layer> layers, bool adds) {
  Plan plan;
  for (const Layer& layer : layers) {
    // What an earlier layer says of an id holds unless a later one says the opposite.
    std::vector<Plan> both;
    both.push_back(PlanDifference(std::move(plan), PlanOfSide(name, layer, !adds)));
    both.push_back(PlanOfSide(name, layer, adds));
    plan = PlanUnion(std::move(both));
  }
  return plan;
}

Plan PlanOf(std::string_view name, const SegmentEntry& entry) {
  Plan plan = PlanOfLayers(name, entry.layers, /*adds=*/true);
  const SegmentEntry::Bounds bounds = entry.Count();
  plan.min_count = std::max(plan.min_count, bounds.min);
  plan.max_count = std::min(plan.max_count, bounds.max);
  return plan;
}

absl::StatusOr<Resolved> Resolve(const Expression& normal, std::string_view text, const Catalog& catalog,
                                 const Catalog::Snapshot& at, const SourceFiles& sources) {
  Resolver resolver(text, catalog, at, sources);
  absl::StatusOr<Plan> plan = resolver.Resolve(normal);
  if (!plan.ok()) return plan.status();
  Resolved resolved;
  resolved.plan = *std::move(plan);
  resolved.key = resolver.KeyOf(ToText(normal));
  resolved.segments = resolver.segments();
  std::vector<FileEntry> files;
  CollectFiles(resolved.plan, files);
  for (const FileEntry& file : files) resolved.files.push_back(file.number);
  return resolved;
}

std::vector<Expression> SourcesOf(const Expression& expression) {
  std::map<std::string, Expression> sources;
  const std::function<void(const Expression&)> collect = [&](const Expression& at) {
    if (at.kind == Expression::Kind::kSource) sources.emplace(ToText(at), at);
    for (const Expression& input : at.inputs) collect(input);
  };
  collect(expression);
  std::vector<Expression> list;
  for (auto& [text, source] : sources) list.push_back(std::move(source));
  return list;
}

namespace {

// Without the inputs'.
uint64_t OwnMemoryOf(const Plan& plan, size_t window_bytes) {
  if (HasFile(plan)) return IdFileStreamBytes(window_bytes);
  if (plan.kind == Plan::Kind::kRecent) return Catalog::kRecentStreamBytes;
  return plan.inputs.empty() ? 0 : (plan.inputs.size() - 1) * kOperatorBytes;
}

void MakePart(Plan& plan) {
  Plan part;
  part.kind = Plan::Kind::kPart;
  part.min_count = plan.min_count;
  part.max_count = plan.max_count;
  part.inputs.push_back(std::move(plan));
  plan = std::move(part);
}

// Makes a part of some inputs of a union or intersection, the first `count`.
void MakePartOfFirst(Plan& plan, size_t count) {
  const auto end = plan.inputs.begin() + static_cast<ptrdiff_t>(count);
  std::vector<Plan> some(std::make_move_iterator(plan.inputs.begin()), std::make_move_iterator(end));
  plan.inputs.erase(plan.inputs.begin(), end);
  Plan part =
      plan.kind == Plan::Kind::kUnion ? PlanUnion(std::move(some)) : PlanIntersection(std::move(some));
  MakePart(part);
  // A union's parts are written as seldom as possible; what an intersection's yields decides what is read.
  plan.inputs.insert(plan.kind == Plan::Kind::kUnion ? plan.inputs.end() : plan.inputs.begin(),
                     std::move(part));
}

// How many inputs make a good part, at most half of what a part may take, for others want some as well: 0 if
// that is less than two.
size_t GoodPart(const Plan& plan, uint64_t part_bytes) {
  if (plan.kind == Plan::Kind::kDifference || plan.inputs.size() < 3) return 0;
  size_t count = 0;
  uint64_t bytes = 0;
  while (count + 1 < plan.inputs.size()) {
    bytes += MemoryOf(plan.inputs[count], kMinWindowBytes) + kOperatorBytes;
    if (bytes > part_bytes / 2) break;
    ++count;
  }
  return count >= 2 ? count : 0;
}

// A step towards a plan that takes less; false: there is none.
bool StageInputs(Plan& plan, uint64_t part_bytes) {
  if (const size_t count = GoodPart(plan, part_bytes); count > 0) {
    MakePartOfFirst(plan, count);
    return true;
  }
  Plan* largest = nullptr;
  uint64_t most = IdFileStreamBytes(kMinWindowBytes);  // a part takes as much
  for (Plan& input : plan.inputs) {
    const uint64_t bytes = MemoryOf(input, kMinWindowBytes);
    if (bytes <= most || HasFile(input)) continue;
    largest = &input;
    most = bytes;
  }
  if (largest != nullptr) {
    MakePart(*largest);
    return true;
  }
  if (plan.kind == Plan::Kind::kDifference || plan.inputs.size() < 3) return false;
  MakePartOfFirst(plan, 2);
  return true;
}

bool StageWithin(Plan& plan, uint64_t budget_bytes, uint64_t part_bytes) {
  if (HasFile(plan) || plan.inputs.empty()) return OwnMemoryOf(plan, kMinWindowBytes) <= budget_bytes;
  for (Plan& input : plan.inputs) {
    if (!StageWithin(input, part_bytes, part_bytes)) return false;
  }
  while (MemoryOf(plan, kMinWindowBytes) > budget_bytes) {
    if (!StageInputs(plan, part_bytes)) return false;
  }
  return true;
}

void LetGo(Plan& plan) {
  plan.written = nullptr;
  for (Plan& input : plan.inputs) LetGo(input);
}

}  // namespace

absl::Status Stage(Plan& plan, uint64_t budget_bytes, uint64_t part_bytes) {
  if (MemoryOf(plan, kMinWindowBytes) <= budget_bytes) return absl::OkStatus();
  if (StageWithin(plan, budget_bytes, part_bytes)) return absl::OkStatus();
  return absl::ResourceExhaustedError(fmt::format(
      "the query needs more than the {} KiB of memory that queries have, even part by part: start the server "
      "with a larger --segment-memory",
      budget_bytes >> 10));
}

Plan* NextPart(Plan& plan) {
  if (plan.kind == Plan::Kind::kPart && plan.file.number != 0) return nullptr;
  for (Plan& input : plan.inputs) {
    if (Plan* const part = NextPart(input)) return part;
  }
  return plan.kind == Plan::Kind::kPart ? &plan : nullptr;
}

void PartIsWritten(Plan& part, const FileEntry& file, std::shared_ptr<const void> pin) {
  LetGo(part);
  part.file = file;
  part.written = std::move(pin);
  part.min_count = part.max_count = file.count;
  if (file.number == 0) part = Plan();
}

std::vector<std::shared_ptr<const void>> PinsOf(const Plan& plan) {
  std::vector<std::shared_ptr<const void>> pins;
  if (plan.written != nullptr) pins.push_back(plan.written);
  for (const Plan& input : plan.inputs) {
    for (std::shared_ptr<const void>& pin : PinsOf(input)) pins.push_back(std::move(pin));
  }
  return pins;
}

uint64_t MemoryOf(const Plan& plan, size_t window_bytes) {
  uint64_t bytes = OwnMemoryOf(plan, window_bytes);
  if (HasFile(plan)) return bytes;
  for (const Plan& input : plan.inputs) bytes += MemoryOf(input, window_bytes);
  return bytes;
}

size_t WindowFor(const Plan& plan, uint64_t wanted_bytes) {
  std::vector<FileEntry> files;
  CollectFiles(plan, files);
  if (files.empty()) return kMinWindowBytes;
  const uint64_t least = MemoryOf(plan, 0);
  const uint64_t left = wanted_bytes - std::min(wanted_bytes, least);
  return std::clamp<uint64_t>(left / files.size() * 4 / 5, kMinWindowBytes, kMaxWindowBytes);
}

uint64_t FileBytesOf(const Plan& plan) {
  if (HasFile(plan)) return plan.file.bytes;
  uint64_t bytes = 0;
  for (const Plan& input : plan.inputs) bytes += FileBytesOf(input);
  return bytes;
}

void CollectFiles(const Plan& plan, std::vector<FileEntry>& files) {
  if (HasFile(plan)) return files.push_back(plan.file);
  for (const Plan& input : plan.inputs) CollectFiles(input, files);
}

namespace {

// Makes the streams of a plan; files come in the order in which CollectFiles lists them.
class Builder {
 public:
  Builder(size_t window_bytes, std::vector<std::shared_ptr<const IdFile>> files, const Catalog& catalog,
          const std::shared_ptr<const Catalog::Snapshot>& at, const std::shared_ptr<ReadContext>& context,
          std::vector<std::shared_ptr<ReadCounts>>* leaves)
      : window_bytes_(window_bytes),
        files_(std::move(files)),
        catalog_(catalog),
        at_(at),
        context_(context),
        leaves_(leaves) {}

  std::unique_ptr<IdStream> Make(const Plan& plan) {
    std::vector<std::unique_ptr<IdStream>> inputs;
    switch (plan.kind) {
      case Plan::Kind::kEmpty:
        return EmptyStream();
      case Plan::Kind::kFile:
      case Plan::Kind::kPart:
      case Plan::Kind::kSource:
        if (leaves_ != nullptr) leaves_->push_back(std::make_shared<ReadCounts>());
        return NewIdFileStream(files_[next_file_++], window_bytes_, context_,
                               leaves_ != nullptr ? leaves_->back() : nullptr);
      case Plan::Kind::kRecent:
        return catalog_.RecentStream(at_, plan.recent, plan.adds);
      default:
        for (const Plan& input : plan.inputs) inputs.push_back(Make(input));
    }
    if (plan.kind == Plan::Kind::kUnion) return Unite(std::move(inputs));
    const auto join = plan.kind == Plan::Kind::kIntersection ? &Intersect : &Subtract;
    std::unique_ptr<IdStream> stream = std::move(inputs.front());
    for (size_t i = 1; i < inputs.size(); ++i) stream = join(std::move(stream), std::move(inputs[i]));
    return stream;
  }

 private:
  const size_t window_bytes_;
  const std::vector<std::shared_ptr<const IdFile>> files_;
  const Catalog& catalog_;
  const std::shared_ptr<const Catalog::Snapshot>& at_;
  const std::shared_ptr<ReadContext>& context_;
  std::vector<std::shared_ptr<ReadCounts>>* const leaves_;
  size_t next_file_ = 0;
};

SegmentPlan::Kind KindOf(Plan::Kind kind) {
  switch (kind) {
    case Plan::Kind::kUnion:
      return SegmentPlan::Kind::kUnion;
    case Plan::Kind::kIntersection:
      return SegmentPlan::Kind::kIntersection;
    case Plan::Kind::kDifference:
      return SegmentPlan::Kind::kDifference;
    case Plan::Kind::kFile:
      return SegmentPlan::Kind::kFile;
    case Plan::Kind::kRecent:
      return SegmentPlan::Kind::kRecent;
    case Plan::Kind::kPart:
      return SegmentPlan::Kind::kPart;
    case Plan::Kind::kSource:
      return SegmentPlan::Kind::kSource;
    case Plan::Kind::kEmpty:
      break;
  }
  return SegmentPlan::Kind::kEmpty;
}

// Where nothing is known, inputs are taken to be independent of each other, as far as their bounds allow.
uint64_t Estimate(const Plan& plan) {
  if (plan.inputs.empty() || plan.file.number != 0) return plan.max_count;
  if (plan.kind == Plan::Kind::kPart) return Estimate(plan.inputs.front());
  uint64_t estimate = Estimate(plan.inputs.front());
  for (size_t i = 1; i < plan.inputs.size(); ++i) {
    const uint64_t other = Estimate(plan.inputs[i]);
    if (plan.kind == Plan::Kind::kUnion) {
      estimate = AddCapped(estimate, other);
    } else if (plan.kind == Plan::Kind::kIntersection) {
      estimate = std::min(estimate, other) / 2;
    } else {
      estimate -= std::min(estimate, other) / 2;
    }
  }
  return std::clamp(estimate, plan.min_count, std::max(plan.min_count, plan.max_count));
}

}  // namespace

absl::StatusOr<std::unique_ptr<IdStream>> Build(const Plan& plan, size_t window_bytes, IdFiles& files,
                                                const Catalog& catalog,
                                                const std::shared_ptr<const Catalog::Snapshot>& at,
                                                const std::shared_ptr<ReadContext>& context,
                                                std::vector<std::shared_ptr<ReadCounts>>* leaves) {
  std::vector<FileEntry> entries;
  CollectFiles(plan, entries);
  absl::StatusOr<std::vector<std::shared_ptr<const IdFile>>> opened = files.Open(entries, *context);
  if (!opened.ok()) return opened.status();
  return Builder(window_bytes, *std::move(opened), catalog, at, context, leaves).Make(plan);
}

SegmentPlan Describe(const Plan& plan, size_t window_bytes) {
  SegmentPlan step;
  step.kind = KindOf(plan.kind);
  step.segment = plan.segment;
  step.min_count = plan.min_count;
  step.max_count = plan.max_count;
  step.estimated_count = Estimate(plan);
  if (HasFile(plan) && plan.file.number != 0) {
    step.object = IdFiles::NameOf(plan.file.number);
    step.blocks = plan.file.blocks;
    step.bytes = plan.file.bytes;
    step.exact_count = plan.file.count;
  }
  step.memory_bytes = OwnMemoryOf(plan, window_bytes);
  for (const Plan& input : plan.inputs) step.inputs.push_back(Describe(input, window_bytes));
  return step;
}

}  // namespace thermocline::storage::segment
