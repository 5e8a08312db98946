#include "storage/segment/id_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <fmt/format.h>

#include "storage/segment/id_file_format.h"
#include "storage/segment/kernels.h"
#include "tests/storage/segment/memory_objects.h"
#include "tests/storage/segment/whole_id_file.h"

namespace thermocline::testing {
namespace {

using namespace storage::segment;
using ::testing::HasSubstr;

constexpr uint64_t kMaxId = std::numeric_limits<uint64_t>::max();
using Ids = std::vector<uint64_t>;

std::unique_ptr<storage::ObjectWriter> CreateObject(MemoryObjects& objects) {
  return *objects.Create("file");
}

// The file of these ids, handed over in pieces of at most so many.
std::string WriteIdFile(const Ids& ids, size_t piece = std::numeric_limits<size_t>::max()) {
  MemoryObjects objects;
  IdFileWriter writer(CreateObject(objects), 7);
  std::span<const uint64_t> left(ids);
  while (!left.empty()) {
    EXPECT_TRUE(writer.Add(left.first(std::min(piece, left.size()))).ok());
    left = left.subspan(std::min(piece, left.size()));
  }
  EXPECT_EQ(writer.count(), ids.size());
  const auto summary = writer.Finish();
  EXPECT_TRUE(summary.ok()) << summary.status();
  std::string bytes = objects.Bytes("file");
  EXPECT_EQ(summary->count, ids.size());
  EXPECT_EQ(summary->first, ids.empty() ? 0 : ids.front());
  EXPECT_EQ(summary->last, ids.empty() ? 0 : ids.back());
  EXPECT_EQ(summary->bytes, bytes.size());
  return bytes;
}

WholeIdFile ExpectReads(std::string_view bytes, const Ids& ids) {
  const auto file = ReadIdFile(bytes);
  if (!file.ok()) {
    ADD_FAILURE() << file.status();
    return {};
  }
  EXPECT_TRUE(file->ids == ids) << file->ids.size() << " ids, not the " << ids.size() << " that were written";
  EXPECT_EQ(file->footer.number, 7u);
  EXPECT_EQ(file->footer.count, ids.size());
  EXPECT_EQ(file->footer.blocks, file->blocks.size());
  return *file;
}

WholeIdFile ExpectRoundTrip(const Ids& ids) { return ExpectReads(WriteIdFile(ids), ids); }

Ids Range(uint64_t first, uint64_t last) {
  Ids ids;
  for (uint64_t id = first; id < last; ++id) ids.push_back(id);
  ids.push_back(last);
  return ids;
}

uint64_t Scrambled(uint64_t number) {
  number = (number ^ number >> 31) * 0x9e3779b97f4a7c15;
  return (number ^ number >> 29) * 0xbf58476d1ce4e5b9 >> 7;
}

// Packed ids, a bitmap, runs, and packed ids again: four sections of one block.
Ids OfAllKinds() {
  Ids ids{1000, 1003, 70'000, uint64_t{1} << 30};
  const uint64_t bitmap = uint64_t{1} << 32;
  for (uint64_t id = 0; id < kContainerIds; ++id) {
    if (Scrambled(id / 64) >> (id % 50) & 1) ids.push_back(bitmap + id);
  }
  for (const uint64_t id : Range(bitmap + 3 * kContainerIds, bitmap + 3 * kContainerIds + 2000)) {
    ids.push_back(id);
  }
  for (const uint64_t id : Range(bitmap + 3 * kContainerIds + 9000, bitmap + 4 * kContainerIds - 1)) {
    ids.push_back(id);
  }
  ids.insert(ids.end(), {uint64_t{1} << 60, kMaxId});
  return ids;
}

TEST(IdFileTest, AnEmptyFileIsAFile) {
  const WholeIdFile file = ExpectRoundTrip({});
  EXPECT_TRUE(file.blocks.empty());
  EXPECT_EQ(WriteIdFile({}).size(), kHeaderBytes + kFooterBytes);
}

TEST(IdFileTest, HoldsTheEndsOfTheIdSpace) {
  ExpectRoundTrip({0});
  ExpectRoundTrip({kMaxId});
  ExpectRoundTrip({0, kMaxId});
  ExpectRoundTrip({0, 1, kMaxId - 1, kMaxId});
  ExpectRoundTrip(Range(0, kContainerIds - 1));
  ExpectRoundTrip(Range(ContainerOf(kMaxId), kMaxId));
  ExpectRoundTrip(Range(kMaxId - 3 * kContainerIds / 2, kMaxId));
  Ids every_other;
  for (uint64_t id = 0; id < kContainerIds; id += 2) every_other.push_back(ContainerOf(kMaxId) + id + 1);
  ExpectRoundTrip(every_other);
  Ids scattered;
  for (uint64_t id = 0; id < kContainerIds; ++id) {
    if (Scrambled(id) % 2 == 0 || id == kContainerIds - 1) scattered.push_back(ContainerOf(kMaxId) + id);
  }
  EXPECT_EQ(ExpectRoundTrip(scattered).bitmap_parts, 1u);
}

TEST(IdFileTest, WritesWhatTakesFewestBytes) {
  const std::string kinds = WriteIdFile(OfAllKinds());
  const WholeIdFile file = ExpectReads(kinds, OfAllKinds());
  EXPECT_EQ(file.blocks.size(), 1u);
  EXPECT_EQ(file.id_parts, 2u);
  EXPECT_EQ(file.bitmap_parts, 2u);

  // A regular pattern packs better than a bitmap, by far, so that many ids of a container are packed.
  Ids fourths;
  for (uint64_t id = 0; id < 4 * kContainerIds; id += 4) fourths.push_back(id);
  EXPECT_LT(WriteIdFile(fourths).size(), fourths.size() * 3 / 10);
  EXPECT_EQ(ExpectRoundTrip(fourths).bitmap_parts, 0u);

  // Ids of a few runs among others that are alone do not get a section each.
  Ids pairs;
  for (uint64_t id = 0; id < 1000; ++id) pairs.insert(pairs.end(), {id << 30, (id << 30) + 1});
  EXPECT_EQ(ExpectRoundTrip(pairs).id_parts, 1u);
}

// `runs` of so many ids in one container.
Ids Runs(uint64_t runs, uint64_t ids_each) {
  Ids ids;
  for (uint64_t run = 0; run < runs; ++run) {
    const uint64_t first = kContainerIds + run * 1000 + Scrambled(run) % 500;
    for (uint64_t i = 0; i < ids_each; ++i) ids.push_back(first + i);
  }
  return ids;
}

TEST(IdFileTest, FewIdsOfRunsAreListed) {
  const WholeIdFile few = ExpectRoundTrip(Runs(20, 40));
  EXPECT_EQ(few.id_parts, 1u);
  EXPECT_EQ(few.bitmap_parts, 0u);
  EXPECT_LE(few.blocks.front().bytes, 16 + 20 * 4u);
  const WholeIdFile many = ExpectRoundTrip(Runs(20, 400));
  EXPECT_EQ(many.bitmap_parts, 1u);
  EXPECT_EQ(many.blocks.front().bytes, few.blocks.front().bytes);
}

double BytesAnId(const Ids& ids) {
  const std::string bytes = WriteIdFile(ids);
  ExpectReads(bytes, ids);
  return static_cast<double>(bytes.size()) / static_cast<double>(ids.size());
}

TEST(IdFileTest, TakesFewBytesAnId) {
  std::mt19937_64 random(1);
  Ids half;
  for (uint64_t id = 0; id < 32 * kContainerIds; ++id) {
    if (random() % 2 == 0) half.push_back(id);
  }
  EXPECT_LT(8 * BytesAnId(half), 2.02);

  // As sparse as a hundred million ids of 64 bits, and more than one index page.
  Ids sparse;
  uint64_t id = 0;
  while (sparse.size() < 2'000'000) {
    const double uniform = (static_cast<double>(random() >> 11) + 1) * 0x1p-53;
    id += 1 + static_cast<uint64_t>(-std::log(uniform) * 0x1p37);
    sparse.push_back(id);
  }
  const std::string bytes = WriteIdFile(sparse);
  const WholeIdFile file = ExpectReads(bytes, sparse);
  EXPECT_LT(static_cast<double>(bytes.size()) / static_cast<double>(sparse.size()), 5.15);
  EXPECT_GT(file.pages.size(), 1u);
  EXPECT_EQ(file.pages.front().blocks, kBlocksPerIndexPage);
  // Blocks are full.
  EXPECT_LT(file.blocks.size(), bytes.size() / (kMaxBlockBytes - 1000));

  EXPECT_LT(BytesAnId(Range(1'000'000, 6'000'000)), 0.001);
}

TEST(IdFileTest, PackedIdsFillABlockUpToItsLimit) {
  Ids ids;
  for (uint64_t id = 0; id < 100'000; ++id) ids.push_back(100 * id);
  const WholeIdFile file = ExpectRoundTrip(ids);
  EXPECT_EQ(file.blocks.size(), (ids.size() + kMaxPartIds - 1) / kMaxPartIds);
  EXPECT_EQ(file.blocks.front().count, kMaxPartIds);
}

// Stretches of all kinds: dense, sparse, runs, regular, alone.
Ids RandomMixture(std::mt19937_64& random) {
  std::set<uint64_t> ids;
  uint64_t at = random() % 2 == 0 ? 0 : random();
  for (int stretches = 1 + random() % 12; stretches > 0; --stretches) {
    const uint64_t gap = uint64_t{1} << random() % 6;
    const uint64_t bits = random() % 58;
    const int kind = random() % 5;
    for (uint64_t left = random() % 5000; left > 0; --left) {
      if (kind == 0) at += 1 + random() % (2 * gap);
      if (kind == 1) at += 1 + (random() >> (63 - bits));
      if (kind == 2) at += random() % 100 == 0 ? random() % 1000 : 1;
      if (kind == 3) at += gap;
      if (kind == 4 && random() % 20 == 0) at = random();
      ids.insert(at++);
    }
    at += random() % 2 == 0 ? random() % kContainerIds : random() >> random() % 40;
  }
  if (random() % 3 == 0) ids.insert(0);
  if (random() % 3 == 0) ids.insert(kMaxId);
  return {ids.begin(), ids.end()};
}

TEST(IdFileTest, RoundTripsMixtures) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE(round);
    const Ids ids = RandomMixture(random);
    const std::string bytes = WriteIdFile(ids);
    ExpectReads(bytes, ids);
    // The file does not depend on how the ids came.
    ASSERT_TRUE(WriteIdFile(ids, 1 + random() % 3000) == bytes);
  }
}

TEST(IdFileTest, SkipsWhatIsBelow) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 40; ++round) {
    const Ids ids = round == 0 ? OfAllKinds() : RandomMixture(random);
    const std::string bytes = WriteIdFile(ids);
    for (int skip = 0; skip < 10; ++skip) {
      const uint64_t from = skip == 0 ? kMaxId : ids[random() % ids.size()] + random() % 3;
      const auto file = ReadIdFile(bytes, from);
      ASSERT_TRUE(file.ok()) << file.status();
      const auto wanted = std::lower_bound(ids.begin(), ids.end(), from);
      const auto found = std::lower_bound(file->ids.begin(), file->ids.end(), from);
      ASSERT_TRUE(std::equal(wanted, ids.end(), found, file->ids.end()));
      ASSERT_TRUE(std::includes(ids.begin(), ids.end(), file->ids.begin(), file->ids.end()));
    }
  }
  const Ids ids = OfAllKinds();
  EXPECT_EQ(ReadIdFile(WriteIdFile(ids), kMaxId)->ids, (Ids{uint64_t{1} << 60, kMaxId}));
}

