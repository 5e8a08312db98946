#include "server/rpc/gzip.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {
size_t largest_allocation = 0;
}  // namespace

// Not inlined: a compiler that sees malloc takes it for a mistake.
[[gnu::noinline]] void* operator new(size_t bytes) {
  largest_allocation = std::max(largest_allocation, bytes);
  if (void* const memory = std::malloc(bytes); memory != nullptr) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace thermocline::server::rpc {
namespace {

using ::testing::HasSubstr;

constexpr size_t kLimit = 1 << 20;

std::string RandomBytes(size_t size) {
  std::mt19937 random(static_cast<uint32_t>(size));
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST(GzipTest, WhatIsPackedComesBack) {
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{4097}, size_t{100'000}, kLimit}) {
    for (const std::string& bytes : {std::string(size, 'x'), RandomBytes(size)}) {
      const auto unpacked = Gunzip(Gzip(bytes), kLimit);
      ASSERT_TRUE(unpacked.ok()) << unpacked.status();
      EXPECT_EQ(*unpacked, bytes);
    }
  }
}

TEST(GzipTest, TheLimitIsExact) {
  const std::string packed = Gzip(std::string(5000, 'x'));
  EXPECT_TRUE(Gunzip(packed, 5000).ok());
  const auto refused = Gunzip(packed, 4999);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("4999"));
  EXPECT_TRUE(Gunzip(Gzip(""), 0).ok());
  EXPECT_FALSE(Gunzip(Gzip("x"), 0).ok());
}

TEST(GzipTest, ABombTakesNoMoreThanItMay) {
  const std::string packed = Gzip(std::string(256 << 20, '\0'));
  largest_allocation = 0;
  EXPECT_EQ(Gunzip(packed, kLimit).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_LE(largest_allocation, 2 * kLimit + 64);  // a string doubles
}

TEST(GzipTest, WhatIsCutIsRefused) {
  const std::string packed = Gzip(RandomBytes(10'000));
  for (size_t size = 0; size < packed.size(); size += size < 40 || size + 40 > packed.size() ? 1 : 97) {
    EXPECT_EQ(Gunzip(std::string_view(packed).substr(0, size), kLimit).status().code(),
              absl::StatusCode::kInternal)
        << size;
  }
}

TEST(GzipTest, GarbageIsRefused) {
  EXPECT_EQ(Gunzip("garbage, not gzip", kLimit).status().code(), absl::StatusCode::kInternal);
  const std::string packed = Gzip("something that is packed, and packed, and packed");
  EXPECT_EQ(Gunzip(packed + "x", kLimit).status().code(), absl::StatusCode::kInternal);
  std::string wrong_checksum = packed;
  wrong_checksum[packed.size() - 8] ^= 1;
  EXPECT_EQ(Gunzip(wrong_checksum, kLimit).status().code(), absl::StatusCode::kInternal);
  std::string wrong_length = packed;
  wrong_length[packed.size() - 1] ^= 1;
  EXPECT_EQ(Gunzip(wrong_length, kLimit).status().code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace thermocline::server::rpc
