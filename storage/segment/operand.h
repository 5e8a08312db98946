#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"

#include "storage/segment/id_stream.h"

namespace thermocline::storage::segment {

// An input of a set operation, with what is left of the part at hand.
class Operand {
 public:
  explicit Operand(std::unique_ptr<IdStream> stream) : stream_(std::move(stream)) {}

  // Brings the next part if none is at hand.
  absl::Status Fill();

  bool pending() const { return part_.kind == Part::Kind::kPending; }
  bool ended() const { return part_.kind == Part::Kind::kEnd; }
  bool is_block() const { return part_.kind == Part::Kind::kBlock; }
  bool is_ids() const { return part_.kind == Part::Kind::kIds; }
  bool is_bitmap() const { return part_.kind == Part::Kind::kBitmap; }

  // Of a part with ids. A bitmap ends with its container: nothing of that container follows it.
  uint64_t first() const { return part_.first; }
  uint64_t last() const { return part_.last; }
  // Ids per distance, to compare: a block that has few of them says more about the other side.
  uint64_t width() const { return part_.last - part_.first; }

  const Part& part() const { return part_; }
  const uint64_t* words() const { return part_.words; }
  // Of kIds.
  std::span<const uint64_t> ids() const { return part_.list(); }
  // How many of them are at most `id`.
  size_t CountUpTo(uint64_t id) const;

  // What is at hand, for the consumer of the operation; it is used up then.
  Part Take() { return std::exchange(part_, Part{Part::Kind::kPending}); }
  // The first `count` ids (at least 1).
  Part TakeIds(size_t count);
  void Drop() { part_.kind = Part::Kind::kPending; }
  void DropIds(size_t count);

  // Of kBlock: its ids are wanted.
  void Expand();
  // Nothing below `id` is of interest.
  void SkipTo(uint64_t id);

  // True once for each list that was filled in.
  bool IsNewList() { return std::exchange(new_list_, false) && is_ids(); }

  IdStream& stream() { return *stream_; }

 private:
  const std::unique_ptr<IdStream> stream_;
  Part part_{Part::Kind::kPending};
  bool new_list_ = false;
};

}  // namespace thermocline::storage::segment