TEST(IdFileTest, TakesPartsOfBothKinds) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 40; ++round) {
    const Ids ids = RandomMixture(random);
    MemoryObjects objects;
    IdFileWriter writer(CreateObject(objects), 7);
    std::span<const uint64_t> left(ids);
    while (!left.empty()) {
      const uint64_t container = ContainerOf(left.front());
      const size_t here = left.back() - container < kContainerIds
                              ? left.size()
                              : FirstAtLeast(left, 0, container + kContainerIds);
      // Sometimes a bitmap comes after ids of its container, or before.
      const size_t size = random() % 3 == 0 ? 1 + random() % here : here;
      Part part{.count = size, .first = left.front(), .last = left[size - 1]};
      Ids words(kContainerWords);
      if (random() % 2 == 0) {
        for (const uint64_t id : left.first(size)) SetBit(words.data(), id);
        part.kind = Part::Kind::kBitmap;
        part.first = container;
        part.last = container + kContainerIds - 1;
        part.words = words.data();
      } else {
        part.kind = Part::Kind::kIds;
        part.ids = left.data();
      }
      ASSERT_TRUE(writer.Add(part).ok());
      left = left.subspan(size);
    }
    ASSERT_TRUE(writer.Finish().ok());
    ASSERT_TRUE(objects.Bytes("file") == WriteIdFile(ids));
  }
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (size_t i = 0; i < bytes.size(); ++i) {
    hex += fmt::format("{:02x}", static_cast<uint8_t>(bytes[i]));
    if (i % 8 == 7) hex += i % 32 == 31 ? '\n' : ' ';
  }
  return hex;
}

