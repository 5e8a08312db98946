#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/server/service/test_store.h"

namespace thermocline::server {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::SizeIs;
using ::testing::StartsWith;

struct Scanned {
  std::map<std::string, v1::ScanResponse::Entry> entries;
  size_t count = 0;
  size_t pages = 0;
  std::string cursor;
  bool done = false;
};

class ScanTest : public ::testing::Test {
 protected:
  void Fill(int count, size_t value_bytes = 10) {
    for (int i = 0; i < count; ++i) store_.Set(fmt::format("key{:05}", i), std::string(value_bytes, 'v'));
  }

  // Reads a scan to its end.
  absl::StatusOr<Scanned> Scan(const v1::ScanRequest& request) {
    absl::StatusOr<ScanReader> reader = store_.key_value().Scan(request);
    if (!reader.ok()) return reader.status();
    Scanned scanned;
    for (bool more = true; more;) {
      v1::ScanResponse page;
      const absl::Status status = store_.Await([&](TestStore::Done done) {
        reader->Next(&page, [&more, done = std::move(done)](absl::StatusOr<bool> result) mutable {
          if (result.ok()) more = *result;
          done(result.status());
        });
      });
      if (!status.ok()) return status;
      for (const auto& entry : page.entries()) scanned.entries[entry.key()] = entry;
      scanned.count += page.entries_size();
      ++scanned.pages;
      scanned.cursor = page.cursor();
      scanned.done = page.done();
    }
    return scanned;
  }

  TestStore store_;
};

TEST_F(ScanTest, AnEmptyStoreIsDone) {
  const absl::StatusOr<Scanned> scanned = Scan({});
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  EXPECT_TRUE(scanned->done);
  EXPECT_EQ(scanned->count, 0u);
}

TEST_F(ScanTest, SendsEveryLiveKeyWithWhatGoesWithIt) {
  Fill(100);
  v1::SetRequest with_ttl;
  with_ttl.set_key("short");
  with_ttl.set_value("lived");
  with_ttl.set_ttl_ms(1000);
  const uint64_t version = store_.Set(with_ttl).version();
  v1::DeleteRequest deletion;
  deletion.set_key("key00007");
  store_.Delete(deletion);
  const absl::StatusOr<Scanned> scanned = Scan({});
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  EXPECT_TRUE(scanned->done);
  EXPECT_THAT(scanned->entries, SizeIs(100));
  EXPECT_FALSE(scanned->entries.contains("key00007"));
  const v1::ScanResponse::Entry& entry = scanned->entries.at("short");
  EXPECT_EQ(entry.value(), "lived");
  EXPECT_EQ(entry.version(), version);
  EXPECT_EQ(entry.ttl_ms(), 1000u);
  EXPECT_FALSE(scanned->entries.at("key00001").has_ttl_ms());
}

TEST_F(ScanTest, FiltersByPrefix) {
  Fill(300);
  v1::ScanRequest request;
  request.set_prefix("key0012");
  const absl::StatusOr<Scanned> scanned = Scan(request);
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  EXPECT_TRUE(scanned->done);
  EXPECT_THAT(scanned->entries, AllOf(SizeIs(10), Each(Key(StartsWith("key0012")))));
}

TEST_F(ScanTest, LeavesOutValuesIfTold) {
  Fill(3);
  v1::ScanRequest request;
  request.set_no_values(true);
  const absl::StatusOr<Scanned> scanned = Scan(request);
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  EXPECT_EQ(scanned->entries.at("key00001").value(), "");
  EXPECT_GT(scanned->entries.at("key00001").version(), 0u);
}

TEST_F(ScanTest, StopsAtItsLimitAndResumes) {
  Fill(100);
  v1::ScanRequest request;
  request.set_limit(30);
  std::map<std::string, v1::ScanResponse::Entry> all;
  bool done = false;
  for (int round = 0; round < 10 && !done; ++round) {
    const absl::StatusOr<Scanned> scanned = Scan(request);
    ASSERT_TRUE(scanned.ok()) << scanned.status();
    EXPECT_LE(scanned->count, 30u);
    all.insert(scanned->entries.begin(), scanned->entries.end());
    done = scanned->done;
    request.set_cursor(scanned->cursor);
  }
  EXPECT_TRUE(done);
  EXPECT_THAT(all, SizeIs(100));
}

TEST_F(ScanTest, PagesAreAboutAMebibyte) {
  Fill(60, 100'000);
  absl::StatusOr<Scanned> scanned = Scan({});
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  EXPECT_THAT(scanned->entries, SizeIs(60));
  EXPECT_GE(scanned->pages, 6u);
  v1::ScanRequest limited;
  limited.set_limit(25);
  scanned = Scan(limited);
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  EXPECT_EQ(scanned->count, 25u);
  EXPECT_FALSE(scanned->done);
}

// Nothing is read from the disk but what Next() asks for.
TEST_F(ScanTest, ReadsNothingAhead) {
  Fill(400, 100'000);  // beyond the 16 MiB of memory
  absl::StatusOr<ScanReader> reader = store_.key_value().Scan({});
  ASSERT_TRUE(reader.ok()) << reader.status();
  store_.Settle();
  const uint64_t before = store_.disk().counts().read_bytes;
  v1::ScanResponse page;
  const absl::Status status = store_.Await([&](TestStore::Done done) {
    reader->Next(&page, [done = std::move(done)](absl::StatusOr<bool> more) mutable { done(more.status()); });
  });
  ASSERT_TRUE(status.ok()) << status;
  store_.Settle();
  EXPECT_GT(page.entries_size(), 0);
  EXPECT_LT(store_.disk().counts().read_bytes, before + (4 << 20));
}

TEST_F(ScanTest, RefusesACorruptCursor) {
  Fill(3);
  v1::ScanRequest request;
  request.set_cursor("not a cursor");
  const absl::StatusOr<Scanned> scanned = Scan(request);
  EXPECT_EQ(scanned.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(scanned.status().message()), HasSubstr("cursor"));
}

TEST_F(ScanTest, RefusesAPrefixLongerThanAnyKey) {
  v1::ScanRequest request;
  request.set_prefix(std::string(65'537, 'p'));
  EXPECT_EQ(Scan(request).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace thermocline::server
