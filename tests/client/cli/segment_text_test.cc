#include "client/cli/segment_text.h"

#include "gtest/gtest.h"

#include "client/cli/segment_plan.h"

namespace thermocline::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;
using Kind = SegmentPlanStep::Kind;

SegmentPlan Example() {
  const SegmentPlanStep city{.kind = Kind::kFile,
                             .segment = "city:köln",
                             .object = "o/1",
                             .min_count = 1'000'000,
                             .max_count = 1'000'000,
                             .blocks = 120,
                             .bytes = 3 << 20,
                             .memory_bytes = 65'536};
  const SegmentPlanStep recent{
      .kind = Kind::kRecent, .segment = "city:köln", .max_count = 12, .estimated_count = 6};
  const SegmentPlanStep bought{.kind = Kind::kKeptResult, .min_count = 5, .max_count = 5};
  const SegmentPlanStep either{.kind = Kind::kUnion,
                               .min_count = 1'000'000,
                               .max_count = 1'000'012,
                               .estimated_count = 1'000'006,
                               .inputs = {city, recent}};
  return {.normalized = "n",
          .root = {.kind = Kind::kDifference,
                   .max_count = 1'000'012,
                   .estimated_count = 999'999,
                   .memory_bytes = 131'072,
                   .inputs = {either, bought, {.kind = Kind::kEmpty}}},
          .memory_bytes = 196'608};
}

TEST(SegmentPlan, IsDrawnAsATree) {
  EXPECT_EQ(DrawPlan(Example()),
            R"(step                             ids                                blocks    bytes     memory
difference                       ~999 999 (0..1 000 012)                             128.0 KiB
├─ union                         ~1 000 006 (1 000 000..1 000 012)
│  ├─ city:köln, file            1 000 000                             120  3.0 MiB   64.0 KiB
│  └─ city:köln, recent changes  ~6 (0..12)
├─ kept result                   5
└─ nothing                       0
)");
}

TEST(SegmentPlan, TellsWhatItTook) {
  SegmentPlan plan = Example();
  plan.execution = SegmentProgress{.ids = 7};
  plan.root.exact_count = 1'234;
  plan.root.inputs[0].inputs[0].blocks_read = 3;
  plan.root.inputs[0].inputs[0].bytes_read = 1024;
  plan.root.inputs.resize(1);
  EXPECT_EQ(
      DrawPlan(plan),
      R"(step                             ids                                blocks read          bytes read     memory
difference                       1 234                                                               128.0 KiB
└─ union                         ~1 000 006 (1 000 000..1 000 012)
   ├─ city:köln, file            1 000 000                             3 of 120  1.0 KiB of 3.0 MiB   64.0 KiB
   └─ city:köln, recent changes  ~6 (0..12)
)");
}

TEST(SegmentPlan, IsJsonWithTheNamesOfTheWire) {
  SegmentPlan plan = Example();
  plan.root.inputs.resize(1);
  plan.root.inputs[0].inputs.resize(1);
  EXPECT_EQ(
      ToJson(plan).dump(),
      R"({"normalized":"n","plan":{"kind":"difference","min_count":0,"max_count":1000012,)"
      R"("estimated_count":999999,"memory_bytes":131072,"inputs":[{"kind":"union","min_count":1000000,)"
      R"("max_count":1000012,"estimated_count":1000006,"memory_bytes":0,"inputs":[{"kind":"file",)"
      R"("segment":"city:köln","object":"o/1","min_count":1000000,"max_count":1000000,"estimated_count":0,)"
      R"("blocks":120,"bytes":3145728,"memory_bytes":65536}]}]},"memory_bytes":196608,"kept_result":false})");
}

TEST(SegmentTable, AlignsNamesAndNumbers) {
  const auto changed = system_clock::time_point(milliseconds(1'700'000'000'123));
  EXPECT_EQ(SegmentTable({{.name = "ä",
                           .min_count = 1'000,
                           .max_count = 1'200,
                           .bytes = 1536,
                           .files = 2,
                           .changed = changed},
                          {.name = "bought:2025\n", .min_count = 5, .max_count = 5, .changed = changed}}),
            R"(name                    ids    bytes  files  changed (UTC)
ä              1 000..1 200  1.5 KiB      2  2023-11-14 22:13:20
bought:2025\n             5      0 B      0  2023-11-14 22:13:20
)");
}

TEST(SegmentText, TellsEverything) {
  EXPECT_EQ(SegmentText({.name = "s",
                         .version = 9,
                         .min_count = 1,
                         .max_count = 3,
                         .recent_changes = 2,
                         .bytes = 2048,
                         .files = 1,
                         .changed = system_clock::time_point(milliseconds(1000))}),
            R"(s
  ids             1..3 (thermocline segment count tells exactly)
  recent changes  2
  on disk         2.0 KiB in 1 file
  version         9
  created         1970-01-01 00:00:00 UTC
  changed         1970-01-01 00:00:01 UTC
)");
}

TEST(QuerySummary, SaysWhatItTook) {
  EXPECT_EQ(QuerySummary(1, milliseconds(3), {}), "1 id in 3 ms");
  EXPECT_EQ(
      QuerySummary(1'234, milliseconds(120), {.blocks = 1'500, .blocks_read = 34, .from_kept_result = true}),
      "1 234 ids in 120 ms, 34 of 1 500 blocks read, from a kept result");
}

TEST(QueryProgressLine, ShowsTheFurtherOfIdsAndBlocks) {
  EXPECT_EQ(QueryProgressLine(
                {.ids = 1'234, .max_ids = 50'000, .blocks = 100, .blocks_read = 20, .blocks_passed = 5},
                milliseconds(1'200)),
            "[#####---------------]  25 %  1 234 ids of at most 50 000  20 of 100 blocks  1.2 s");
  EXPECT_EQ(QueryProgressLine({}, milliseconds(0)),
            "[--------------------]   0 %  0 ids of at most 0  0 of 0 blocks  0 ms");
  EXPECT_EQ(QueryProgressLine({.ids = 9, .max_ids = 6}, milliseconds(0)).substr(0, 29),
            "[####################] 100 % ");
}

}  // namespace
}  // namespace thermocline::cli
