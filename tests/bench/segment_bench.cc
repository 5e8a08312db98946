// What set operations on segments cost: ids a second, bytes an id, bytes read, memory. tests/bench/README.md
// tells the rest.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fmt/format.h"
#ifdef THERMOCLINE_ROARING
#include <roaring/roaring64map.hh>
#endif

#include "storage/disk_reads.h"
#include "storage/posix_file_system.h"
#include "storage/segments.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"
#include "tests/bench/machine.h"
#include "tests/bench/number_flags.h"

namespace thermocline::bench {
namespace {

using storage::IdPage;
using storage::SegmentChange;
using storage::SegmentQuery;
using storage::SegmentQueryOptions;
using storage::Segments;

struct Flags {
  std::string directory;
  std::string csv;
  uint64_t ids = 100'000'000;
  uint64_t few = 1000;
  uint64_t memory_bytes = uint64_t{64} << 20;
  std::vector<std::string> text;
  int rounds = 5;
  bool keep = false;
};

template <typename Result, typename Begin>
Result Await(Begin begin) {
  std::promise<Result> promise;
  std::future<Result> result = promise.get_future();
  begin([&promise](Result value) { promise.set_value(std::move(value)); });
  return result.get();
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Hands out ids of a set, ascending.
using NextIds = std::function<void(std::vector<uint64_t>&)>;

// About half of the ids below twice `count`.
NextIds Dense(uint64_t count, uint64_t seed) {
  auto random = std::make_shared<std::mt19937_64>(seed);
  auto at = std::make_shared<uint64_t>(0);
  return [=](std::vector<uint64_t>& ids) {
    ids.clear();
    for (; *at < 2 * count && ids.size() < 60'000; *at += 64) {
      for (uint64_t bits = (*random)(); bits != 0; bits &= bits - 1)
        ids.push_back(*at + static_cast<uint64_t>(__builtin_ctzll(bits)));
    }
  };
}

// `count` ids that are spread over all 64-bit ids: each at random in a range of its own.
NextIds Sparse(uint64_t count, uint64_t seed) {
  auto random = std::make_shared<std::mt19937_64>(seed);
  auto at = std::make_shared<uint64_t>(0);
  const uint64_t step = UINT64_MAX / std::max<uint64_t>(count, 1);
  return [=](std::vector<uint64_t>& ids) {
    ids.clear();
    for (; *at < count && ids.size() < 60'000; ++*at) ids.push_back(*at * step + (*random)() % step);
  };
}

struct Row {
  std::string what;
  uint64_t input_ids = 0;
  uint64_t output_ids = 0;
  double seconds = 0;      // the median
  double cpu_seconds = 0;  // of that round, of all threads
  uint64_t bytes_read = 0;
  uint64_t blocks_read = 0;
  uint64_t blocks = 0;
  uint64_t memory_bytes = 0;
};

class Bench {
 public:
  explicit Bench(const Flags& flags) : flags_(flags) {}

  // Stores the intersection of two files of ids, one a line, and prints nothing but the seconds that it
  // takes.
  absl::Status RunText() {
    auto scratch = ScratchDirectory::Create(flags_.directory, flags_.keep);
    if (!scratch.ok()) return scratch.status();
    scratch_ = *std::move(scratch);
    quiet_ = true;
    if (absl::Status status = Open(); !status.ok()) return status;
    for (size_t i = 0; i < 2; ++i) {
      std::ifstream file(flags_.text[i]);
      absl::Status status = Load(i == 0 ? "a" : "b", [&](std::vector<uint64_t>& ids) {
        ids.clear();
        for (uint64_t id = 0; ids.size() < 60'000 && file >> id;) ids.push_back(id);
      });
      if (!status.ok()) return status;
    }
    std::vector<double> seconds;
    for (int round = 0; round < flags_.rounds; ++round) {
      const auto start = std::chrono::steady_clock::now();
      const auto stored = Await<absl::StatusOr<storage::SegmentInfo>>(
          [&](auto done) { segments_->Store("a & b", "out", SegmentQueryOptions(), std::move(done)); });
      if (!stored.ok()) return stored.status();
      seconds.push_back(SecondsSince(start));
    }
    std::sort(seconds.begin(), seconds.end());
    fmt::print("{:.4f}\n", seconds[seconds.size() / 2]);
    segments_ = nullptr;
    return absl::OkStatus();
  }

  absl::Status Run() {
    auto scratch = ScratchDirectory::Create(flags_.directory, flags_.keep);
    if (!scratch.ok()) return scratch.status();
    scratch_ = *std::move(scratch);
    if (absl::Status status = Open(); !status.ok()) return status;
    if (absl::Status status = LoadAll(); !status.ok()) return status;
    PrintRoaring();
    fmt::print("{:<34} {:>12} {:>12} {:>10} {:>10} {:>10} {:>9} {:>14} {:>9}\n", "what", "ids in", "ids out",
               "ms", "M ids/s", "M/s CPU", "MB read", "blocks read", "memory");
    const uint64_t both = 2 * flags_.ids;
    struct Case {
      const char* what;
      const char* expression;
      bool counts;
      bool bitmaps;
      bool cold;
      uint64_t input_ids;
    };
    for (const Case& each : std::vector<Case>{
             {"dense & dense, count", "dense:a & dense:b", true, false, false, both},
             {"dense & dense, stream bitmaps", "dense:a & dense:b", false, true, false, both},
             {"dense & dense, stream ids", "dense:a & dense:b", false, false, false, both},
             {"dense | dense, count", "dense:a | dense:b", true, false, false, both},
             {"dense - dense, count", "dense:a - dense:b", true, false, false, both},
             {"sparse & sparse, count", "sparse:a & sparse:b", true, false, false, both},
             {"sparse | sparse, stream ids", "sparse:a | sparse:b", false, false, false, both},
             {"sparse - few, count", "sparse:a - few", true, false, false, flags_.ids + flags_.few},
             {"few & sparse, cold", "few & sparse:a", false, false, true, flags_.ids + flags_.few},
             {"few & dense, cold", "few:dense & dense:a", false, false, true, flags_.ids + flags_.few},
         }) {
      absl::StatusOr<Row> row = Measure(each.what, each.expression, each.counts, each.bitmaps, each.cold);
      if (!row.ok()) return row.status();
      row->input_ids = each.input_ids;
      Print(*row);
    }
    const ProcessUsage usage = UsageOfThisProcess();
    fmt::print("resident at most {:.0f} MB, with {:.0f} MB for segments\n",
               static_cast<double>(usage.peak_resident_bytes) / 1e6,
               static_cast<double>(flags_.memory_bytes) / 1e6);
    segments_ = nullptr;
    return WriteCsv();
  }

 private:
  absl::Status Open() {
    auto reads = storage::OpenDiskReads(storage::DiskReadsChoice::kAuto, 4);
    if (!reads.ok()) return reads.status();
    reads_ = std::move(reads->reads);
    auto objects = storage::OpenDirectoryStore(scratch_->Path("objects"), files_, *reads_);
    if (!objects.ok()) return objects.status();
    objects_ = *std::move(objects);
    storage::SegmentsOptions options;
    options.directory = scratch_->Path("segments");
    options.memory_bytes = flags_.memory_bytes;
    options.result_bytes = 0;
    auto segments = Segments::Open(options, {files_, clock_, *objects_, executor_, executor_, executor_});
    if (!segments.ok()) return segments.status();
    segments_ = *std::move(segments);
    return absl::OkStatus();
  }

  absl::Status LoadAll() {
    for (const auto& [name, seed] : {std::pair{"dense:a", 1}, {"dense:b", 2}}) {
      if (absl::Status status = Load(name, Dense(flags_.ids, seed)); !status.ok()) return status;
    }
    for (const auto& [name, seed] : {std::pair{"sparse:a", 3}, {"sparse:b", 4}}) {
      if (absl::Status status = Load(name, Sparse(flags_.ids, seed)); !status.ok()) return status;
    }
    if (absl::Status status = Load("few", Sparse(flags_.few, 5)); !status.ok()) return status;
    const uint64_t step = 2 * flags_.ids / std::max<uint64_t>(flags_.few, 1);
    uint64_t at = 0;
    return Load("few:dense", [&, step](std::vector<uint64_t>& ids) {
      ids.clear();
      for (; at < flags_.few && ids.size() < 10'000; ++at) ids.push_back(at * step);
    });
  }

  // What CRoaring's portable format takes for a million ids of the same kinds.
  static void PrintRoaring() {
#ifdef THERMOCLINE_ROARING
    for (const auto& [name, next] :
         {std::pair<const char*, NextIds>{"dense", Dense(1'000'000, 1)}, {"sparse", Sparse(1'000'000, 3)}}) {
      Roaring64Map roaring;
      std::vector<uint64_t> ids;
      uint64_t count = 0;
      for (next(ids); !ids.empty(); next(ids)) {
        roaring.addMany(ids.size(), ids.data());
        count += ids.size();
      }
      roaring.runOptimize();
      fmt::print("{:<12} CRoaring's 64-bit map takes {:.3f} bytes an id, raw ids 8\n", name,
                 static_cast<double>(roaring.getSizeInBytes()) / static_cast<double>(count));
    }
#endif
  }

  absl::Status Load(const std::string& name, const NextIds& next) {
    const auto start = std::chrono::steady_clock::now();
    auto write = segments_->Write(name, SegmentChange::kReplace, {});
    if (!write.ok()) return write.status();
    std::vector<uint64_t> ids;
    for (next(ids); !ids.empty(); next(ids)) {
      absl::Status status = Await<absl::Status>([&](auto done) { (*write)->Add(ids, std::move(done)); });
      if (!status.ok()) return status;
    }
    const auto result = Await<absl::StatusOr<storage::SegmentWriteResult>>(
        [&](auto done) { (*write)->Finish(std::move(done)); });
    if (!result.ok()) return result.status();
    const auto info = Await<absl::StatusOr<storage::SegmentInfo>>(
        [&](auto done) { segments_->Describe(name, std::move(done)); });
    if (!info.ok()) return info.status();
    if (quiet_) return absl::OkStatus();
    const double seconds = SecondsSince(start);
    const auto count = static_cast<double>(std::max<uint64_t>(result->distinct, 1));
    fmt::print("{:<12} {:>12} ids loaded in {:>6.2f} s, {:>6.1f} M/s, {:.3f} bytes an id\n", name,
               result->distinct, seconds, count / seconds / 1e6, static_cast<double>(info->bytes) / count);
    std::fflush(stdout);
    return absl::OkStatus();
  }

  // The pages of all files leave the page cache.
  absl::Status Chill() {
    return objects_->List("", [&](const storage::ObjectStore::Listed& object) {
      const int file = ::open(scratch_->Path("objects/" + object.name).c_str(), O_RDONLY | O_CLOEXEC);
      if (file < 0) return true;
      ::fdatasync(file);
      ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
      ::close(file);
      return true;
    });
  }

  absl::StatusOr<Row> Measure(const std::string& what, const std::string& expression, bool counts,
                              bool bitmaps, bool cold) {
    std::vector<Row> rows;
    for (int round = 0; round < flags_.rounds; ++round) {
      if (cold) {
        if (absl::Status status = Chill(); !status.ok()) return status;
      }
      const double cpu = UsageOfThisProcess().cpu_seconds;
      const auto start = std::chrono::steady_clock::now();
      auto query = Await<absl::StatusOr<std::unique_ptr<SegmentQuery>>>(
          [&](auto done) { segments_->Query(expression, SegmentQueryOptions(), std::move(done)); });
      if (!query.ok()) return query.status();
      const absl::StatusOr<uint64_t> found = counts ? CountAll(**query) : ReadAll(**query, bitmaps);
      if (!found.ok()) return found.status();
      Row row;
      row.what = what;
      row.seconds = SecondsSince(start);
      row.cpu_seconds = UsageOfThisProcess().cpu_seconds - cpu;
      row.output_ids = *found;
      const storage::SegmentQueryProgress progress = (*query)->progress();
      row.bytes_read = progress.bytes_read;
      row.blocks_read = progress.blocks_read;
      row.blocks = progress.blocks;
      row.memory_bytes = progress.memory_bytes;
      rows.push_back(row);
    }
    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.seconds < b.seconds; });
    return rows[rows.size() / 2];
  }

  static absl::StatusOr<uint64_t> CountAll(SegmentQuery& query) {
    return Await<absl::StatusOr<uint64_t>>([&](auto done) { query.Count(std::move(done)); });
  }

  static absl::StatusOr<uint64_t> ReadAll(SegmentQuery& query, bool bitmaps) {
    uint64_t ids = 0;
    for (IdPage page; !page.done;) {
      const absl::Status status = Await<absl::Status>(
          [&](auto done) { query.Next(size_t{1} << 16, bitmaps, &page, std::move(done)); });
      if (!status.ok()) return status;
      ids += page.ids.size();
      for (const IdPage::Bitmap& bitmap : page.bitmaps) ids += bitmap.count;
    }
    return ids;
  }

  void Print(const Row& row) {
    rows_.push_back(row);
    const auto input = static_cast<double>(row.input_ids);
    fmt::print("{:<34} {:>12} {:>12} {:>10.2f} {:>10.1f} {:>10.1f} {:>9.2f} {:>6} /{:>6} {:>6.1f} MB\n",
               row.what, row.input_ids, row.output_ids, row.seconds * 1e3, input / row.seconds / 1e6,
               input / std::max(row.cpu_seconds, 1e-9) / 1e6, static_cast<double>(row.bytes_read) / 1e6,
               row.blocks_read, row.blocks, static_cast<double>(row.memory_bytes) / 1e6);
    std::fflush(stdout);
  }

  absl::Status WriteCsv() const {
    if (flags_.csv.empty()) return absl::OkStatus();
    std::FILE* const file = std::fopen(flags_.csv.c_str(), "w");
    if (file == nullptr) return absl::UnavailableError("cannot write to " + flags_.csv);
    fmt::print(file,
               "what,input_ids,output_ids,seconds,cpu_seconds,bytes_read,blocks_read,blocks,memory_bytes\n");
    for (const Row& row : rows_) {
      fmt::print(file, "\"{}\",{},{},{:.6f},{:.6f},{},{},{},{}\n", row.what, row.input_ids, row.output_ids,
                 row.seconds, row.cpu_seconds, row.bytes_read, row.blocks_read, row.blocks, row.memory_bytes);
    }
    std::fclose(file);
    return absl::OkStatus();
  }

  const Flags& flags_;
  bool quiet_ = false;
  std::unique_ptr<ScratchDirectory> scratch_;
  storage::PosixFileSystem files_;
  storage::SystemClock clock_;
  std::unique_ptr<storage::DiskReads> reads_;
  std::unique_ptr<storage::ObjectStore> objects_;
  storage::ThreadPool executor_{"query", 2};
  std::unique_ptr<Segments> segments_;
  std::vector<Row> rows_;
};

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app(
      "Measures set operations on segments: two dense sets (half of the ids below twice their size) and two "
      "sparse ones (random 64-bit ids), and a few ids against them with cold files.");
  app.add_option("--directory", flags.directory, "Where to work; must be empty or new, and is removed")
      ->required();
  app.add_option("--csv", flags.csv, "Where to write the figures");
  AddCount(app, "--ids", flags.ids, "100M", "Ids of each large set");
  AddCount(app, "--few", flags.few, "1000", "Ids of the small set");
  AddSize(app, "--memory", flags.memory_bytes, "64MiB", "Memory of segments");
  app.add_option("--rounds", flags.rounds, "Each figure is the median of so many")
      ->check(CLI::PositiveNumber);
  app.add_option("--text", flags.text,
                 "Two files of ids, one a line: store their intersection instead, and print the seconds that "
                 "it takes")
      ->expected(2)
      ->check(CLI::ExistingFile);
  app.add_flag("--keep", flags.keep, "Leave the files");
  CLI11_PARSE(app, argc, argv);
  Bench bench(flags);
  const absl::Status status = flags.text.empty() ? bench.Run() : bench.RunText();
  if (status.ok()) return 0;
  fmt::print(stderr, "segment_bench: {}\n", std::string(status.message()));
  return 1;
}

}  // namespace
}  // namespace thermocline::bench

int main(int argc, char** argv) { return thermocline::bench::Main(argc, argv); }
