#include "storage/segment/set_ops.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"

#include "storage/segment/kernels.h"
#include "storage/segment/operand.h"

namespace thermocline::storage::segment {
namespace {

// After so many steps without a result, of all operators of a query together, others get their turn.
constexpr int kStepsPerTurn = 512;

// The steps that are left to the outermost operator that is at work on this thread, and those inside it.
thread_local int steps_left = 0;
thread_local int depth = 0;

class Turn {
 public:
  Turn() {
    if (depth++ == 0) steps_left = kStepsPerTurn;
  }
  ~Turn() { --depth; }
};

// Lists with more than one id among so many are better united as bitmaps.
constexpr uint64_t kDenseDistance = 16;

// What all operators have in common: two inputs, memory for results, and turns.
class Operator : public IdStream {
 public:
  Operator(std::unique_ptr<IdStream> a, std::unique_ptr<IdStream> b)
      : a_(std::move(a)),
        b_(std::move(b)),
        ids_(std::make_unique_for_overwrite<uint64_t[]>(kMaxPartIds)),
        words_(std::make_unique_for_overwrite<uint64_t[]>(kContainerWords)) {}

  absl::Status Next(Part& part) final {
    taken_from_ = nullptr;
    const Turn turn;
    while (steps_left-- > 0) {
      if (absl::Status status = FillBoth(); !status.ok()) return status;
      if (a_.pending() || b_.pending()) break;
      if (Step(part)) return absl::OkStatus();
    }
    part = Part{Part::Kind::kPending};
    return absl::OkStatus();
  }

  // A block was passed on as it came.
  void Expand() final { taken_from_->stream().Expand(); }

  void SkipTo(uint64_t id) final {
    SkipOne(a_, id);
    SkipOne(b_, id);
  }

  void Want(std::span<const uint64_t> ids) final {
    a_.stream().Want(ids);
    b_.stream().Want(ids);
  }

 protected:
  // One step of the operation; both inputs have a part at hand or have ended. True: `part` is the next one.
  virtual bool Step(Part& part) = 0;

  // Passes on what an input has at hand.
  bool PassOn(Operand& input, Part& part) {
    part = input.Take();
    taken_from_ = &input;
    return true;
  }

  bool EmitIds(size_t count, Part& part) {
    if (count == 0) return false;
    part = Part{Part::Kind::kIds, count, ids_[0], ids_[count - 1], ids_.get(), nullptr};
    return true;
  }

  bool EmitBitmap(uint64_t container, uint64_t count, Part& part) {
    if (count == 0) return false;
    part =
        Part{Part::Kind::kBitmap, count, container, container + (kContainerIds - 1), nullptr, words_.get()};
    return true;
  }

  // Ids before anything that the other side has are passed over, or on without being copied. Of two lists, a
  // merge does that: one by one, they would take turns.
  static bool SkipPrefix(Operand& list, const Operand& other) {
    if (!list.is_ids() || list.first() >= other.first() || other.is_ids()) return false;
    list.SkipTo(other.first());
    return true;
  }
  static bool PassPrefix(Operand& list, const Operand& other, Part& part) {
    if (!list.is_ids() || list.first() >= other.first() || other.is_ids()) return false;
    part = list.TakeIds(FirstAtLeast(list.ids(), 0, other.first()));
    return true;
  }

  // The ids of `list` up to the end of the bitmap's container whose bits are `wanted`.
  bool Filter(Operand& list, const Operand& bitmap, uint64_t wanted, Part& part) {
    const size_t count = list.CountUpTo(bitmap.last());
    const std::span<const uint64_t> ids = list.ids().first(count);
    size_t found = 0;
    for (const uint64_t id : ids) {
      ids_[found] = id;
      found += ((bitmap.words()[(id >> 6) & (kContainerWords - 1)] >> (id & 63)) & 1) == wanted;
    }
    list.DropIds(count);
    return EmitIds(found, part);
  }

  // Two inputs overlap, and one or both are blocks. The wider one is read first, for its ids may tell that
  // the other need not be.
  void ExpandOne() {
    Operand& wider = !b_.is_block() || (a_.is_block() && a_.width() >= b_.width()) ? a_ : b_;
    wider.Expand();
  }

