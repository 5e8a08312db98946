#include "storage/segment/kernels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "storage/segment/id_file.h"
#include "storage/segment/kernel_variants.h"

namespace thermocline::testing {
namespace {

using namespace storage::segment;

constexpr uint64_t kMaxId = std::numeric_limits<uint64_t>::max();
using Ids = std::vector<uint64_t>;

// Words that begin `shift` words behind an address that is aligned to 64 bytes, and whose neighbours must
// stay as they are.
class Bitmap {
 public:
  explicit Bitmap(size_t shift = 0) : shift_(shift + 1) { storage_.fill(kGuard); }
  ~Bitmap() {
    EXPECT_EQ(storage_[shift_ - 1], kGuard);
    EXPECT_EQ(storage_[shift_ + kContainerWords], kGuard);
  }

  uint64_t* words() { return storage_.data() + shift_; }
  Bitmap& Fill(const Ids& words) {
    std::copy(words.begin(), words.end(), this->words());
    return *this;
  }
  Ids Copy() { return {words(), words() + kContainerWords}; }

 private:
  static constexpr uint64_t kGuard = 0xfeedfeedfeedfeed;
  const size_t shift_;
  alignas(64) std::array<uint64_t, kContainerWords + 10> storage_;
};

Ids RandomWords(std::mt19937_64& random, int sparseness) {
  Ids words(kContainerWords);
  for (uint64_t& word : words) {
    word = random();
    for (int i = 0; i < sparseness; ++i) word &= random();
  }
  return words;
}

// Empty, full, single bits at the ends, and random ones from dense to sparse.
std::vector<Ids> SampleWords() {
  std::mt19937_64 random(1);
  std::vector<Ids> samples{Ids(kContainerWords, 0), Ids(kContainerWords, kMaxId)};
  samples.emplace_back(kContainerWords, 0).front() = 1;
  samples.emplace_back(kContainerWords, 0).back() = uint64_t{1} << 63;
  for (const int sparseness : {0, 1, 2, 3, 4, 6, 9}) samples.push_back(RandomWords(random, sparseness));
  // Words of every number of bits side by side.
  Ids& mixed = samples.emplace_back(kContainerWords);
  for (size_t i = 0; i < kContainerWords; ++i) {
    while (static_cast<size_t>(std::popcount(mixed[i])) < i % 65) mixed[i] |= uint64_t{1} << random() % 64;
  }
  return samples;
}

class KernelVariantTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && Avx2Kernels() == nullptr) GTEST_SKIP() << "no AVX2 here";
  }
  const KernelVariant& kernels() const { return GetParam() ? *Avx2Kernels() : kPortableKernels; }
};

INSTANTIATE_TEST_SUITE_P(All, KernelVariantTest, ::testing::Bool(),
                         [](const auto& variant) { return variant.param ? "Avx2" : "Portable"; });

using Combination = uint64_t (*)(const uint64_t*, const uint64_t*, uint64_t*);

template <typename Naive>
void ExpectCombines(Combination combine, const Ids& a, const Ids& b, size_t shift, Naive naive) {
  Ids expected(kContainerWords);
  uint64_t count = 0;
  for (size_t i = 0; i < kContainerWords; ++i) {
    expected[i] = naive(a[i], b[i]);
    count += std::popcount(expected[i]);
  }
  Bitmap left(shift);
  Bitmap right(shift / 2);
  Bitmap out(3 - shift % 4);
  EXPECT_EQ(combine(left.Fill(a).words(), right.Fill(b).words(), out.words()), count);
  EXPECT_EQ(out.Copy(), expected);
  EXPECT_EQ(left.Copy(), a);
  EXPECT_EQ(combine(left.words(), right.words(), left.words()), count);
  EXPECT_EQ(left.Copy(), expected);
  EXPECT_EQ(combine(left.Fill(a).words(), right.words(), right.words()), count);
  EXPECT_EQ(right.Copy(), expected);
}

