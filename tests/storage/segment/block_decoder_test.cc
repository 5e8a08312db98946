// What a decoder says to blocks that a faulty writer has made: the checksum is right.

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/segment/id_file.h"
#include "storage/segment/id_file_format.h"
#include "storage/segment/kernels.h"
#include "tests/storage/segment/whole_id_file.h"

namespace thermocline::testing {
namespace {

using namespace storage::segment;
using ::testing::HasSubstr;

constexpr uint64_t kMaxId = std::numeric_limits<uint64_t>::max();
using Ids = std::vector<uint64_t>;

// A block that no writer need have made; the checksum is right all the same.
class Block {
 public:
  Block() = default;
  explicit Block(std::string bytes) : bytes_(std::move(bytes)) {}

  Block& Section(SectionKind kind, uint32_t count, uint64_t first, std::string_view payload) {
    const SectionHeader header{.kind = kind, .zeros = {}, .count = count, .first = first};
    bytes_.append(BytesOf(header).data(), sizeof(header));
    bytes_.append(payload);
    return *this;
  }

  // The message; "" if the block is sound.
  std::string Read(uint64_t first, uint64_t last, uint32_t count, uint64_t from = 0) {
    const BlockEntry block{.first = first,
                           .last = last,
                           .offset = 4096,
                           .checksum = ChecksumOf(bytes_),
                           .count = count,
                           .bytes = static_cast<uint32_t>(bytes_.size())};
    WholeIdFile file;
    BlockDecoder decoder("f");
    decoder.SkipTo(from);
    const absl::Status status = ReadBlock(block, bytes_, decoder, file);
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kDataLoss) << status;
    ids_ = file.ids;
    return std::string(status.message());
  }

  // That were read.
  const Ids& ids() const { return ids_; }

