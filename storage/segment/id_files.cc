#include "storage/segment/id_files.h"

#include <algorithm>
#include <charconv>

#include "absl/status/status.h"
#include "fmt/format.h"

namespace thermocline::storage::segment {
namespace {

constexpr char kFolder[] = "ids/";
constexpr size_t kDigits = 16;
constexpr size_t kOpenedAtOnce = 32;
// What an open file costs beside its index.
constexpr uint64_t kOpenFileBytes = 1024;

uint64_t BytesOf(const IdFile& file) { return file.memory_bytes() + kOpenFileBytes; }

}  // namespace

FileEntry ToEntry(uint64_t number, const IdFileSummary& summary) {
  return {.number = number, .count = summary.count, .blocks = summary.blocks, .bytes = summary.bytes};
}

std::string IdFiles::NameOf(uint64_t number) { return fmt::format("{}{:016x}", kFolder, number); }

IdFiles::Pins::~Pins() {
  if (files_ != nullptr) files_->Unpin(numbers_);
}

IdFiles::Pins IdFiles::Pin(std::vector<uint64_t> numbers) {
  Pins pins;
  MutexLock lock(mutex_);
  for (const uint64_t number : numbers) ++states_[number].pins;
  pins.files_ = shared_from_this();
  pins.numbers_ = std::move(numbers);
  return pins;
}

void IdFiles::Unpin(std::span<const uint64_t> numbers) {
  std::vector<uint64_t> removed;
  {
    MutexLock lock(mutex_);
    for (const uint64_t number : numbers) {
      const auto state = states_.find(number);
      if (--state->second.pins > 0) continue;
      if (state->second.removed) removed.push_back(number);
      states_.erase(state);
    }
  }
  if (!removed.empty()) RemoveNow(std::move(removed));
}

void IdFiles::Remove(uint64_t number) {
  if (number == 0) return;
  {
    MutexLock lock(mutex_);
    if (const auto cached = cached_.find(number); cached != cached_.end()) {
      cached_bytes_ -= BytesOf(*cached->second->file);
      cache_.erase(cached->second);
      cached_.erase(cached);
    }
    if (const auto state = states_.find(number); state != states_.end()) {
      state->second.removed = true;
      return;
    }
  }
  RemoveNow({number});
}

void IdFiles::RemoveNow(std::vector<uint64_t> numbers) {
  if (!gate_.Enter()) return;
  executor_.Run([self = shared_from_this(), numbers = std::move(numbers)]() mutable {
    // What cannot be removed now is swept at the next start.
    for (const uint64_t number : numbers) self->store_.Remove(NameOf(number)).IgnoreError();
    Gate& gate = self->gate_;
    self.reset();
    gate.Leave();
  });
}

void IdFiles::Close() {
  Cache closed;  // without the lock
  MutexLock lock(mutex_);
  closed.swap(cache_);
  cached_.clear();
  cached_bytes_ = 0;
}

absl::StatusOr<std::set<uint64_t>> IdFiles::List() const {
  std::set<uint64_t> numbers;
  const absl::Status status = store_.List(kFolder, [&](const ObjectStore::Listed& listed) {
    const std::string digits = listed.name.substr(sizeof kFolder - 1);
    uint64_t number = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
    if (digits.size() == kDigits && parsed.ptr == digits.data() + digits.size()) numbers.insert(number);
    return true;
  });
  if (!status.ok()) return status;
  return numbers;
}

absl::StatusOr<std::vector<std::shared_ptr<const IdFile>>> IdFiles::Open(std::span<const FileEntry> entries,
                                                                         ReadContext& context) {
  std::vector<std::shared_ptr<const IdFile>> files(entries.size());
  std::vector<size_t> missing;
  {
    MutexLock lock(mutex_);
    for (size_t i = 0; i < entries.size(); ++i) {
      const auto cached = cached_.find(entries[i].number);
      if (cached == cached_.end()) {
        missing.push_back(i);
        continue;
      }
      cache_.splice(cache_.begin(), cache_, cached->second);
      files[i] = cached->second->file;
    }
  }
  for (size_t begin = 0; begin < missing.size(); begin += kOpenedAtOnce) {
    const std::span<const size_t> some(missing.begin() + static_cast<ptrdiff_t>(begin),
                                       std::min(kOpenedAtOnce, missing.size() - begin));
    std::vector<std::string> names;
    for (const size_t i : some) names.push_back(NameOf(entries[i].number));
    absl::StatusOr<std::vector<std::shared_ptr<const IdFile>>> opened = OpenIdFiles(store_, names, context);
    if (!opened.ok()) return opened.status();
    for (size_t j = 0; j < some.size(); ++j) {
      const FileEntry& entry = entries[some[j]];
      const IdFileFooter& footer = (*opened)[j]->footer;
      if (footer.number != entry.number || footer.count != entry.count) {
        return absl::DataLossError(fmt::format(
            "the id file {} has number {} and {} ids instead of number {} and {} ids: it is another file",
            names[j], footer.number, footer.count, entry.number, entry.count));
      }
      Keep(entry.number, (*opened)[j]);
      files[some[j]] = std::move((*opened)[j]);
    }
  }
  return files;
}

void IdFiles::Keep(uint64_t number, std::shared_ptr<const IdFile> file) {
  std::vector<std::shared_ptr<const IdFile>> dropped;  // destroyed without the lock
  MutexLock lock(mutex_);
  const auto state = states_.find(number);
  if (state == states_.end() || state->second.removed || cached_.contains(number)) return;
  cached_bytes_ += BytesOf(*file);
  cache_.push_front({number, std::move(file)});
  cached_[number] = cache_.begin();
  while (cached_bytes_ > cache_bytes_) {
    cached_bytes_ -= BytesOf(*cache_.back().file);
    cached_.erase(cache_.back().number);
    dropped.push_back(std::move(cache_.back().file));
    cache_.pop_back();
  }
}

absl::StatusOr<std::unique_ptr<IdFileWriter>> IdFiles::Create(uint64_t number) {
  absl::StatusOr<std::unique_ptr<ObjectWriter>> object = store_.Create(NameOf(number));
  if (!object.ok()) return object.status();
  return std::make_unique<IdFileWriter>(*std::move(object), number);
}

namespace {

// A file on its way.
struct Writing {
  std::unique_ptr<IdFileWriter> writer;  // made with the first ids
  uint64_t number = 0;
};

}  // namespace

std::shared_ptr<StreamRun> IdFiles::Write(std::unique_ptr<IdStream> stream,
                                          std::shared_ptr<ReadContext> context, uint64_t number,
                                          Written written, std::shared_ptr<const void> keep) {
  auto writing = std::make_shared<Writing>();
  writing->number = number;
  auto run = std::make_shared<StreamRun>(std::move(stream), std::move(context), executor_, std::move(keep));
  const auto sink = [self = shared_from_this(),
                     writing](const Part& part) -> absl::StatusOr<StreamRun::Verdict> {
    if (writing->writer == nullptr) {
      absl::StatusOr<std::unique_ptr<IdFileWriter>> writer = self->Create(writing->number);
      if (!writer.ok()) return writer.status();
      writing->writer = *std::move(writer);
    }
    if (absl::Status status = writing->writer->Add(part); !status.ok()) return status;
    return StreamRun::Verdict::kMore;
  };
  run->Run(/*accepts_blocks=*/false, sink,
           [writing, written = std::move(written)](const absl::StatusOr<bool>& ended) mutable {
             if (!ended.ok()) return written(ended.status());
             if (writing->writer == nullptr) return written(FileEntry());
             const absl::StatusOr<IdFileSummary> summary = writing->writer->Finish();
             if (!summary.ok()) return written(summary.status());
             written(ToEntry(writing->number, *summary));
           });
  return run;
}

}  // namespace thermocline::storage::segment