TEST_P(KernelVariantTest, CombinesWords) {
  size_t shift = 0;
  for (const Ids& a : SampleWords()) {
    for (const Ids& b : SampleWords()) {
      shift = (shift + 1) % 8;
      ExpectCombines(kernels().and_words, a, b, shift, [](uint64_t x, uint64_t y) { return x & y; });
      ExpectCombines(kernels().or_words, a, b, shift, [](uint64_t x, uint64_t y) { return x | y; });
      ExpectCombines(kernels().and_not_words, a, b, shift, [](uint64_t x, uint64_t y) { return x & ~y; });
    }
  }
}

TEST_P(KernelVariantTest, CountsAndListsWords) {
  constexpr uint64_t kGuard = 0xfeedfeedfeedfeed;
  for (const uint64_t container : {uint64_t{0}, ContainerOf(uint64_t{1} << 40), ContainerOf(kMaxId)}) {
    for (const Ids& words : SampleWords()) {
      Ids expected;
      for (uint64_t id = 0; id < kContainerIds; ++id) {
        if (TestBit(words.data(), id)) expected.push_back(container + id);
      }
      EXPECT_EQ(kernels().count_words(words.data()), expected.size());
      Ids listed(expected.size() + 8 + 1, kGuard);
      EXPECT_EQ(kernels().list_words(words.data(), container, listed.data()), expected.size());
      EXPECT_EQ(listed.back(), kGuard);
      listed.resize(expected.size());
      EXPECT_EQ(listed, expected);
    }
  }
}

TEST(WordsTest, SetsAndClearsBits) {
  Ids words(kContainerWords);
  for (const uint64_t id : {uint64_t{0}, uint64_t{63}, uint64_t{64}, uint64_t{1} << 20 | 1000, kMaxId}) {
    EXPECT_FALSE(TestBit(words.data(), id));
    SetBit(words.data(), id);
    EXPECT_TRUE(TestBit(words.data(), id));
    EXPECT_EQ(CountWords(words.data()), 1u);
    ClearBit(words.data(), id);
    EXPECT_EQ(CountWords(words.data()), 0u);
  }
  SetBit(words.data(), kMaxId);
  EXPECT_EQ(words.back(), uint64_t{1} << 63);
}

TEST(WordsTest, TheChosenVariantDoesTheSame) {
  const std::vector<Ids> samples = SampleWords();
  const Ids& a = samples[4];
  const Ids& b = samples[5];
  Ids out(kContainerWords);
  Ids expected(kContainerWords);
  EXPECT_EQ(AndWords(a.data(), b.data(), out.data()),
            kPortableKernels.and_words(a.data(), b.data(), expected.data()));
  EXPECT_EQ(out, expected);
  EXPECT_EQ(OrWords(a.data(), b.data(), out.data()),
            kPortableKernels.or_words(a.data(), b.data(), expected.data()));
  EXPECT_EQ(out, expected);
  EXPECT_EQ(AndNotWords(a.data(), b.data(), out.data()),
            kPortableKernels.and_not_words(a.data(), b.data(), expected.data()));
  EXPECT_EQ(out, expected);
  Ids listed(kContainerIds + 8);
  EXPECT_EQ(ListWords(a.data(), 0, listed.data()), CountWords(a.data()));
}

