#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "storage/executor.h"
#include "storage/gate.h"
#include "storage/object_store.h"
#include "storage/segment/catalog.h"
#include "storage/segment/id_file_stream.h"
#include "storage/segment/stream_run.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// The id files of the object store: "ids/" and 16 hexadecimal digits of the file's number. Thread-safe.
class IdFiles : public std::enable_shared_from_this<IdFiles> {
 public:
  // Files that were opened stay open, up to `cache_bytes` of their indexes. All must outlive it.
  // What is removed, is removed inside `gate`; what is left when that is closed, at the next start.
  IdFiles(ObjectStore& store, Executor& executor, Gate& gate, uint64_t cache_bytes)
      : store_(store), executor_(executor), gate_(gate), cache_bytes_(cache_bytes) {}

  static std::string NameOf(uint64_t number);

  // Keeps files from being removed while it lives.
  class Pins {
   public:
    Pins() = default;
    Pins(Pins&& other) noexcept { *this = std::move(other); }
    Pins& operator=(Pins&& other) noexcept {
      std::swap(files_, other.files_);
      std::swap(numbers_, other.numbers_);
      return *this;
    }
    ~Pins();

   private:
    friend class IdFiles;
    std::shared_ptr<IdFiles> files_;
    std::vector<uint64_t> numbers_;
  };
  // The catalog must name the files now: call it while nobody can change that.
  Pins Pin(std::vector<uint64_t> numbers);

  // The catalog does not name this file any more: it is removed, on the executor, as soon as nobody has it
  // pinned. 0 is fine.
  void Remove(uint64_t number);

  // Nobody uses the store any more: lets go of files that are open.
  void Close();

  // The numbers of all files in the store.
  absl::StatusOr<std::set<uint64_t>> List() const;

  // Opens files that are pinned. Waits for the store. DATA_LOSS if one is not what its entry says.
  absl::StatusOr<std::vector<std::shared_ptr<const IdFile>>> Open(std::span<const FileEntry> entries,
                                                                  ReadContext& context);

  absl::StatusOr<std::unique_ptr<IdFileWriter>> Create(uint64_t number);

  // Writes a stream to a new file, on the executor. An entry with number 0: there were no ids, and there is
  // no file. To cancel it, cancel what it returns; the file is gone then.
  using Written = absl::AnyInvocable<void(absl::StatusOr<FileEntry>)>;
  std::shared_ptr<StreamRun> Write(std::unique_ptr<IdStream> stream, std::shared_ptr<ReadContext> context,
                                   uint64_t number, Written written,
                                   std::shared_ptr<const void> keep = nullptr);
  // What that takes beside the stream.
  static constexpr size_t kWriteBytes = IdFileWriter::kMemoryBytes + (256 << 10);

 private:
  struct Cached {
    uint64_t number = 0;
    std::shared_ptr<const IdFile> file;
  };
  using Cache = std::list<Cached>;

  void Unpin(std::span<const uint64_t> numbers);
  void RemoveNow(std::vector<uint64_t> numbers);
  void Keep(uint64_t number, std::shared_ptr<const IdFile> file);

  ObjectStore& store_;
  Executor& executor_;
  Gate& gate_;
  const uint64_t cache_bytes_;

  Mutex mutex_;
  struct State {
    uint64_t pins = 0;
    bool removed = false;  // when nobody has it pinned any more
  };
  absl::flat_hash_map<uint64_t, State> states_ ABSL_GUARDED_BY(mutex_);  // of those that are pinned
  Cache cache_ ABSL_GUARDED_BY(mutex_);                                  // the one used last first
  absl::flat_hash_map<uint64_t, Cache::iterator> cached_ ABSL_GUARDED_BY(mutex_);
  uint64_t cached_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

// The entry of a file that was written.
FileEntry ToEntry(uint64_t number, const IdFileSummary& summary);

}  // namespace thermocline::storage::segment
