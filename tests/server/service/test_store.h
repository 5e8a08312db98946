#pragma once

#include <functional>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "server/service/admin.h"
#include "server/service/key_value.h"
#include "storage/engine.h"
#include "storage/executor_reads.h"
#include "storage/system_clock.h"
#include "tests/support/manual_clock.h"
#include "tests/support/manual_executor.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::server {

// The services on a real engine, whose disk, clock and threads obey. One thread.
class TestStore {
 public:
  // `memory_bytes` and `block_bytes` as storage::Options.
  explicit TestStore(uint64_t memory_bytes = 16 << 20, uint32_t block_bytes = 256 << 10);
  ~TestStore();

  // Starts an operation, lets the executors work until it is done, and returns its status.
  using Done = absl::AnyInvocable<void(absl::Status)>;
  absl::Status Await(const std::function<void(Done)>& start);

  // Unary calls with their response; a failure of the call is a failure of the test.
  v1::GetResponse Get(const v1::GetRequest& request);
  v1::GetResponse Get(const std::string& key);
  v1::WriteResponse Set(const v1::SetRequest& request);
  v1::WriteResponse Set(const std::string& key, const std::string& value);
  v1::WriteResponse Delete(const v1::DeleteRequest& request);
  v1::BatchGetResponse BatchGet(const v1::BatchGetRequest& request);
  v1::BatchWriteResponse BatchWrite(const v1::BatchWriteRequest& request);

  // The status of a call that is expected to fail.
  absl::Status GetStatus(const v1::GetRequest& request);
  absl::Status SetStatus(const v1::SetRequest& request);
  absl::Status DeleteStatus(const v1::DeleteRequest& request);
  absl::Status BatchGetStatus(const v1::BatchGetRequest& request);
  absl::Status BatchWriteStatus(const v1::BatchWriteRequest& request);

  // Lets the executors work until nothing is left to do now.
  void Settle();

  testing::SimulatedDisk& disk() { return disk_; }
  testing::ManualClock& clock() { return clock_; }
  storage::Engine& engine() { return *engine_; }
  KeyValueService& key_value() { return *key_value_; }
  AdminService& admin() { return *admin_; }

 private:
  testing::SimulatedDisk disk_{1};
  testing::ManualClock clock_;
  storage::SeededRandom random_{2};
  testing::ManualExecutor reads_{3};
  testing::ManualExecutor commits_{4};
  testing::ManualExecutor background_{5};
  storage::ExecutorReads disk_reads_{reads_};
  std::unique_ptr<storage::Engine> engine_;
  std::unique_ptr<KeyValueService> key_value_;
  std::unique_ptr<AdminService> admin_;
};

}  // namespace thermocline::server
