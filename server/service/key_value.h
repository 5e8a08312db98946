#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/service/pipeline.h"
#include "storage/clock.h"
#include "storage/engine.h"
#include "thermocline/v1/key_value.pb.h"

namespace thermocline::server {

// A scan under way, one page at a time: nothing is read ahead, so that whoever consumes the pages sets the
// pace. Destroy it to stop the scan, but not while a page is being read.
class ScanReader {
 public:
  // Called with whether more pages follow, or with the error that ends the scan.
  using PageDone = absl::AnyInvocable<void(absl::StatusOr<bool>)>;

  // Reads the next page into `response`, which must be empty and live until `done` is called (perhaps during
  // the call). Not after a page that was the last, nor while another is being read.
  void Next(v1::ScanResponse* response, PageDone done);

 private:
  friend class KeyValueService;
  ScanReader(storage::Engine& engine, storage::Clock& clock, const v1::ScanRequest& request);

  bool Fill(storage::ScanPage page, v1::ScanResponse* response);

  storage::Engine& engine_;
  storage::Clock& clock_;
  storage::ScanRequest next_;
  const bool limited_;
  uint64_t remaining_;  // entries, if limited_
};

// The methods of key_value.proto (which says what they mean) on top of an engine, whatever brings the
// messages. Thread-safe.
//
// Each method calls `done` exactly once, during the call or later on a thread of the engine. Until then,
// request and response must live; the response is empty at first, and means something only if the status is
// OK.
class KeyValueService {
 public:
  using Done = absl::AnyInvocable<void(absl::Status)>;

  // Both must outlive the service and every operation.
  KeyValueService(storage::Engine& engine, storage::Clock& clock) : engine_(engine), clock_(clock) {}

  void Get(const v1::GetRequest& request, v1::GetResponse* response, Done done);
  void Set(const v1::SetRequest& request, v1::WriteResponse* response, Done done);
  void Delete(const v1::DeleteRequest& request, v1::WriteResponse* response, Done done);
  void BatchGet(const v1::BatchGetRequest& request, v1::BatchGetResponse* response, Done done);
  void BatchWrite(const v1::BatchWriteRequest& request, v1::BatchWriteResponse* response, Done done);

  // Says that an operation on `key` follows at once; see storage::Engine.
  void Expect(std::string_view key) { engine_.Expect(key); }
  void ExpectRecord(std::string_view key) { engine_.ExpectRecord(key); }

  // The scan does not refer to `request` or to this service.
  absl::StatusOr<ScanReader> Scan(const v1::ScanRequest& request);

  // A Pipeline call, which does not refer to this service; see Pipeline for `wake`.
  std::unique_ptr<Pipeline> NewPipeline(absl::AnyInvocable<void()> wake) {
    return std::make_unique<Pipeline>(engine_, clock_, std::move(wake));
  }

 private:
  void Apply(const absl::StatusOr<storage::Write>& write, v1::WriteResponse* response, Done done);

  storage::Engine& engine_;
  storage::Clock& clock_;
};

}  // namespace thermocline::server
