#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace thermocline::storage::segment {

// The space of ids is cut into containers of 2^16 consecutive ids, as Roaring bitmaps do (Lemire et al.,
// "Roaring bitmaps: implementation of an optimized software library", 2018).
inline constexpr uint64_t kContainerIds = uint64_t{1} << 16;
inline constexpr size_t kContainerWords = kContainerIds / 64;

constexpr uint64_t ContainerOf(uint64_t id) { return id & ~(kContainerIds - 1); }

// How many ids a part lists at most.
inline constexpr size_t kMaxPartIds = 8192;

// The next ids of a stream, in one of several shapes.
struct Part {
  enum class Kind : uint8_t {
    kEnd,      // nothing follows
    kPending,  // nothing yet: a read is under way, or the work has taken long enough for now. Ask again.
    kBlock,    // ids that have not been read: only their bounds and number are known; see IdStream::Expand
    kIds,      // a list of ids
    kBitmap,   // ids of one container
  };

  Kind kind = Kind::kEnd;
  uint64_t count = 0;  // how many ids; of kBlock, kIds and kBitmap at least 1
  // All ids are in [first, last]. Both are ids of the part if it is kBlock or kIds; of kBitmap, both are in
  // its container.
  uint64_t first = 0;
  uint64_t last = 0;
  // kIds: `count` of them, ascending.
  const uint64_t* ids = nullptr;
  // kBitmap: kContainerWords words; bit i of word w is the id ContainerOf(first) + 64 w + i.
  const uint64_t* words = nullptr;

  uint64_t container() const { return ContainerOf(first); }
  std::span<const uint64_t> list() const { return {ids, static_cast<size_t>(count)}; }
};

// Ids in ascending order, each once, pulled part by part. For one thread at a time.
class IdStream {
 public:
  virtual ~IdStream() = default;

  // The next part; all its ids are greater than those of the parts before, and nothing of the container of a
  // kBitmap follows it. Views live until the next call of Next. After kEnd, and after a failure, it says the
  // same again.
  virtual absl::Status Next(Part& part) = 0;

  // The part that was returned last is a kBlock, and its ids are wanted: they are the next parts, in other
  // shapes. If Next is called without that, the block has been passed over.
  virtual void Expand() = 0;

  // No id below this one is of interest any more. Parts that follow may hold such ids nevertheless. May be
  // called after a kBlock was returned; if it is all below, it need not be expanded.
  virtual void SkipTo(uint64_t id) = 0;

  // Of what follows, the caller will first want the parts that may hold these ids (ascending); what it takes
  // to read them may begin. A hint.
  virtual void Want(std::span<const uint64_t> ids) = 0;
};

}  // namespace thermocline::storage::segment