// `count` ascending ids below `limit`, or fewer.
Ids RandomIds(std::mt19937_64& random, size_t count, uint64_t limit) {
  Ids ids(count);
  for (uint64_t& id : ids) id = random() % limit;
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

using MergeFunction = Merged (*)(std::span<const uint64_t>, std::span<const uint64_t>, std::span<uint64_t>);

// Merges again and again, with room for `room` ids, as streams do, and holds each step to the contract.
// Where `rest` says so, what is left of an input at the end of the other is taken over.
Ids MergeAll(MergeFunction merge, const Ids& a, const Ids& b, size_t room, bool rest_of_a, bool rest_of_b) {
  constexpr uint64_t kGuard = 0xfeedfeedfeedfeed;
  std::span<const uint64_t> left(a);
  std::span<const uint64_t> right(b);
  Ids all;
  while (!left.empty() && !right.empty()) {
    Ids out(room + 1, kGuard);
    const Merged merged = merge(left, right, std::span(out).first(room));
    EXPECT_EQ(out[room], kGuard);
    EXPECT_LE(merged.out, room);
    EXPECT_TRUE(merged.a == left.size() || merged.b == right.size() || merged.out == room);
    if (merged.a + merged.b == 0) {
      ADD_FAILURE() << "no way forward";
      return all;
    }
    left = left.subspan(merged.a);
    right = right.subspan(merged.b);
    all.insert(all.end(), out.begin(), out.begin() + merged.out);
    if (merged.out > 0 && !left.empty()) {
      EXPECT_GT(left.front(), all.back());
    }
    if (merged.out > 0 && !right.empty()) {
      EXPECT_GT(right.front(), all.back());
    }
  }
  if (rest_of_a) all.insert(all.end(), left.begin(), left.end());
  if (rest_of_b) all.insert(all.end(), right.begin(), right.end());
  return all;
}

void ExpectMerges(const Ids& a, const Ids& b, size_t room) {
  SCOPED_TRACE(std::to_string(a.size()) + " and " + std::to_string(b.size()) + " ids, room for " +
               std::to_string(room));
  Ids both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  EXPECT_EQ(MergeAll(IntersectIds, a, b, room, false, false), both);
  Ids either;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(either));
  EXPECT_EQ(MergeAll(UniteIds, a, b, room, true, true), either);
  Ids alone;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(alone));
  EXPECT_EQ(MergeAll(SubtractIds, a, b, room, true, false), alone);
}

TEST(MergeTest, MergesListsOfAllLengths) {
  std::mt19937_64 random(2);
  const std::vector<size_t> sizes{0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 127, 1000, 5000};
  for (const size_t a : sizes) {
    for (const size_t b : sizes) {
      const uint64_t limit = 1 + std::max(a, b) * (1 + random() % 4);
      const Ids left = RandomIds(random, a, limit);
      const Ids right = RandomIds(random, b, limit);
      for (const size_t room : {size_t{1}, size_t{2}, size_t{5}, size_t{1} + random() % 50, size_t{10'000}}) {
        if (a + b > 2000 && room < 5) continue;
        ExpectMerges(left, right, room);
      }
    }
  }
}

TEST(MergeTest, MergesListsOfClustersAndExtremes) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    std::array<Ids, 2> lists;
    uint64_t id = 0;
    while (id < 3000) {
      const size_t into = random() % 3;
      for (uint64_t size = random() % 100; size > 0; --size, ++id) {
        if (into != 1) lists[0].push_back(id);
        if (into != 0) lists[1].push_back(id);
      }
      id += random() % 3;
    }
    for (Ids& list : lists) {
      if (random() % 2 == 0) list.push_back(kMaxId);
    }
    ExpectMerges(lists[0], lists[1], 1 + random() % 500);
  }
  ExpectMerges({0, kMaxId}, {0, kMaxId}, 1);
  ExpectMerges({0}, {kMaxId}, 8);
  ExpectMerges({kMaxId}, {0}, 8);
}

// What one call leaves is told exactly, for callers go on with the next lists.
TEST(MergeTest, EndsWhereOneInputEnds) {
  Ids out(8);
  Merged merged = IntersectIds(Ids{1, 5, 9}, Ids{5, 6}, out);
  EXPECT_EQ(merged.a, 2u);
  EXPECT_EQ(merged.b, 2u);
  EXPECT_EQ(merged.out, 1u);
  merged = UniteIds(Ids{1, 5, 9}, Ids{5, 6}, out);
  EXPECT_EQ(merged.a, 2u);
  EXPECT_EQ(merged.b, 2u);
  EXPECT_EQ(merged.out, 3u);
  merged = SubtractIds(Ids{1, 5, 9, 10}, Ids{5, 6}, out);
  EXPECT_EQ(merged.a, 2u);
  EXPECT_EQ(merged.b, 2u);
  EXPECT_EQ(merged.out, 1u);
  EXPECT_EQ(out[0], 1u);
}

