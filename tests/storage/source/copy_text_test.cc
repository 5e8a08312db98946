#include "storage/source/copy_text.h"

#include "gtest/gtest.h"

namespace thermocline::storage::source {
namespace {

TEST(CopyTextTest, ReadsRows) {
  RowBatch batch;
  batch.Clear(3);
  ASSERT_TRUE(AddCopyRow("1\t\\N\ta\\tb", batch));
  ASSERT_TRUE(AddCopyRow("\t\\\\N\t\\n\\r\\b\\f\\v\\\\x", batch));
  ASSERT_EQ(batch.rows(), 2U);
  EXPECT_EQ(batch.at(0, 0), "1");
  EXPECT_EQ(batch.at(0, 1), std::nullopt);
  EXPECT_EQ(batch.at(0, 2), "a\tb");
  EXPECT_EQ(batch.at(1, 0), "");
  EXPECT_EQ(batch.at(1, 1), "\\N");
  EXPECT_EQ(batch.at(1, 2), "\n\r\b\f\v\\x");
}

TEST(CopyTextTest, RefusesOtherNumbersOfColumns) {
  RowBatch batch;
  batch.Clear(2);
  EXPECT_FALSE(AddCopyRow("1", batch));
  batch.Clear(2);
  EXPECT_FALSE(AddCopyRow("1\t2\t3", batch));
  EXPECT_EQ(batch.rows(), 0U);
}

}  // namespace
}  // namespace thermocline::storage::source