  Operand a_;
  Operand b_;
  const std::unique_ptr<uint64_t[]> ids_;
  const std::unique_ptr<uint64_t[]> words_;

 private:
  absl::Status FillBoth() {
    // Also if the first has to wait: the reads of both are under way then.
    absl::Status status = a_.Fill();
    status.Update(b_.Fill());
    return status;
  }

  static void SkipOne(Operand& input, uint64_t id) {
    if (input.ended()) return;
    if (input.pending()) return input.stream().SkipTo(id);
    input.SkipTo(id);
  }

  Operand* taken_from_ = nullptr;
};

class Intersection final : public Operator {
 public:
  using Operator::Operator;

 private:
  bool Step(Part& part) override {
    if (a_.ended() || b_.ended()) {
      part = Part();
      return true;
    }
    if (a_.IsNewList()) b_.stream().Want(a_.ids());
    if (a_.last() < b_.first()) return a_.SkipTo(b_.first()), false;
    if (b_.last() < a_.first()) return b_.SkipTo(a_.first()), false;
    if (SkipPrefix(a_, b_) || SkipPrefix(b_, a_)) return false;
    if (a_.is_block() || b_.is_block()) return ExpandOne(), false;
    if (a_.is_bitmap() && b_.is_bitmap()) {
      const uint64_t container = a_.part().container();
      const uint64_t count = AndWords(a_.words(), b_.words(), words_.get());
      a_.Drop();
      b_.Drop();
      return EmitBitmap(container, count, part);
    }
    if (a_.is_bitmap()) return Filter(b_, a_, 1, part);
    if (b_.is_bitmap()) return Filter(a_, b_, 1, part);
    const Merged merged = IntersectIds(a_.ids(), b_.ids(), {ids_.get(), kMaxPartIds});
    a_.DropIds(merged.a);
    b_.DropIds(merged.b);
    return EmitIds(merged.out, part);
  }
};

class Difference final : public Operator {
 public:
  using Operator::Operator;

 private:
  bool Step(Part& part) override {
    if (open_) return Continue(part);
    if (a_.ended() || b_.ended()) return PassOn(a_, part);
    if (a_.last() < b_.first()) return PassOn(a_, part);
    if (b_.last() < a_.first()) return b_.SkipTo(a_.first()), false;
    if (a_.IsNewList()) b_.stream().Want(a_.ids());
    if (PassPrefix(a_, b_, part)) return true;
    if (SkipPrefix(b_, a_)) return false;
    if (a_.is_block() || b_.is_block()) return ExpandOne(), false;
    if (a_.is_bitmap()) {
      open_ = true;
      container_ = a_.part().container();
      count_ = a_.part().count;
      std::memcpy(words_.get(), a_.words(), kContainerWords * sizeof(uint64_t));
      a_.Drop();
      return false;
    }
    if (b_.is_bitmap()) return Filter(a_, b_, 0, part);
    const Merged merged = SubtractIds(a_.ids(), b_.ids(), {ids_.get(), kMaxPartIds});
    if (merged.a > 0) a_.DropIds(merged.a);
    if (merged.b > 0) b_.DropIds(merged.b);
    return EmitIds(merged.out, part);
  }

  // A bitmap is at work: what the other side has of its container is taken away.
  bool Continue(Part& part) {
    const uint64_t last = container_ + (kContainerIds - 1);
    if (b_.ended() || b_.first() > last) {
      open_ = false;
      return EmitBitmap(container_, count_, part);
    }
    if (b_.last() < container_) return b_.SkipTo(container_), false;
    if (b_.is_block()) return b_.Expand(), false;
    if (b_.is_bitmap()) {
      count_ = AndNotWords(words_.get(), b_.words(), words_.get());
      b_.Drop();
      return false;
    }
    if (b_.first() < container_) b_.SkipTo(container_);
    const size_t count = b_.CountUpTo(last);
    for (const uint64_t id : b_.ids().first(count)) {
      count_ -= TestBit(words_.get(), id);
      ClearBit(words_.get(), id);
    }
    if (count > 0) b_.DropIds(count);
    return false;
  }

  bool open_ = false;
  uint64_t container_ = 0;
  uint64_t count_ = 0;
};

class Union final : public Operator {
 public:
  using Operator::Operator;

