#include "client/bitmap.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace thermocline::bitmap {
namespace {

std::vector<uint64_t> Naive(uint64_t first, const std::string& bits) {
  std::vector<uint64_t> ids;
  for (uint64_t i = 0; i < kBits; ++i) {
    if ((static_cast<unsigned char>(bits[i / 8]) >> i % 8 & 1) != 0) ids.push_back(first + i);
  }
  return ids;
}

std::vector<uint64_t> Expanded(uint64_t first, const std::string& bits) {
  constexpr uint64_t kUntouched = 0xABCDEF;
  std::vector<uint64_t> ids(kIdsRoom + 1, kUntouched);
  const size_t count = Expand(first, bits.data(), ids.data());
  EXPECT_EQ(ids[kIdsRoom], kUntouched) << "no more than kIdsRoom is written";
  ids.resize(count);
  return ids;
}

TEST(Bitmap, ExpandsAsTheContractSays) {
  std::string bits(kBytes, '\0');
  EXPECT_TRUE(Expanded(0, bits).empty());
  bits[0] = '\x05';
  bits[kBytes - 1] = '\x80';
  EXPECT_EQ(Expanded(131'072, bits), (std::vector<uint64_t>{131'072, 131'074, 131'072 + 65'535}));
}

TEST(Bitmap, ExpandsUpToTheLargestId) {
  const std::string bits(kBytes, '\xff');
  const uint64_t first = ~uint64_t{0} - 65'535;
  EXPECT_EQ(Expanded(first, bits), Naive(first, bits));
  EXPECT_EQ(Expanded(first, bits).back(), ~uint64_t{0});
}

// Of every density, with words that are empty and full among the others.
TEST(Bitmap, ExpandsLikeANaiveModel) {
  std::mt19937_64 random(7);
  for (int density = 0; density <= 64; ++density) {
    std::string bits(kBytes, '\0');
    for (uint64_t i = 0; i < kBits; ++i) {
      const uint64_t word = i / 64 % 4;
      if (word == 1 || (word > 1 && random() % 64 < static_cast<uint64_t>(density)))
        bits[i / 8] = static_cast<char>(bits[i / 8] | 1 << i % 8);
    }
    ASSERT_EQ(Expanded(65'536, bits), Naive(65'536, bits)) << density;
  }
}

}  // namespace
}  // namespace thermocline::bitmap
