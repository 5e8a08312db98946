#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/latency_histogram.h"
#include "tests/bench/workload.h"
#include "tests/load/call.h"
#include "tests/load/key_space.h"
#include "tests/load/mix.h"
#include "tests/load/pacing.h"
#include "tests/load/records.h"

namespace thermocline::load {

// What has come of the calls of one thread. Written by that thread, read by any.
struct Tally {
  bench::LatencyHistogram latencies;    // of successful calls; a read-modify-write counts as one
  std::atomic<uint64_t> operations{0};  // that succeeded: a batch of N counts as N
  std::atomic<uint64_t> errors{0};      // calls that failed, in whole or in part, or were never answered
  std::atomic<uint64_t> wrong{0};       // values that are not what was written under their key, or missing
  std::atomic<uint64_t> missing{0};     // keys that were not there, whether that is wrong or not

  void Note(std::string_view fault);  // keeps the first
  std::string first_fault() const;

 private:
  mutable std::mutex mutex_;
  std::string first_fault_;
};

// What the threads of a phase have in common.
struct TrafficPlan {
  const Records& records;
  const KeyChoice& choice;
  KeySpace& space;
  Mix mix;
  uint32_t batch = 1;  // items a call; 1: calls that are no batches
  bool sync = true;
  bool misses_allowed = false;
  double calls_per_second = 0;  // of each thread; 0: closed loop, as many as there are tickets
  TimePoint start;
  TimePoint end = TimePoint::max();                       // no call starts later
  uint64_t calls = std::numeric_limits<uint64_t>::max();  // of each thread
};

// The calls of one thread, and the judge of their answers: a driver pulls calls from it when it can send
// them, and hands it what comes back. For one thread at a time; the tally may be read by others.
class Traffic final : public Answers {
 public:
  // Tickets are 0 .. tickets-1. `plan` and `tally` must outlive this.
  Traffic(const TrafficPlan& plan, uint32_t tickets, uint64_t seed, Tally& tally);

  // The time that calls start and answers arrive from now on.
  void SetNow(TimePoint now) { now_ = now; }

  // A call under `ticket`, which must be free; nullptr if there is none now. Valid until the next one.
  const Call* Next(uint32_t ticket);
  // When there is a call again: in the past if now. TimePoint::max() if never.
  TimePoint due() const;
  // Tickets that wait for their OnEnd.
  uint32_t under_way() const { return under_way_; }
  // Calls that have ended.
  uint64_t ended() const { return ended_; }
  bool open_loop() const { return pacing_.has_value(); }
  // Whether everything has been sent and answered.
  bool finished() const { return under_way_ == 0 && due() == TimePoint::max(); }
  // Gives up what is not sent: counts it as errors.
  void Abandon(std::string_view why);

  void OnValue(uint32_t ticket, uint32_t index, std::optional<std::string_view> value) override;
  void OnEnd(uint32_t ticket, std::string_view error) override;

 private:
  enum class Kind : uint8_t { kRead, kUpdate, kInsert, kReadOfModify, kWriteOfModify, kRangeRead, kDelete };
  struct Pending {
    TimePoint start;
    Kind kind = Kind::kRead;
    uint32_t items = 0;
  };

  Kind Draw();
  void Choose(uint32_t ticket, Pending& pending);
  const Call* Build(uint32_t ticket, const Pending& pending);
  uint64_t* NumbersOf(uint32_t ticket) { return &numbers_[size_t{ticket} * max_items_]; }
  void EndInserts(uint32_t ticket, const Pending& pending, bool acknowledged);
  void Fault(uint64_t number, std::string_view what);

  const TrafficPlan& plan_;
  Tally& tally_;
  const uint32_t max_items_;
  bench::RandomStream random_;
  std::optional<Pacing> pacing_;
  TimePoint now_;
  uint64_t left_;  // calls to start
  uint32_t under_way_ = 0;
  uint64_t ended_ = 0;
  uint32_t revision_;
  std::vector<Pending> pending_;   // by ticket
  std::vector<uint64_t> numbers_;  // of the keys: max_items_ for each ticket
  struct SecondHalf {
    uint64_t number;
    TimePoint start;
  };
  std::vector<SecondHalf> second_halves_;  // read, and still to be written

  Call call_;
  std::vector<Item> items_;
  std::string keys_;
  std::string values_;
};

}  // namespace thermocline::load