 private:
  Ids ids_;
  std::string bytes_;
};

std::string Words(const Ids& words) {
  std::string bytes(kBitmapBytes, '\0');
  std::memcpy(bytes.data(), words.data(), words.size() * sizeof(uint64_t));
  return bytes;
}
std::string Runs(const std::vector<std::pair<int, int>>& runs) {
  std::string bytes;
  for (const auto& [first, more] : runs) {
    const Run run{.first = static_cast<uint16_t>(first), .more = static_cast<uint16_t>(more)};
    bytes.append(BytesOf(run).data(), sizeof(run));
  }
  bytes.resize(PaddedBytes(bytes.size()));
  return bytes;
}

const std::string kPacked35("\x08\x01\x02\0\0\0\0\0", 8);  // two differences: 2 and 3

TEST(BlockDecoderTest, SoundOnesAreRead) {
  EXPECT_EQ(Block().Section(SectionKind::kPacked, 3, 10, kPacked35).Read(10, 15, 3), "");
  EXPECT_EQ(Block().Section(SectionKind::kBitmap, 2, 0, Words({6})).Read(1, 2, 2), "");
  EXPECT_EQ(Block().Section(SectionKind::kRuns, 5, 0, Runs({{1, 1}, {7, 2}})).Read(1, 9, 5), "");
  EXPECT_EQ(Block()
                .Section(SectionKind::kPacked, 1, 10, "")
                .Section(SectionKind::kPacked, 1, 11, "")
                .Read(10, 11, 2),
            "");
}

TEST(BlockDecoderTest, SectionsAreChecked) {
  EXPECT_THAT(Block().Read(1, 1, 1), HasSubstr("ids are missing"));
  EXPECT_THAT(Block(std::string(8, '\0')).Read(1, 1, 1), HasSubstr("a section is cut off"));
  EXPECT_THAT(Block().Section(SectionKind{0}, 1, 1, "").Read(1, 1, 1), HasSubstr("no such section"));
  EXPECT_THAT(Block().Section(SectionKind{4}, 1, 1, "").Read(1, 1, 1), HasSubstr("no such section"));
  EXPECT_THAT(Block().Section(SectionKind::kPacked, 0, 1, "").Read(1, 1, 1), HasSubstr("wrong number"));
  EXPECT_THAT(Block().Section(SectionKind::kPacked, 3, 10, kPacked35).Read(10, 15, 2),
              HasSubstr("wrong number"));
  EXPECT_THAT(Block().Section(SectionKind::kPacked, 3, 10, kPacked35).Read(10, 15, 4),
              HasSubstr("ids are missing"));
  EXPECT_THAT(Block().Section(SectionKind::kPacked, 3, 10, kPacked35).Read(9, 15, 3),
              HasSubstr("out of order"));
  EXPECT_THAT(Block().Section(SectionKind::kPacked, 3, 10, kPacked35).Read(10, 14, 3), HasSubstr("beyond"));
  EXPECT_THAT(Block().Section(SectionKind::kPacked, 3, 10, kPacked35).Read(10, 16, 3),
              HasSubstr("the last id"));
  EXPECT_THAT(Block()
                  .Section(SectionKind::kPacked, 3, 10, kPacked35)
                  .Section(SectionKind::kPacked, 1, 15, "")
                  .Read(10, 15, 4),
              HasSubstr("out of order"));
  EXPECT_THAT(Block()
                  .Section(SectionKind::kBitmap, 2, 0, Words({6}))
                  .Section(SectionKind::kPacked, 1, 9, "")
                  .Read(1, 9, 3),
              HasSubstr("out of order"));
  EXPECT_THAT(Block().Section(SectionKind::kBitmap, 1, 8, Words({6})).Read(8, 9, 1),
              HasSubstr("inside of a container"));
}

TEST(BlockDecoderTest, PayloadsAreChecked) {
  EXPECT_THAT(Block().Section(SectionKind::kBitmap, 3, 0, Words({6})).Read(1, 2, 3),
              HasSubstr("wrong number"));
  EXPECT_THAT(Block().Section(SectionKind::kBitmap, 2, 0, Words({6})).Read(0, 2, 2), HasSubstr("bounds"));
  EXPECT_THAT(Block().Section(SectionKind::kBitmap, 2, 0, Words({6})).Read(1, 1, 2), HasSubstr("bounds"));
  EXPECT_THAT(Block().Section(SectionKind::kBitmap, 2, 0, Words({6}).substr(8)).Read(1, 2, 2),
              HasSubstr("cut off"));

  EXPECT_THAT(Block().Section(SectionKind::kRuns, 2, 0, "").Read(1, 2, 2), HasSubstr("runs that are none"));
  EXPECT_THAT(Block().Section(SectionKind::kRuns, 4, 0, Runs({{1, 1}, {7, 2}})).Read(1, 9, 4),
              HasSubstr("runs that are"));
  EXPECT_THAT(Block().Section(SectionKind::kRuns, 6, 0, Runs({{1, 1}, {7, 2}})).Read(1, 9, 6),
              HasSubstr("runs that are"));
  EXPECT_THAT(Block().Section(SectionKind::kRuns, 4, 0, Runs({{1, 1}, {3, 1}})).Read(1, 4, 4),
              HasSubstr("runs that are"));
  EXPECT_THAT(Block().Section(SectionKind::kRuns, 2, 0, Runs({{65535, 1}})).Read(65535, 65536, 2),
              HasSubstr("runs that are"));
  EXPECT_THAT(Block().Section(SectionKind::kRuns, 2, 0, Runs({{1, 1}, {1, 1}})).Read(1, 2, 2),
              HasSubstr("runs that are"));
  EXPECT_THAT(Block().Section(SectionKind::kRuns, 2, 0, Runs({{1, 1}})).Read(0, 2, 2), HasSubstr("bounds"));

  EXPECT_THAT(Block().Section(SectionKind::kPacked, 3, 10, "").Read(10, 15, 3), HasSubstr("cut off"));
  EXPECT_THAT(
      Block().Section(SectionKind::kPacked, 3, 10, std::string("\x41\0\0\0\0\0\0\0", 8)).Read(10, 15, 3),
      HasSubstr("more than 64 bits"));
  EXPECT_THAT(
      Block().Section(SectionKind::kPacked, 3, 10, std::string("\x40\0\0\0\0\0\0\0", 8)).Read(10, 15, 3),
      HasSubstr("cut off"));
  EXPECT_THAT(Block()
                  .Section(SectionKind::kPacked, 3, 10, std::string("\x08\x01\x02\x01\0\0\0\0", 8))
                  .Read(10, 15, 3),
              HasSubstr("padding"));
  EXPECT_THAT(
      Block().Section(SectionKind::kPacked, kMaxPartIds + 1, 10, std::string(72, '\0')).Read(10, 8202, 8193),
      HasSubstr("wrong number"));
}

TEST(BlockDecoderTest, PassesOverNothingThatIsWanted) {
  Block block;
  block.Section(SectionKind::kPacked, 1, 10, "").Section(SectionKind::kPacked, 1, 11, "");
  block.Section(SectionKind::kBitmap, 1, kContainerIds, Words({1}));
  const uint64_t last = kContainerIds;
  const std::vector<std::pair<uint64_t, Ids>> cases{{10, {10, 11, last}},   {11, {11, last}},
                                                    {last - 1, {11, last}}, {last, {last}},
                                                    {last + 65535, {last}}, {last + 65536, {}}};
  for (const auto& [from, ids] : cases) {
    EXPECT_EQ(block.Read(10, last, 3, from), "");
    EXPECT_EQ(block.ids(), ids) << from;
  }
}

// Sums that wrap around may come to lie in order at the end.
TEST(BlockDecoderTest, WrappedSumsAreSeen) {
  std::string wide(PaddedBytes(1 + 2 * 8), '\0');
  wide[0] = 64;
  std::memset(&wide[1], 0xff, 8);  // a difference of 2^64
  EXPECT_THAT(Block().Section(SectionKind::kPacked, 3, 10, wide).Read(10, 11, 3), HasSubstr("out of order"));
  EXPECT_THAT(Block().Section(SectionKind::kPacked, 2, kMaxId, std::string(8, '\0')).Read(kMaxId, kMaxId, 2),
              HasSubstr("out of order"));
  for (const unsigned bits : {50u, 56u, 57u, 58u, 63u}) {
    const Ids values(127, (uint64_t{1} << bits) - 1);
    std::string packed(PaddedBytes(1 + PackedBytes(values.size(), bits)), '\0');
    packed[0] = static_cast<char>(bits);
    PackBits(values.data(), values.size(), bits, &packed[1]);
    const uint64_t last = kMaxId - 5 + 127 * (values[0] + 1);  // wraps
    EXPECT_THAT(Block().Section(SectionKind::kPacked, 128, kMaxId - 5, packed).Read(kMaxId - 5, last, 128),
                HasSubstr("out of order"));
  }
}

}  // namespace
}  // namespace thermocline::testing