// The format of files that users have: a change of any byte here needs a new kIdFileVersion.
TEST(IdFileFormatTest, GoldenBytes) {
  const std::string bytes = WriteIdFile(OfAllKinds());
  const size_t bitmap = kHeaderBytes + 2 * sizeof(SectionHeader) + 16;
  // clang-format off
  EXPECT_EQ(Hex(bytes.substr(0, bitmap)),
            "5443494446494c45 0100000000000000 0700000000000000 4ed520468bfeab04\n"
            "0300000004000000 e803000000000000 1e02000000614300 f0e8eeff03000000\n"
            "0100000083800000 0000000001000000 ");
  EXPECT_EQ(Hex(bytes.substr(bitmap + kBitmapBytes)),
            "02000000a9e40000 0000030001000000 0000d0072823d7dc 0300000002000000\n"
            "0000000000000010 40feffffffffffff ef00000000000000 e803000000000000\n"
            "ffffffffffffffff 2000000000000000 6ee160d60a907970 3265010068200000\n"
            "e803000000000000 ffffffffffffffff 3265010000000000 8820000000000000\n"
            "886da04f0e92728f 0100000028000000 0700000000000000 3265010000000000\n"
            "e803000000000000 ffffffffffffffff 0100000000000000 b020000000000000\n"
            "3000000000000000 73d62fb6e51a6927 f236afa81d5fd64d 0100000000000000\n"
            "d6fbd33ef5d85322 5443494446454e44 ");
  // clang-format on
  // The bitmap itself.
  Ids words(kContainerWords);
  for (const uint64_t id : OfAllKinds()) {
    if (ContainerOf(id) == uint64_t{1} << 32) SetBit(words.data(), id);
  }
  EXPECT_EQ(std::memcmp(&bytes[bitmap], words.data(), kBitmapBytes), 0);
}

