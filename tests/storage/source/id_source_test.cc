#include "storage/id_source.h"

#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Brings what it is told to, a batch each time.
class ScriptedRows final : public RowSource {
 public:
  using Batches = std::vector<std::vector<std::vector<std::optional<std::string>>>>;
  ScriptedRows(std::vector<std::string> columns, Batches batches)
      : columns_(std::move(columns)), batches_(std::move(batches)) {}

  absl::Status Next(RowBatch& batch) override {
    batch.Clear(columns_.size());
    if (next_ == batches_.size()) return absl::OkStatus();
    for (const auto& row : batches_[next_++]) {
      for (const auto& field : row) field.has_value() ? batch.Add(*field) : batch.AddNull();
      batch.EndRow();
    }
    rows_ += batch.rows();
    return absl::OkStatus();
  }
  const std::vector<std::string>& columns() const override { return columns_; }
  void Cancel() override {}
  uint64_t rows() const override { return rows_; }
  const std::string& name() const override { return name_; }

 private:
  const std::string name_ = "source";
  const std::vector<std::string> columns_;
  const Batches batches_;
  size_t next_ = 0;
  uint64_t rows_ = 0;
};

std::unique_ptr<IdSource> Ids(std::vector<std::string> columns, ScriptedRows::Batches batches) {
  return MakeIdSource(std::make_unique<ScriptedRows>(std::move(columns), std::move(batches)));
}

TEST(IdSourceTest, SkipsWhatItIsToldTo) {
  const auto ids = Ids({"n"}, {{{"1"}, {"x"}}, {{"-2"}, {std::nullopt}}, {{""}, {"3"}}});
  std::vector<std::string> skipped;
  const auto skip = [&](uint64_t row, std::string_view problem) {
    skipped.push_back(std::to_string(row) + " " + std::string(problem.substr(0, 4)));
    return true;
  };
  EXPECT_THAT(*ids->Next(skip), ElementsAre(1));
  EXPECT_THAT(*ids->Next(skip), ElementsAre(3)) << "a batch of nothing but skipped rows is not the end";
  EXPECT_THAT(*ids->Next(skip), IsEmpty());
  EXPECT_THAT(skipped, ElementsAre("2 \"x\" ", "3 \"-2\"", "4 NULL", "5 \"\" i"));
  EXPECT_EQ(ids->rows(), 6U);
}

TEST(IdSourceTest, StaysFailed) {
  const auto ids = Ids({"n"}, {{{"1"}, {"2\n"}}, {{"3"}}});
  const auto failed = ids->Next();
  EXPECT_THAT(std::string(failed.status().message()), HasSubstr("source: row 2: \"2\\x0a\" is not an id"));
  EXPECT_EQ(ids->Next().status(), failed.status());
}

TEST(IdSourceTest, FindsTheColumn) {
  EXPECT_THAT(*Ids({"a", "id"}, {{{"x", "7"}}})->Next(), ElementsAre(7));
  EXPECT_THAT(*Ids({"a"}, {{{"8"}}})->Next(), ElementsAre(8));
  EXPECT_TRUE(absl::IsInvalidArgument(Ids({"id", "id"}, {{{"1", "2"}}})->Next().status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Ids({"a", "b"}, {})->Next().status())) << "even if there are no rows";
}

}  // namespace
}  // namespace thermocline::storage
