#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "server/rpc/exchange.h"
#include "storage/thread_annotations.h"

namespace thermocline::server::rpc {

class SummingTaker;
class WaitingUpload;

// The methods of echo.proto, for an endpoint. Outlives it.
class EchoService {
 public:
  Methods NewMethods();

  // Ends the operations whose end the test decides about, as far as they are under way, on the calling
  // thread; returns how many.
  size_t FinishLater();
  size_t later() const;
  // Lets UploadLater take its messages.
  void ResumeUploads();
  size_t waiting_uploads() const;

  // Calls of Ignore, Upload and UploadLater that are open.
  std::atomic<int> open_streams = 0;
  // What works for SayWhileHere, DownloadLater and SumUp, and has not been destroyed.
  std::atomic<int> workers = 0;
  // Messages of Download that were made.
  std::atomic<int> downloads_made = 0;

 private:
  friend class SummingTaker;
  friend class WaitingUpload;

  void AddCancellableMethods(const std::string& service, Methods& methods);
  void AddLater(std::function<void()> finish);

  mutable storage::Mutex mutex_;
  std::vector<std::function<void()>> later_ ABSL_GUARDED_BY(mutex_);
  std::set<WaitingUpload*> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::server::rpc
