#include "storage/engine/victims.h"

#include <algorithm>

#include "storage/engine/compaction_batch.h"

namespace thermocline::storage {
namespace {

// Used bytes over living ones: from here on there is compaction.
constexpr double kStart = 1.17;

// A block is worth it when so much of it is dead; and when compaction is asked for.
constexpr double kMinDead = 0.05;
constexpr double kMinDeadForced = 0.005;

// Several blocks together: what survives ends up side by side, and is colder than what is written meanwhile.
// But victims and their copies take space at the same time: a few hundredths of all.
constexpr size_t kMinVictims = 3;
constexpr size_t kBlocksPerVictim = 40;
constexpr uint64_t kBlocksOfSurvivors = 4;
// Part of a block: a batch that wins less is not worth it.
constexpr uint64_t kLeastWon = 8;
constexpr size_t kFewEarly = 4;
constexpr size_t kFewEarlyShare = 16;

double DeadShare(const BlockLog::Usage& usage) {
  return 1 - static_cast<double>(usage.live_bytes) / static_cast<double>(usage.used);
}

// Cost and benefit as in LFS (Rosenblum and Ousterhout, 1992): the space that is won, for the time it will
// stay so, over the work. Age stands for how long what lives in the block goes on living.
double Merit(const BlockLog::Usage& usage, uint64_t newest) {
  // Its first page goes as well.
  const double live =
      1 - DeadShare(usage) - static_cast<double>(kFirstChunkOffset) / static_cast<double>(usage.used);
  return (1 - live) * static_cast<double>(newest - usage.sequence + 1) / (1 + live);
}

}  // namespace

std::vector<BlockLog::Usage> ChooseVictims(std::vector<BlockLog::Usage> usage, const VictimSearch& search) {
  const uint32_t block_bytes = search.block_bytes;
  uint64_t used = 0;
  uint64_t live = 0;
  for (const auto& block : usage) {
    used += block.used;
    live += block.live_bytes;
  }
  const bool much = static_cast<double>(used) > kStart * static_cast<double>(live);
  const bool due = (much || search.short_of_space) && used - live > 2 * uint64_t{block_bytes};
  if (usage.empty() || (!due && !search.forced)) return {};
  const uint64_t newest = usage.back().sequence;
  const size_t blocks = usage.size();
  const double least = search.forced || search.short_of_space ? kMinDeadForced : kMinDead;
  // Blocks that ended early are joined where there are many of them, if they can be.
  const uint64_t most_records = CompactionBatch::most_records(block_bytes);
  const auto early = [&](const auto& block) {
    return block.used < block_bytes / 2 && block.records < most_records / 2;
  };
  const size_t few = search.forced ? 1 : std::max(kFewEarly, blocks / kFewEarlyShare);
  const bool join = static_cast<size_t>(std::count_if(usage.begin(), usage.end(), early)) > few;
  std::erase_if(usage,
                [&](const auto& block) { return DeadShare(block) < least && !(join && early(block)); });
  std::sort(usage.begin(), usage.end(),
            [&](const auto& a, const auto& b) { return Merit(a, newest) > Merit(b, newest); });
  // Counted in full ones.
  const size_t most =
      search.forced ? kMaxVictims : std::clamp(blocks / kBlocksPerVictim, kMinVictims, kMaxVictims);
  uint64_t bytes = 0;
  uint64_t survivors = 0;
  size_t count = 0;
  while (count < usage.size() && bytes < most * block_bytes && survivors < kBlocksOfSurvivors * block_bytes) {
    bytes += usage[count].used;
    survivors += usage[count++].live_bytes;
  }
  usage.resize(count);
  // Else there would be no end.
  const uint64_t won = bytes - survivors + count * kFirstChunkOffset;
  if (!search.forced && won < NewBlocksFor(usage, block_bytes) * kFirstChunkOffset + block_bytes / kLeastWon)
    return {};
  return usage;
}

uint64_t NewBlocksFor(const std::vector<BlockLog::Usage>& victims, uint32_t block_bytes) {
  uint64_t live = 0;
  uint64_t records = 0;
  for (const auto& victim : victims) {
    live += victim.live_bytes;
    records += victim.records * victim.live_bytes / victim.used;
  }
  return std::max((live + live / 4) / block_bytes, records / CompactionBatch::most_records(block_bytes)) + 1;
}

}  // namespace thermocline::storage
