#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "storage/segment/id_stream.h"
#include "storage/segment/kernels.h"

namespace thermocline::testing {

// A stream of given ids that cuts them into parts of every shape by chance, and is pending now and then.
class ChoppyStream final : public storage::segment::IdStream {
 public:
  using Part = storage::segment::Part;

  ChoppyStream(std::vector<uint64_t> ids, uint64_t seed) : ids_(std::move(ids)), random_(seed) {}

  absl::Status Next(Part& part) override {
    if (!block_.empty() && !expanded_) at_ += block_.size(), block_ = {};
    part = Part();
    if (Chance(4)) return part.kind = Part::Kind::kPending, absl::OkStatus();
    while (!expanded_ && at_ < ids_.size() && Chance(2) && ids_[at_] < from_) ++at_;
    if (at_ == ids_.size()) return absl::OkStatus();
    if (!expanded_ && Chance(3)) return Fill(part, Part::Kind::kBlock, block_ = Some(ids_.size()));
    const size_t end = expanded_ ? at_ + block_.size() : ids_.size();
    if (const std::span<const uint64_t> whole = RestOfContainer(end); !whole.empty() && Chance(2)) {
      std::fill(words_, words_ + storage::segment::kContainerWords, 0);
      for (const uint64_t id : whole) storage::segment::SetBit(words_, id);
      part.words = words_;
      return Take(part, Part::Kind::kBitmap, whole);
    }
    return Take(part, Part::Kind::kIds, Some(end));
  }

  void Expand() override { expanded_ = true; }
  void SkipTo(uint64_t id) override { from_ = std::max(from_, id); }
  void Want(std::span<const uint64_t>) override {}

 private:
  bool Chance(uint64_t one_in) { return random_() % one_in == 0; }

  std::span<const uint64_t> Some(size_t end) {
    const size_t most = std::min<size_t>(end - at_, storage::segment::kMaxPartIds);
    return std::span(ids_).subspan(at_, 1 + random_() % (Chance(2) ? most : std::min<size_t>(most, 3)));
  }

  // All ids that are left of the container at hand, if they end before `end`.
  std::span<const uint64_t> RestOfContainer(size_t end) const {
    const uint64_t last = storage::segment::ContainerOf(ids_[at_]) + (storage::segment::kContainerIds - 1);
    size_t next = at_;
    while (next < ids_.size() && ids_[next] <= last) ++next;
    return next <= end ? std::span(ids_).subspan(at_, next - at_) : std::span<const uint64_t>();
  }

  absl::Status Fill(Part& part, Part::Kind kind, std::span<const uint64_t> ids) {
    part.kind = kind;
    part.count = ids.size();
    part.first = ids.front();
    part.last = ids.back();
    part.ids = ids.data();
    return absl::OkStatus();
  }

  absl::Status Take(Part& part, Part::Kind kind, std::span<const uint64_t> ids) {
    at_ += ids.size();
    if (expanded_) {
      block_ = block_.subspan(ids.size());
      expanded_ = !block_.empty();
    }
    return Fill(part, kind, ids);
  }

  const std::vector<uint64_t> ids_;
  std::mt19937_64 random_;
  size_t at_ = 0;
  std::span<const uint64_t> block_;
  bool expanded_ = false;
  uint64_t from_ = 0;
  alignas(64) uint64_t words_[storage::segment::kContainerWords];
};

}  // namespace thermocline::testing
