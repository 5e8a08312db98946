#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "absl/functional/any_invocable.h"

#include "client/cli/record.h"

namespace thermocline::cli {

// Sends records in batches, several at once. Records with the same key go through the same lane, and a lane
// has one batch under way, so the server sees them in their order. Memory: two batches a lane. For one thread
// at a time.
class Lanes {
 public:
  struct Options {
    size_t lanes = 8;
    size_t batch_records = 1000;
    size_t batch_bytes = 1 << 20;  // of keys and values; passed only by the record that fills the batch
  };

  // Starts a batch on its way; `done` is called once, on any thread, when it is through.
  using Send = std::function<void(std::vector<Record> batch, absl::AnyInvocable<void()> done)>;

  Lanes(const Options& options, Send send);
  // Waits for the batches under way; what was not sent yet is dropped.
  ~Lanes();

  // Waits while the record's lane has a full batch and another under way.
  void Add(Record record);

  // Sends what is left and waits until everything is through.
  void Drain();

 private:
  struct Lane {
    std::vector<Record> batch;
    size_t bytes = 0;
    bool under_way = false;  // guarded by mutex_
  };

  void SendBatch(Lane& lane);
  void Await(const Lane& lane);

  const Options options_;
  const Send send_;
  std::vector<Lane> lanes_;
  std::mutex mutex_;
  std::condition_variable through_;
};

}  // namespace thermocline::cli