void ExpectRefuses(const std::string& bytes, const std::string& what) {
  const auto file = ReadIdFile(bytes);
  ASSERT_FALSE(file.ok()) << what;
  ASSERT_EQ(file.status().code(), absl::StatusCode::kDataLoss) << what << ": " << file.status();
  ASSERT_THAT(std::string(file.status().message()), HasSubstr("file: damaged at offset")) << what;
}

void ExpectSeesEveryFlip(std::string bytes) {
  const size_t version = bytes.size() - kFooterBytes + offsetof(FileFooter, version);
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes[at] = static_cast<char>(bytes[at] ^ 1 << bit);
      const std::string what = fmt::format("bit {} of byte {}", bit, at);
      if (at - version < sizeof(FileFooter::version)) {
        ASSERT_EQ(ReadIdFile(bytes).status().code(), absl::StatusCode::kFailedPrecondition) << what;
      } else {
        ASSERT_NO_FATAL_FAILURE(ExpectRefuses(bytes, what));
      }
      bytes[at] = static_cast<char>(bytes[at] ^ 1 << bit);
    }
  }
}

TEST(IdFileDamageTest, EveryFlippedBitIsSeen) {
  ExpectSeesEveryFlip(WriteIdFile({}));
  ExpectSeesEveryFlip(WriteIdFile({1, 5, 100'000, kMaxId}));
  ExpectSeesEveryFlip(WriteIdFile(OfAllKinds()));
}

TEST(IdFileDamageTest, EveryTruncationIsSeen) {
  for (const Ids& ids : {Ids{}, Ids{1, 5, 100'000}, OfAllKinds()}) {
    const std::string bytes = WriteIdFile(ids);
    for (size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_NO_FATAL_FAILURE(ExpectRefuses(bytes.substr(0, size), fmt::format("{} bytes", size)));
      ASSERT_NO_FATAL_FAILURE(
          ExpectRefuses(bytes.substr(bytes.size() - size), fmt::format("the last {}", size)));
    }
    ExpectRefuses(bytes + std::string(8, '\0'), "more bytes");
    ExpectRefuses(std::string(8, '\0') + bytes, "bytes before");
  }
}

TEST(IdFileDamageTest, PartsOfAnotherFileAreSeen) {
  const std::string one = WriteIdFile({1, 5, 100'000});
  const std::string other = WriteIdFile({1, 6, 100'000});
  ASSERT_EQ(one.size(), other.size());
  ExpectRefuses(one.substr(0, one.size() - kFooterBytes) + other.substr(one.size() - kFooterBytes), "footer");
  const size_t block_end = kHeaderBytes + 24;
  ExpectRefuses(one.substr(0, block_end) + other.substr(block_end), "block");
}

// Keeps what it was given.
class RecordingWriter : public storage::ObjectWriter {
 public:
  explicit RecordingWriter(std::vector<size_t>& sizes) : sizes_(sizes) {}
  absl::Status Append(std::string_view bytes) override {
    sizes_.push_back(bytes.size());
    return absl::OkStatus();
  }
  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  std::vector<size_t>& sizes_;
};

TEST(IdFileWriterTest, AppendsInPieces) {
  std::mt19937_64 random(5);
  std::vector<size_t> sizes;
  IdFileWriter writer(std::make_unique<RecordingWriter>(sizes), 1);
  uint64_t id = 0;
  size_t known = 0;
  for (int i = 0; i < 400'000; ++i) {
    id += 1 + random() % 1'000'000;
    ASSERT_TRUE(writer.Add(Ids{id}).ok());
    for (; known < sizes.size(); ++known) {
      EXPECT_GE(sizes[known], 64u << 10);
      EXPECT_LE(sizes[known], 256u << 10);
    }
  }
  EXPECT_GT(known, 4u);
  const uint64_t before = writer.bytes();
  const auto summary = writer.Finish();
  ASSERT_TRUE(summary.ok());
  size_t sum = 0;
  for (const size_t size : sizes) sum += size;
  EXPECT_EQ(summary->bytes, sum);
  EXPECT_LE(before, sum);
  EXPECT_GE(before + kMaxBlockBytes + kMaxIndexPageBytes, sum);
}

TEST(IdFileWriterTest, TellsWhatTheObjectSaid) {
  MemoryObjects objects;
  {
    IdFileWriter writer(CreateObject(objects), 1);
    objects.FailAppends(absl::ResourceExhaustedError("full"));
    ASSERT_TRUE(writer.Add(Ids{1, 2, 3}).ok());
    absl::Status status;
    for (uint64_t id = 1; status.ok() && id < 1'000'000; ++id) status = writer.Add(Ids{id << 40});
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  }
  {
    objects.FailAppends(absl::OkStatus());
    IdFileWriter writer(CreateObject(objects), 1);
    objects.FailAppends(absl::UnavailableError("gone"));
    EXPECT_EQ(writer.Finish().status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(objects.size(), 0u);
  }
  objects.FailAppends(absl::OkStatus());
  IdFileWriter writer(CreateObject(objects), 1);
  objects.Put("file", "another");
  EXPECT_EQ(writer.Finish().status().code(), absl::StatusCode::kAlreadyExists);
}

TEST(IdFileWriterDeathTest, IdsMustAscend) {
  MemoryObjects objects;
  IdFileWriter writer(CreateObject(objects), 1);
  ASSERT_TRUE(writer.Add(Ids{5}).ok());
  EXPECT_DEATH((void)writer.Add(Ids{5}), "");
  EXPECT_DEATH((void)writer.Add(Ids{7, 6}), "");
  Ids words(kContainerWords);
  words[0] = 1 << 5;
  EXPECT_DEATH((void)writer.Add(Part{.kind = Part::Kind::kBitmap, .count = 1, .words = words.data()}), "");
}

}  // namespace
}  // namespace thermocline::testing
