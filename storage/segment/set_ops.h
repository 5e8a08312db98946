#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "storage/segment/id_stream.h"

// Set operations on streams: one pass over the inputs, with the memory of an operator and no more. A block
// that cannot meet anything of the other side is passed on or over as it is, unread; two bitmaps are combined
// word by word.
namespace thermocline::storage::segment {

// What an operator of two inputs allocates. A union of n inputs is n - 1 operators.
inline constexpr size_t kOperatorBytes = (kMaxPartIds + kContainerWords) * sizeof(uint64_t);

// Ids of both. The first input should be the smaller one: its ids decide what is read of the other.
std::unique_ptr<IdStream> Intersect(std::unique_ptr<IdStream> a, std::unique_ptr<IdStream> b);

// Ids of any; of no inputs, the empty set.
std::unique_ptr<IdStream> Unite(std::vector<std::unique_ptr<IdStream>> inputs);

// Ids of the first without those of the second.
std::unique_ptr<IdStream> Subtract(std::unique_ptr<IdStream> a, std::unique_ptr<IdStream> b);

// No ids.
std::unique_ptr<IdStream> EmptyStream();

// These ids, which are ascending and different.
std::unique_ptr<IdStream> ListStream(std::vector<uint64_t> ids);

}  // namespace thermocline::storage::segment
