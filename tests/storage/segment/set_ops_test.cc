// Random trees of set operations, over streams that come in every shape, against std::set.

#include "storage/segment/set_ops.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/segment/kernels.h"
#include "tests/storage/segment/choppy_stream.h"
#include "tests/storage/segment/random_ids.h"

namespace thermocline::storage::segment {
namespace {

using Ids = std::set<uint64_t>;

struct Tree {
  std::unique_ptr<IdStream> stream;
  Ids ids;
};

Tree RandomTree(std::mt19937_64& random, int depth) {
  if (depth == 0 || random() % 4 == 0) {
    Ids ids = testing::RandomIds(random, 1 + random() % 10'000);
    std::vector<uint64_t> list(ids.begin(), ids.end());
    return {std::make_unique<testing::ChoppyStream>(std::move(list), random()), std::move(ids)};
  }
  const uint64_t kind = random() % 3;
  if (kind == 0) {
    std::vector<std::unique_ptr<IdStream>> streams;
    Ids all;
    for (uint64_t i = random() % 4; i > 0; --i) {
      Tree input = RandomTree(random, depth - 1);
      streams.push_back(std::move(input.stream));
      all.merge(input.ids);
    }
    return {Unite(std::move(streams)), all};
  }
  Tree a = RandomTree(random, depth - 1);
  Tree b = RandomTree(random, depth - 1);
  Ids ids;
  if (kind == 1) {
    std::set_intersection(a.ids.begin(), a.ids.end(), b.ids.begin(), b.ids.end(),
                          std::inserter(ids, ids.end()));
    return {Intersect(std::move(a.stream), std::move(b.stream)), ids};
  }
  std::set_difference(a.ids.begin(), a.ids.end(), b.ids.begin(), b.ids.end(), std::inserter(ids, ids.end()));
  return {Subtract(std::move(a.stream), std::move(b.stream)), ids};
}

std::vector<uint64_t> IdsOf(const Part& part) {
  if (part.kind == Part::Kind::kIds) return {part.ids, part.ids + part.count};
  std::vector<uint64_t> ids(part.count + 8);
  ids.resize(ListWords(part.words, part.container(), ids.data()));
  return ids;
}

// Checks what every part has to be.
void Check(const Part& part, const std::vector<uint64_t>& ids, const std::vector<uint64_t>& before) {
  ASSERT_EQ(ids.size(), part.count);
  ASSERT_GT(ids.size(), 0u);
  ASSERT_TRUE(std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end());
  ASSERT_LE(part.first, ids.front());
  ASSERT_GE(part.last, ids.back());
  if (!before.empty()) {
    ASSERT_GT(ids.front(), before.back());
  }
  if (part.kind == Part::Kind::kIds) {
    ASSERT_LE(part.count, kMaxPartIds);
    ASSERT_EQ(part.first, ids.front());
    ASSERT_EQ(part.last, ids.back());
  } else {
    ASSERT_EQ(ContainerOf(part.first), ContainerOf(part.last));
  }
}

TEST(SetOpsTest, RandomTreesYieldWhatSetsDo) {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    Tree tree = RandomTree(random, 3);
    std::vector<uint64_t> all;
    uint64_t from = 0;  // what was skipped to
    Ids passed;         // what came before that though it was below
    for (Part part;;) {
      ASSERT_TRUE(tree.stream->Next(part).ok());
      if (part.kind == Part::Kind::kEnd) break;
      if (part.kind == Part::Kind::kPending) continue;
      if (part.kind == Part::Kind::kBlock) {
        tree.stream->Expand();
        continue;
      }
      const std::vector<uint64_t> ids = IdsOf(part);
      ASSERT_NO_FATAL_FAILURE(Check(part, ids, all));
      all.insert(all.end(), ids.begin(), ids.end());
      if (seed % 3 == 0 && random() % 8 == 0) {
        const uint64_t to = ids.back() + random() % 100'000;
        if (to >= from && to >= ids.back()) tree.stream->SkipTo(from = to);
        // From now on only what is at least `from` has to come.
        std::erase_if(tree.ids, [&](uint64_t id) { return id > ids.back() && id < from; });
      }
    }
    std::erase_if(all, [&](uint64_t id) { return !tree.ids.contains(id) && id < from; });
    std::vector<uint64_t> wrong;
    std::set_symmetric_difference(all.begin(), all.end(), tree.ids.begin(), tree.ids.end(),
                                  std::back_inserter(wrong));
    EXPECT_THAT(wrong, ::testing::IsEmpty()) << "skipped to " << from;
    Part part{Part::Kind::kPending};
    while (part.kind == Part::Kind::kPending) ASSERT_TRUE(tree.stream->Next(part).ok());
    EXPECT_EQ(part.kind, Part::Kind::kEnd);
  }
}

// Blocks that are passed on have the right number of ids.
TEST(SetOpsTest, CountsWithoutExpanding) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const Tree tree = RandomTree(random, 3);
    uint64_t count = 0;
    for (Part part;;) {
      ASSERT_TRUE(tree.stream->Next(part).ok());
      if (part.kind == Part::Kind::kEnd) break;
      count += part.count;
    }
    EXPECT_EQ(count, tree.ids.size());
  }
}

TEST(SetOpsTest, ListsAndNothing) {
  Part part;
  ASSERT_TRUE(EmptyStream()->Next(part).ok());
  EXPECT_EQ(part.kind, Part::Kind::kEnd);
  const auto list = ListStream({1, 5, UINT64_MAX});
  list->SkipTo(5);
  ASSERT_TRUE(list->Next(part).ok());
  EXPECT_EQ(IdsOf(part), (std::vector<uint64_t>{5, UINT64_MAX}));
}

}  // namespace
}  // namespace thermocline::storage::segment
