#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "storage/log/block_log.h"

namespace thermocline::storage {

// In one batch, if they are full; of smaller ones more.
inline constexpr size_t kMaxVictims = 16;

struct VictimSearch {
  uint32_t block_bytes = 0;
  bool forced = false;          // by somebody who waits: then everything that is dead is worth it
  bool short_of_space = false;  // almost everything
};

// Which of the blocks, given in their order, to compact together now; none if there is not enough to be won.
std::vector<BlockLog::Usage> ChooseVictims(std::vector<BlockLog::Usage> usage, const VictimSearch& search);

// At most so many new blocks take what lives in these, graves excepted.
uint64_t NewBlocksFor(const std::vector<BlockLog::Usage>& victims, uint32_t block_bytes);

}  // namespace thermocline::storage
