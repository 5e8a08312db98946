#include "server/heap.h"

#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"

namespace thermocline::server {
namespace {

constexpr size_t kPieces = 4096;
constexpr size_t kPieceBytes = 32 << 10;

// 128 MiB in small pieces, most of them free again: malloc keeps all of it, for the pieces that stay lie in
// between.
std::vector<std::unique_ptr<char[]>> MakeSlack() {
  std::vector<std::unique_ptr<char[]>> pieces(kPieces);
  for (auto& piece : pieces) {
    piece = std::make_unique<char[]>(kPieceBytes);
    std::memset(piece.get(), 1, kPieceBytes);
  }
  for (size_t i = 0; i < kPieces; ++i) {
    if (i % 64 != 63) pieces[i].reset();
  }
  return pieces;
}

TEST(ResidentMemoryTest, CountsWhatIsTouched) {
  const ResidentMemory before = ReadResidentMemory();
  EXPECT_GT(before.own_bytes, 0u);
  EXPECT_GT(before.total_bytes, before.own_bytes);
  const auto block = std::make_unique<char[]>(64 << 20);
  std::memset(block.get(), 1, 64 << 20);
  EXPECT_GE(ReadResidentMemory().own_bytes, before.own_bytes + (60 << 20));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Sanitizers bring a malloc of their own.
TEST(TrimHeapTest, GivesBackWhatLiesFreeBetweenUsedPieces) {
  LimitHeapSlack();
  const uint64_t before = ReadResidentMemory().own_bytes;
  const auto pieces = MakeSlack();
  ASSERT_GT(ReadResidentMemory().own_bytes, before + (100 << 20));
  TrimHeap(/*used_bytes=*/before + (1 << 30));
  EXPECT_GT(ReadResidentMemory().own_bytes, before + (100 << 20)) << "nothing was to be done";
  TrimHeap(/*used_bytes=*/before);
  EXPECT_LT(ReadResidentMemory().own_bytes, before + (20 << 20));
}
#endif

}  // namespace
}  // namespace thermocline::server
