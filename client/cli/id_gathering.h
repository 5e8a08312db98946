#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <queue>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"

#include "storage/id_source.h"

namespace thermocline::cli {

// The ids of several sources, read in parallel, each on a thread of its own, and handed to one thread in no
// order. Memory beside that of the sources: half a mebibyte for each.
class IdGathering {
 public:
  // What is wrong with a row of the source of this index. True: skip the row. False: it is an error. Called
  // on any thread, several at once.
  using Reject = std::function<bool(size_t source, uint64_t row, std::string_view problem)>;

  // Starts reading. `sources` must outlive it.
  IdGathering(const std::vector<std::unique_ptr<storage::IdSource>>& sources, Reject reject);
  // Cancels what is still read, and waits until it has stopped.
  ~IdGathering();

  // Waits for ids and replaces those in `ids`. False when all sources are at their end, or one has failed:
  // see failure(). For one thread.
  bool Next(std::vector<uint64_t>& ids);

  struct Failure {
    size_t source = 0;
    absl::Status status;  // OK: there is none
  };
  // The first, after which no others count. For the thread of Next(), once that has returned false.
  const Failure& failure() const { return failure_; }

 private:
  void Read(size_t index);
  // Waits for room; false if nobody wants the ids any more.
  bool Hand(std::vector<uint64_t> ids);
  void Stop();

  const std::vector<std::unique_ptr<storage::IdSource>>& sources_;
  const Reject reject_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::queue<std::vector<uint64_t>> batches_;
  size_t reading_;        // sources that are not at their end
  bool stopped_ = false;  // a source has failed, or nobody wants ids any more
  Failure failure_;

  std::vector<std::thread> threads_;
};

}  // namespace thermocline::cli
