#include "storage/engine/checkpoint.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "storage/varint.h"

namespace thermocline::storage {
namespace {

constexpr char kCheckpointFile[] = "CHECKPOINT";
constexpr char kDraft[] = "CHECKPOINT.new";

constexpr uint32_t kCheckpointFormat = 1;
constexpr uint64_t kReadBytes = 1 << 20;
// A sync of the log may have to wait for what is written here: never for much.
constexpr uint64_t kSyncBytes = 4 << 20;

enum Kind : uint32_t { kBlock = 1, kSlots = 2, kState = 3, kHot = 4 };

struct FileHeader {
  uint64_t checksum;  // XXH3-64, seeded with the store's id, of the rest
  uint64_t magic;     // kMagic
  uint32_t format;    // kCheckpointFormat
  uint32_t block_bytes;
  uint64_t store_id;
  uint64_t hash_seed;
  uint64_t partitions;
  uint64_t zeros[2];

  static constexpr uint64_t kMagic = 0x544e494f504d4854;  // "THMPOINT"
};
static_assert(sizeof(FileHeader) == 64);

struct SectionHeader {
  uint64_t checksum;  // as above, payload included
  uint64_t offset;    // of this section in the file
  uint64_t subject;   // sequence number of the block, or which partition
  uint32_t kind;
  uint32_t bytes;  // of the payload
};
static_assert(sizeof(SectionHeader) == 32);

struct Trailer {
  uint64_t checksum;  // as above
  uint64_t state;     // where its section stands
};
static_assert(sizeof(Trailer) == 16);

template <typename T>
std::string_view Raw(const T& record) {
  return {reinterpret_cast<const char*>(&record), sizeof(record)};
}

void Put(std::string& out, uint64_t number) {
  char bytes[kMaxVarintBytes];
  out.append(bytes, PutVarint(bytes, number));
}

// Takes numbers from a payload; what is missing is 0, and said at the end.
class Numbers {
 public:
  explicit Numbers(std::string_view payload) : left_(payload) {}

  uint64_t Next() {
    uint64_t number = 0;
    ok_ = ok_ && GetVarint(left_, number);
    return number;
  }
  // How many of at least `least` bytes each follow.
  uint64_t Count(size_t least) {
    const uint64_t count = Next();
    ok_ = ok_ && count <= left_.size() / least;
    return ok_ ? count : 0;
  }
  bool ok() const { return ok_; }
  std::string_view left() const { return left_; }