TEST(IntersectionVariantTest, LeavesNothingThatWasWritten) {
  if (Avx2Kernels() == nullptr) GTEST_SKIP() << "no AVX2 here";
  std::mt19937_64 random(4);
  for (int round = 0; round < 2000; ++round) {
    const uint64_t limit = 1 + random() % 300;
    const Ids a = RandomIds(random, random() % 100, limit);
    const Ids b = RandomIds(random, random() % 100, limit);
    Ids out(1 + random() % 30);
    const Merged merged = Avx2Kernels()->begin_intersection(a, b, out);
    ASSERT_LE(merged.a, a.size());
    ASSERT_LE(merged.b, b.size());
    ASSERT_LE(merged.out, out.size());
    Ids expected;
    std::set_intersection(a.begin(), a.begin() + merged.a, b.begin(), b.begin() + merged.b,
                          std::back_inserter(expected));
    out.resize(merged.out);
    ASSERT_EQ(out, expected);
    if (merged.out == 0) continue;
    if (merged.a < a.size()) {
      ASSERT_GT(a[merged.a], out.back());
    }
    if (merged.b < b.size()) {
      ASSERT_GT(b[merged.b], out.back());
    }
  }
}

TEST(FirstAtLeastTest, AgreesWithLowerBound) {
  std::mt19937_64 random(5);
  for (const size_t size : {0, 1, 2, 3, 4, 5, 8, 9, 100, 1000}) {
    const Ids ids = RandomIds(random, size, 5000);
    for (int round = 0; round < 500; ++round) {
      const size_t from = random() % (ids.size() + 2);
      const uint64_t id = random() % 8 == 0 ? kMaxId : random() % 5100;
      const size_t start = std::min(from, ids.size());
      EXPECT_EQ(static_cast<ptrdiff_t>(FirstAtLeast(ids, from, id)),
                std::lower_bound(ids.begin() + start, ids.end(), id) - ids.begin());
    }
  }
}

TEST(PackTest, UnpacksWhatWasPacked) {
  std::mt19937_64 random(6);
  for (unsigned bits = 0; bits <= 64; ++bits) {
    for (const size_t count : {1, 2, 7, 8, 9, 15, 16, 63, 64, 100, 127, 128}) {
      Ids values(count);
      for (uint64_t& value : values) {
        // Many of all ones, which show what has leaked from a neighbour.
        value = bits == 0 ? 0 : (random() % 3 == 0 ? kMaxId : random()) >> (64 - bits);
      }
      // Memory of exactly this size, for sanitizers, and at any place.
      const size_t shift = random() % 8;
      const size_t bytes = PackedBytes(count, bits);
      std::vector<char> packed(shift + bytes + kDecodeSlackBytes, '\xa5');
      PackBits(values.data(), count, bits, packed.data() + shift);
      for (size_t i = 0; i < kDecodeSlackBytes; ++i) ASSERT_EQ(packed[shift + bytes + i], '\xa5');

      const uint64_t before = random() % 2 == 0 ? random() : kMaxId - random() % 3;
      Ids out(count, 77);
      const uint64_t last = UnpackDeltas(packed.data() + shift, count, bits, before, out.data());
      EXPECT_EQ(last, out.back());
      uint64_t sum = before;
      for (size_t i = 0; i < count; ++i) {
        sum += values[i] + 1;  // wraps, as it should
        ASSERT_EQ(out[i], sum) << bits << " bits, " << i << " of " << count;
      }
    }
  }
}

TEST(PackTest, LowestBitFirst) {
  const Ids values{1, 2, 3, 4, 5};
  char out[2];
  PackBits(values.data(), 5, 3, out);
  EXPECT_EQ(static_cast<uint8_t>(out[0]), 0b11'010'001);
  EXPECT_EQ(static_cast<uint8_t>(out[1]), 0b0'101'100'0);
}

}  // namespace
}  // namespace thermocline::testing
