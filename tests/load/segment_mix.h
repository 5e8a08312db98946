#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "tests/bench/workload.h"

namespace thermocline::load {

// What is done with segments beside gets and sets.
struct SegmentOptions {
  uint32_t segments = 0;        // large ones, and as many small ones; 0: nothing is done
  uint64_t ids = 0;             // of each large one
  uint32_t dense_percent = 50;  // of the segments; the others are sparse
  double adds = 100;            // a second, started on time whatever becomes of those before
  uint32_t queries = 2;         // clients that ask one query after the other
  bool contrast = false;        // measure gets and sets without all this before and after
};

// "100 x 1M" or "100 segments x 1M ids". INVALID_ARGUMENT says what is allowed.
absl::StatusOr<SegmentOptions> ParseSegments(const std::string& text);

// A segment whose members are computed, so that what comes back can be checked without having been stored.
// All take from the same ids, so that they overlap: dense ones from all numbers, sparse ones from one in
// kSparse of them. A large one takes every second one of those, a small one as much less as it is smaller,
// over the same range.
class SegmentIds {
 public:
  enum class Size : uint8_t { kLarge, kSmall };

  static constexpr uint64_t kSmaller = 100;  // than a large one is a small one
  static constexpr uint64_t kSparse = 500;

  SegmentIds(const SegmentOptions& options, Size size, uint32_t number);

  const std::string& name() const { return name_; }
  bool is_dense() const { return spread_ == 1; }
  // How many ids it is loaded with, and each of them: ascending.
  uint64_t count() const { return count_; }
  uint64_t At(uint64_t index) const { return IdOf(index, Choice(index)); }
  // An id that may be added to it later, `index` below count().
  uint64_t Addable(uint64_t index) const { return IdOf(index, ~Choice(index)); }
  // Whether it was loaded with this id.
  bool Holds(uint64_t id) const;
  // The same, or whether the id may have been added.
  bool MayHold(uint64_t id) const;

 private:
  uint64_t Choice(uint64_t index) const { return bench::Mix(index ^ seed_); }
  uint64_t IdOf(uint64_t index, uint64_t choice) const;

  std::string name_;
  uint64_t count_;
  uint64_t stride_;  // of the numbers that it may take from, one of so many is a member
  uint64_t spread_;  // of all ids, one of so many is such a number
  uint64_t seed_;
};

// An expression, and how to judge its answer.
class SegmentQuestion {
 public:
  enum class Kind : uint8_t { kSmallAndSmall, kSmallAndLarge, kLargeAndLarge, kUnion };
  static constexpr uint32_t kKinds = 4;

  // Of random segments; a union is that of the (up to) ten whose numbers differ in the last digit only.
  static SegmentQuestion Draw(const SegmentOptions& options, Kind kind, bench::RandomStream& random);

  const std::string& expression() const { return expression_; }
  // Some ids that must be in the answer, ascending.
  const std::vector<uint64_t>& expected() const { return expected_; }
  bool MayHold(uint64_t id) const;

 private:
  void Expect(bench::RandomStream& random);

  std::string expression_;
  bool is_union_ = false;
  std::vector<SegmentIds> operands_;
  std::vector<uint64_t> expected_;
};

// The judge of the ids that come for a question, which must outlive this.
class SegmentAnswer {
 public:
  explicit SegmentAnswer(const SegmentQuestion& question) : question_(question) {}

  void Take(std::span<const uint64_t> ids);
  // How many came.
  uint64_t ids() const { return ids_; }
  // When all have come: the first thing that is wrong; empty if nothing is.
  std::string Fault() const;

 private:
  const SegmentQuestion& question_;
  uint64_t ids_ = 0;
  uint64_t last_ = 0;
  size_t found_ = 0;  // of those that are expected
  std::string fault_;
};

}  // namespace thermocline::load