 private:
  std::string_view left_;
  bool ok_ = true;
};

uint64_t FlagsOf(const Slot& slot) {
  return uint64_t{slot.shadow} << 2 | uint64_t{slot.unresolved} << 1 | uint64_t{slot.tombstone};
}

std::string EncodeState(const CheckpointState& state, const std::vector<uint64_t>& offsets, uint64_t hot) {
  std::string out;
  Put(out, hot);
  for (const uint64_t number :
       {state.end.position, state.end.next_version, state.end_dead_bytes, state.generation, state.hidden}) {
    Put(out, number);
  }
  Put(out, offsets.size());
  for (size_t i = 0; i < offsets.size(); ++i) {
    Put(out, offsets[i]);
    Put(out, state.shapes[i].slots);
    Put(out, static_cast<uint64_t>(state.shapes[i].known_bits));
  }
  Put(out, state.graves.size());
  for (const auto& grave : state.graves) {
    Put(out, grave.hash);
    Put(out, grave.dead);
  }
  Put(out, state.grave_notes.size());
  for (const auto& note : state.grave_notes) {
    for (const uint64_t number : {note.dead, note.holder, note.bytes}) Put(out, number);
  }
  Put(out, state.buried.size());
  for (const Position position : state.buried) Put(out, position);
  Put(out, state.owed.size());
  for (const uint64_t sequence : state.owed) Put(out, sequence);
  return out;
}

bool DecodeState(std::string_view payload, CheckpointState& state, std::vector<uint64_t>& offsets,
                 uint64_t& hot) {
  Numbers in(payload);
  hot = in.Next();
  state.end = {.position = in.Next(), .next_version = in.Next()};
  state.end_dead_bytes = in.Next();
  state.generation = in.Next();
  state.hidden = in.Next();
  for (uint64_t left = in.Count(3); left > 0; --left) {
    offsets.push_back(in.Next());
    const uint64_t slots = in.Next();
    state.shapes.push_back(
        {.slots = slots, .known_bits = static_cast<int>(std::min<uint64_t>(64, in.Next()))});
  }
  for (uint64_t left = in.Count(2); left > 0; --left) {
    const uint64_t hash = in.Next();
    state.graves.push_back({.hash = hash, .dead = in.Next()});
  }
  for (uint64_t left = in.Count(3); left > 0; --left) {
    const uint64_t dead = in.Next();
    const uint64_t holder = in.Next();
    state.grave_notes.push_back({.dead = dead, .holder = holder, .bytes = in.Next()});
  }
  for (uint64_t left = in.Count(1); left > 0; --left) state.buried.push_back(in.Next());
  for (uint64_t left = in.Count(1); left > 0; --left) state.owed.push_back(in.Next());
  return in.ok() && in.left().empty();
}

// nullptr: it is not what AddBlock wrote.
std::unique_ptr<Block> DecodeBlock(uint64_t sequence, std::string_view payload, const std::string& directory,
                                   uint32_t block_bytes) {
  auto block = std::make_unique<Block>(sequence, directory + "/" + BlockFileName(sequence), block_bytes);
  Numbers in(payload);
  block->relocated = in.Next() != 0;
  block->used = static_cast<uint32_t>(in.Next());
  block->base_version = in.Next();
  block->use.records = in.Next();
  block->use.record_bytes = in.Next();
  block->use.expiring_bytes = in.Next();
  block->use.first_expiry_ms = in.Next();
  block->use.last_expiry_ms = in.Next();
  block->dead_bytes.store(in.Next(), std::memory_order_relaxed);
  if (!in.ok() || block->used > block_bytes || !block->chunks.Assign(in.left())) return nullptr;
  block->flushed = block->used;
  block->sealed = true;
  return block;
}

}  // namespace

CheckpointWriter::CheckpointWriter(const std::string& directory, const StoreIdentity& identity,
                                   size_t partitions, FileSystem& files, std::unique_ptr<File> file)
    : directory_(directory),
      identity_(identity),
      files_(files),
      file_(std::move(file)),
      offsets_(partitions, 0) {}

absl::StatusOr<std::unique_ptr<CheckpointWriter>> CheckpointWriter::Create(const std::string& directory,
                                                                           const StoreIdentity& identity,
                                                                           size_t partitions,
                                                                           FileSystem& files) {
  const std::string draft = directory + "/" + kDraft;
  if (absl::Status status = files.Remove(draft); !status.ok() && !absl::IsNotFound(status)) return status;
  auto file = files.Open(draft, FileSystem::Mode::kCreate);
  if (!file.ok()) return file.status();
  std::unique_ptr<CheckpointWriter> writer(
      new CheckpointWriter(directory, identity, partitions, files, *std::move(file)));
  FileHeader header = {.checksum = 0,
                       .magic = FileHeader::kMagic,
                       .format = kCheckpointFormat,
                       .block_bytes = identity.block_bytes,
                       .store_id = identity.store_id,
                       .hash_seed = identity.hash_seed,
                       .partitions = partitions,
                       .zeros = {}};
  header.checksum = ChecksumOf(Raw(header), identity.store_id);
  if (absl::Status status = writer->Write(Raw(header)); !status.ok()) return status;
  return writer;
}

CheckpointWriter::~CheckpointWriter() {
  if (!finished_) files_.Remove(directory_ + "/" + kDraft).IgnoreError();
}

absl::Status CheckpointWriter::Write(std::string_view bytes) {
  if (absl::Status status = file_->WriteAt(at_, bytes); !status.ok()) return status;
  at_ += bytes.size();
  if (at_ - synced_ < kSyncBytes) return absl::OkStatus();
  synced_ = at_;
  return file_->Sync();
}

// `section` begins with room for the header.
absl::Status CheckpointWriter::WriteSection(uint32_t kind, uint64_t subject, std::string& section) {
  SectionHeader header = {.checksum = 0,
                          .offset = at_,
                          .subject = subject,
                          .kind = kind,
                          .bytes = static_cast<uint32_t>(section.size() - sizeof(SectionHeader))};
  std::memcpy(section.data(), &header, sizeof(header));
  header.checksum = ChecksumOf(section, identity_.store_id);
  std::memcpy(section.data(), &header.checksum, sizeof(header.checksum));
  return Write(section);
}

absl::Status CheckpointWriter::AddBlock(const Block& block, uint64_t dead_bytes) {
  section_.assign(sizeof(SectionHeader), '\0');
  const BlockUse& use = block.use;
  for (const uint64_t number :
       {uint64_t{block.relocated}, uint64_t{block.used}, block.base_version, use.records, use.record_bytes,
        use.expiring_bytes, use.first_expiry_ms, use.last_expiry_ms, dead_bytes}) {
    Put(section_, number);
  }
  section_ += block.chunks.raw();
  return WriteSection(kBlock, block.sequence, section_);
}

absl::Status CheckpointWriter::AddSlots(size_t partition, std::span<const HashIndex::Entry> slots) {
  if (slots.empty()) return absl::OkStatus();
  if (offsets_[partition] == 0) offsets_[partition] = at_;
  Position floor = UINT64_MAX;
  uint64_t bits = uint64_t{1} << 63;
  for (const auto& entry : slots) {
    floor = std::min(floor, entry.slot.position);
    bits |= entry.hash;
  }
  const int shift = std::countr_zero(bits);
  section_.resize(sizeof(SectionHeader) + (2 + 2 * slots.size()) * kMaxVarintBytes);
  char* out = PutVarint(section_.data() + sizeof(SectionHeader), floor);
  out = PutVarint(out, static_cast<uint64_t>(shift));
  uint64_t previous = 0;
  for (const auto& entry : slots) {
    out = PutVarint(out, (entry.hash - previous) >> shift);
    out = PutVarint(out, (entry.slot.position - floor) << 3 | FlagsOf(entry.slot));
    previous = entry.hash;
  }
  section_.resize(static_cast<size_t>(out - section_.data()));
  return WriteSection(kSlots, partition, section_);
}

absl::Status CheckpointWriter::AddHot(uint64_t block, std::span<const uint32_t> offsets) {
  if (hot_ == 0) hot_ = at_;
  section_.assign(sizeof(SectionHeader), '\0');
  uint32_t previous = 0;
  for (const uint32_t offset : offsets) Put(section_, offset - std::exchange(previous, offset));
  return WriteSection(kHot, block, section_);
}

absl::Status CheckpointWriter::Finish(const CheckpointState& state) {
  Trailer trailer = {.checksum = 0, .state = at_};
  section_.assign(sizeof(SectionHeader), '\0');
  section_ += EncodeState(state, offsets_, hot_);
  if (absl::Status status = WriteSection(kState, 0, section_); !status.ok()) return status;
  trailer.checksum = ChecksumOf(Raw(trailer), identity_.store_id);
  if (absl::Status status = Write(Raw(trailer)); !status.ok()) return status;
  if (absl::Status status = file_->Sync(); !status.ok()) return status;
  if (absl::Status status = files_.Rename(directory_ + "/" + kDraft, directory_ + "/" + kCheckpointFile);
      !status.ok()) {
    return status;
  }
  finished_ = true;
  return files_.SyncDirectory(directory_);
}

// Reads one section after the other.
class CheckpointReader::Sections {
 public:
  Sections(const CheckpointReader& reader, uint64_t begin, uint64_t end)
      : reader_(reader), at_(begin), end_(end), buffer_begin_(begin) {}