 private:
  bool Step(Part& part) override {
    if (open_) return Continue(part);
    if (b_.ended()) return PassOn(a_, part);
    if (a_.ended()) return PassOn(b_, part);
    if (a_.last() < b_.first()) return PassOn(a_, part);
    if (b_.last() < a_.first()) return PassOn(b_, part);
    if (PassPrefix(a_, b_, part) || PassPrefix(b_, a_, part)) return true;
    if (a_.is_block() || b_.is_block()) return ExpandOne(), false;
    if (a_.is_bitmap() || b_.is_bitmap() || (IsDense(a_) && IsDense(b_))) {
      open_ = true;
      container_ = ContainerOf(std::min(a_.first(), b_.first()));
      std::memset(words_.get(), 0, kContainerWords * sizeof(uint64_t));
      count_ = 0;
      return false;
    }
    const Merged merged = UniteIds(a_.ids(), b_.ids(), {ids_.get(), kMaxPartIds});
    if (merged.a > 0) a_.DropIds(merged.a);
    if (merged.b > 0) b_.DropIds(merged.b);
    return EmitIds(merged.out, part);
  }

  static bool IsDense(const Operand& list) {
    return list.part().count > kContainerWords && list.width() / list.part().count < kDenseDistance;
  }

  bool Continue(Part& part) {
    const uint64_t last = container_ + (kContainerIds - 1);
    const bool a_done = a_.ended() || a_.first() > last;
    const bool b_done = b_.ended() || b_.first() > last;
    if (!a_done) return Absorb(a_), false;
    if (!b_done) return Absorb(b_), false;
    open_ = false;
    return EmitBitmap(container_, count_, part);
  }

  void Absorb(Operand& input) {
    if (input.is_block()) return input.Expand();
    if (input.is_bitmap()) {
      count_ = OrWords(words_.get(), input.words(), words_.get());
      return input.Drop();
    }
    const size_t count = input.CountUpTo(container_ + (kContainerIds - 1));
    for (const uint64_t id : input.ids().first(count)) {
      count_ += !TestBit(words_.get(), id);
      SetBit(words_.get(), id);
    }
    input.DropIds(count);
  }

  bool open_ = false;
  uint64_t container_ = 0;
  uint64_t count_ = 0;
};

class List final : public IdStream {
 public:
  explicit List(std::vector<uint64_t> ids) : ids_(std::move(ids)) {}

  absl::Status Next(Part& part) override {
    const size_t count = std::min(ids_.size() - next_, kMaxPartIds);
    part = Part();
    if (count == 0) return absl::OkStatus();
    const uint64_t* const ids = ids_.data() + next_;
    part = Part{Part::Kind::kIds, count, ids[0], ids[count - 1], ids, nullptr};
    next_ += count;
    return absl::OkStatus();
  }
  void Expand() override {}
  void SkipTo(uint64_t id) override { next_ = FirstAtLeast(ids_, next_, id); }
  void Want(std::span<const uint64_t>) override {}

 private:
  const std::vector<uint64_t> ids_;
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<IdStream> Intersect(std::unique_ptr<IdStream> a, std::unique_ptr<IdStream> b) {
  return std::make_unique<Intersection>(std::move(a), std::move(b));
}

std::unique_ptr<IdStream> Subtract(std::unique_ptr<IdStream> a, std::unique_ptr<IdStream> b) {
  return std::make_unique<Difference>(std::move(a), std::move(b));
}

std::unique_ptr<IdStream> Unite(std::vector<std::unique_ptr<IdStream>> inputs) {
  if (inputs.empty()) return EmptyStream();
  // A balanced tree: an id passes through few operators.
  while (inputs.size() > 1) {
    std::vector<std::unique_ptr<IdStream>> united;
    for (size_t i = 0; i + 1 < inputs.size(); i += 2) {
      united.push_back(std::make_unique<Union>(std::move(inputs[i]), std::move(inputs[i + 1])));
    }
    if (inputs.size() % 2 == 1) united.push_back(std::move(inputs.back()));
    inputs = std::move(united);
  }
  return std::move(inputs.front());
}

std::unique_ptr<IdStream> EmptyStream() { return ListStream({}); }

std::unique_ptr<IdStream> ListStream(std::vector<uint64_t> ids) {
  return std::make_unique<List>(std::move(ids));
}

}  // namespace thermocline::storage::segment
