#include "tests/server/service/test_store.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <utility>

#include "gtest/gtest.h"

#include "storage/options.h"

namespace thermocline::server {

TestStore::TestStore(uint64_t memory_bytes, uint32_t block_bytes) {
  storage::Options options;
  options.directory = "/data";
  options.memory_bytes = memory_bytes;
  options.block_bytes = block_bytes;
  auto engine =
      storage::Engine::Open(options, {disk_, clock_, random_, reads_, disk_reads_, commits_, background_});
  if (!engine.ok()) {
    std::cerr << "cannot open the test's store: " << engine.status() << "\n";
    std::abort();
  }
  engine_ = *std::move(engine);
  key_value_ = std::make_unique<KeyValueService>(*engine_, clock_);
  admin_ = std::make_unique<AdminService>(*engine_, nullptr, nullptr);
}

TestStore::~TestStore() { Settle(); }

void TestStore::Settle() {
  while (reads_.RunUntilIdle() + commits_.RunUntilIdle() + background_.RunUntilIdle() > 0) {
  }
}

absl::Status TestStore::Await(const std::function<void(Done)>& start) {
  std::optional<absl::Status> result;
  start([&result](absl::Status status) { result = std::move(status); });
  for (int i = 0; i < 100 && !result.has_value(); ++i) {
    Settle();
    commits_.Advance(std::chrono::milliseconds(100));
    background_.Advance(std::chrono::milliseconds(100));
    reads_.Advance(std::chrono::milliseconds(100));
  }
  if (!result.has_value()) {
    std::cerr << "the operation never ends\n";
    std::abort();
  }
  return *result;
}

v1::GetResponse TestStore::Get(const v1::GetRequest& request) {
  v1::GetResponse response;
  const absl::Status status = Await([&](Done done) { key_value_->Get(request, &response, std::move(done)); });
  EXPECT_TRUE(status.ok()) << status;
  return response;
}

v1::GetResponse TestStore::Get(const std::string& key) {
  v1::GetRequest request;
  request.set_key(key);
  return Get(request);
}

v1::WriteResponse TestStore::Set(const v1::SetRequest& request) {
  v1::WriteResponse response;
  const absl::Status status = Await([&](Done done) { key_value_->Set(request, &response, std::move(done)); });
  EXPECT_TRUE(status.ok()) << status;
  return response;
}

v1::WriteResponse TestStore::Set(const std::string& key, const std::string& value) {
  v1::SetRequest request;
  request.set_key(key);
  request.set_value(value);
  return Set(request);
}

v1::WriteResponse TestStore::Delete(const v1::DeleteRequest& request) {
  v1::WriteResponse response;
  const absl::Status status =
      Await([&](Done done) { key_value_->Delete(request, &response, std::move(done)); });
  EXPECT_TRUE(status.ok()) << status;
  return response;
}

v1::BatchGetResponse TestStore::BatchGet(const v1::BatchGetRequest& request) {
  v1::BatchGetResponse response;
  const absl::Status status =
      Await([&](Done done) { key_value_->BatchGet(request, &response, std::move(done)); });
  EXPECT_TRUE(status.ok()) << status;
  return response;
}

v1::BatchWriteResponse TestStore::BatchWrite(const v1::BatchWriteRequest& request) {
  v1::BatchWriteResponse response;
  const absl::Status status =
      Await([&](Done done) { key_value_->BatchWrite(request, &response, std::move(done)); });
  EXPECT_TRUE(status.ok()) << status;
  return response;
}

absl::Status TestStore::GetStatus(const v1::GetRequest& request) {
  v1::GetResponse response;
  return Await([&](Done done) { key_value_->Get(request, &response, std::move(done)); });
}

absl::Status TestStore::SetStatus(const v1::SetRequest& request) {
  v1::WriteResponse response;
  return Await([&](Done done) { key_value_->Set(request, &response, std::move(done)); });
}

absl::Status TestStore::DeleteStatus(const v1::DeleteRequest& request) {
  v1::WriteResponse response;
  return Await([&](Done done) { key_value_->Delete(request, &response, std::move(done)); });
}

absl::Status TestStore::BatchGetStatus(const v1::BatchGetRequest& request) {
  v1::BatchGetResponse response;
  return Await([&](Done done) { key_value_->BatchGet(request, &response, std::move(done)); });
}

absl::Status TestStore::BatchWriteStatus(const v1::BatchWriteRequest& request) {
  v1::BatchWriteResponse response;
  return Await([&](Done done) { key_value_->BatchWrite(request, &response, std::move(done)); });
}

}  // namespace thermocline::server