  struct Section {
    uint32_t kind = 0;
    uint64_t subject = 0;
    std::string_view payload;  // until the next call
  };
  // nullopt: there are no more.
  absl::StatusOr<std::optional<Section>> Next() {
    if (at_ >= end_) return std::nullopt;
    SectionHeader header{};
    if (absl::Status status = Fill(sizeof(header)); !status.ok()) return status;
    std::memcpy(&header, Here().data(), sizeof(header));
    if (header.offset != at_ || header.bytes > end_ - at_ - sizeof(header)) return reader_.Damaged(at_);
    if (absl::Status status = Fill(sizeof(header) + header.bytes); !status.ok()) return status;
    const std::string_view section = Here().substr(0, sizeof(header) + header.bytes);
    if (header.checksum != ChecksumOf(section, reader_.identity_.store_id)) return reader_.Damaged(at_);
    at_ += section.size();
    return Section{header.kind, header.subject, section.substr(sizeof(header))};
  }
  uint64_t at() const { return at_; }

 private:
  std::string_view Here() const { return std::string_view(buffer_).substr(at_ - buffer_begin_); }
  // So many bytes from at_ on are in the buffer.
  absl::Status Fill(uint64_t bytes) {
    if (bytes > end_ - at_) return reader_.Damaged(at_);
    if (Here().size() >= bytes) return absl::OkStatus();
    buffer_.erase(0, at_ - buffer_begin_);
    buffer_begin_ = at_;
    const uint64_t had = buffer_.size();
    buffer_.resize(std::min(end_ - at_, std::max(kReadBytes, bytes)));
    return reader_.file_->ReadAt(at_ + had, std::span(buffer_).subspan(had));
  }

