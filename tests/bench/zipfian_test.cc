#include "tests/bench/zipfian.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace thermocline::bench {
namespace {

// Every rank, and for the rare ones every range of ranks, comes as often as theory says, give or take five
// standard deviations.
TEST(ZipfianTest, RanksComeAsOftenAsTheorySays) {
  constexpr uint64_t kSize = 10'000;
  constexpr int kDraws = 1'000'000;
  for (const double theta : {0.5, 0.99, 1.0, 1.3}) {
    const Zipfian zipfian(kSize, theta);
    RandomStream random(42);
    std::vector<int> drawn(kSize);
    for (int i = 0; i < kDraws; ++i) {
      const uint64_t rank = zipfian.Draw(random);
      ASSERT_LT(rank, kSize);
      ++drawn[rank];
    }
    double zeta = 0;
    for (uint64_t rank = 0; rank < kSize; ++rank) zeta += std::pow(rank + 1, -theta);
    double expected = 0;
    double seen = 0;
    for (uint64_t rank = 0; rank < kSize; ++rank) {
      expected += kDraws * std::pow(rank + 1, -theta) / zeta;
      seen += drawn[rank];
      if (expected < 200 && rank + 1 < kSize) continue;
      EXPECT_NEAR(seen, expected, 5 * std::sqrt(expected) + 5) << "theta " << theta << ", rank " << rank;
      expected = seen = 0;
    }
  }
}

TEST(ZipfianTest, OneKey) {
  RandomStream random(1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Zipfian(1, 0.99).Draw(random), 0u);
}

// The sum over the rare ranks is taken for the integral it almost is.
TEST(ZipfianTest, ABillionKeys) {
  const Zipfian zipfian(1'000'000'000, 0.99);
  RandomStream random(1);
  int first = 0;
  for (int i = 0; i < 100'000; ++i) first += zipfian.Draw(random) == 0;
  double zeta = 0;
  for (int rank = 1; rank <= 1000; ++rank) zeta += std::pow(rank, -0.99);
  zeta += (std::pow(1e9 + 0.5, 0.01) - std::pow(1000.5, 0.01)) / 0.01;
  EXPECT_NEAR(first, 100'000 / zeta, 5 * std::sqrt(100'000 / zeta));
}

}  // namespace
}  // namespace thermocline::bench