  const CheckpointReader& reader_;
  uint64_t at_;
  const uint64_t end_;
  uint64_t buffer_begin_;
  std::string buffer_;
};

CheckpointReader::CheckpointReader(std::string path, const StoreIdentity& identity,
                                   std::unique_ptr<File> file)
    : path_(std::move(path)), identity_(identity), file_(std::move(file)) {}

CheckpointReader::~CheckpointReader() = default;

absl::Status CheckpointReader::Damaged(uint64_t offset) const {
  return absl::DataLossError(fmt::format("{} is damaged at offset {}", path_, offset));
}

absl::StatusOr<std::unique_ptr<CheckpointReader>> CheckpointReader::Open(const std::string& directory,
                                                                         const StoreIdentity& identity,
                                                                         size_t partitions,
                                                                         FileSystem& files) {
  const std::string path = directory + "/" + kCheckpointFile;
  auto file = files.Open(path, FileSystem::Mode::kReadDirect);
  if (!file.ok()) return file.status();
  std::unique_ptr<CheckpointReader> reader(new CheckpointReader(path, identity, *std::move(file)));
  if (absl::Status status = reader->ReadState(partitions); !status.ok()) return status;
  return reader;
}

absl::Status CheckpointReader::ReadState(size_t partitions) {
  const auto size = file_->Size();
  if (!size.ok()) return size.status();
  FileHeader header{};
  Trailer trailer{};
  if (*size < sizeof(header) + sizeof(trailer)) return Damaged(0);
  const auto bytes_of = [](auto& record) {
    return std::span(reinterpret_cast<char*>(&record), sizeof(record));
  };
  if (absl::Status status = file_->ReadAt(0, bytes_of(header)); !status.ok()) return status;
  if (header.magic != FileHeader::kMagic || header.checksum != ChecksumOf(Raw(header), header.store_id))
    return Damaged(0);
  if (header.format != kCheckpointFormat || header.store_id != identity_.store_id ||
      header.hash_seed != identity_.hash_seed || header.block_bytes != identity_.block_bytes ||
      header.partitions != partitions) {
    return absl::FailedPreconditionError(fmt::format(
        "{} was written by another version, or with another memory limit, or by another store", path_));
  }
  const uint64_t end = *size - sizeof(trailer);
  if (absl::Status status = file_->ReadAt(end, bytes_of(trailer)); !status.ok()) return status;
  const bool whole = trailer.checksum == ChecksumOf(Raw(trailer), identity_.store_id) &&
                     trailer.state >= sizeof(header) && trailer.state < end;
  if (!whole) return Damaged(end);
  hot_end_ = trailer.state;
  Sections sections(*this, trailer.state, end);
  const auto section = sections.Next();
  if (!section.ok()) return section.status();
  if ((*section)->kind != kState || !DecodeState((*section)->payload, state_, offsets_, hot_) ||
      offsets_.size() != partitions) {
    return Damaged(trailer.state);
  }
  slots_end_ = hot_ == 0 ? hot_end_ : hot_;
  return absl::OkStatus();
}

absl::Status CheckpointReader::ReadBlocks(
    const std::string& log_directory, absl::FunctionRef<absl::Status(std::unique_ptr<Block>)> visit) const {
  uint64_t end = slots_end_;
  for (const uint64_t offset : offsets_) {
    if (offset != 0) end = std::min(end, offset);
  }
  Sections sections(*this, sizeof(FileHeader), end);
  while (true) {
    const uint64_t offset = sections.at();
    const auto section = sections.Next();
    if (!section.ok()) return section.status();
    if (!*section) return absl::OkStatus();
    auto block = (*section)->kind == kBlock ? DecodeBlock((*section)->subject, (*section)->payload,
                                                          log_directory, identity_.block_bytes)
                                            : nullptr;
    if (block == nullptr) return Damaged(offset);
    if (absl::Status status = visit(std::move(block)); !status.ok()) return status;
  }
}

absl::Status CheckpointReader::ReadSlots(
    size_t first, size_t end,
    absl::FunctionRef<absl::Status(size_t partition, std::span<const HashIndex::Entry>)> visit) const {
  uint64_t from = slots_end_;
  uint64_t to = slots_end_;
  for (size_t i = first; i < offsets_.size(); ++i) {
    if (offsets_[i] != 0) (i < end ? from : to) = std::min(i < end ? from : to, offsets_[i]);
  }
  Sections sections(*this, from, to);
  std::vector<HashIndex::Entry> entries;
  while (true) {
    const uint64_t offset = sections.at();
    const auto section = sections.Next();
    if (!section.ok()) return section.status();
    if (!*section) return absl::OkStatus();
    const uint64_t partition = (*section)->subject;
    if ((*section)->kind != kSlots || partition < first || partition >= end) return Damaged(offset);
    Numbers in((*section)->payload);
    const Position floor = in.Next();
    const uint64_t shift = in.Next();
    uint64_t hash = 0;
    entries.clear();
    while (in.ok() && !in.left().empty() && shift < 64) {
      hash += in.Next() << shift;
      const uint64_t facts = in.Next();
      entries.push_back({.hash = hash,
                         .slot = {.position = floor + (facts >> 3),
                                  .unresolved = (facts & 2) != 0,
                                  .tombstone = (facts & 1) != 0,
                                  .shadow = (facts & 4) != 0}});
    }
    if (!in.ok() || shift >= 64) return Damaged(offset);
    if (absl::Status status = visit(partition, entries); !status.ok()) return status;
  }
}

absl::StatusOr<std::optional<uint64_t>> CheckpointReader::NextHot(std::vector<uint32_t>& offsets) {
  if (hot_ == 0) return std::nullopt;
  if (hot_sections_ == nullptr) hot_sections_ = std::make_unique<Sections>(*this, hot_, hot_end_);
  const uint64_t at = hot_sections_->at();
  const auto section = hot_sections_->Next();
  if (!section.ok()) return section.status();
  if (!*section) return std::nullopt;
  Numbers in((*section)->payload);
  uint32_t offset = 0;
  while (in.ok() && !in.left().empty()) offsets.push_back(offset += static_cast<uint32_t>(in.Next()));
  if ((*section)->kind != kHot || !in.ok()) return Damaged(at);
  return (*section)->subject;
}

absl::Status RemoveCheckpoint(const std::string& directory, FileSystem& files) {
  for (const char* const name : {kDraft, kCheckpointFile}) {
    const absl::Status status = files.Remove(directory + "/" + name);
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  return absl::OkStatus();
}

}  // namespace thermocline::storage
