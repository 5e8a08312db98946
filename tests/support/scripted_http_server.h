#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "storage/thread_annotations.h"

namespace thermocline::testing {

struct ScriptedRequest {
  std::string method;
  std::string target;                          // path and query
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

struct ScriptedAnswer {
  int status = 200;
  std::map<std::string, std::string> headers;
  std::string body;
  std::optional<size_t> cut_after;  // so many bytes of the body, then the connection is closed
  bool hang = false;                // no answer until the client gives up
  // Of a HEAD: its Content-Length.
  std::optional<size_t> length;
};

// Answers on 127.0.0.1 what it is told; one request for each connection, a thread for each.
class ScriptedHttpServer {
 public:
  // Called by several threads.
  using Handler = std::function<ScriptedAnswer(const ScriptedRequest&)>;
  explicit ScriptedHttpServer(Handler handler);
  ~ScriptedHttpServer();

  // "http://127.0.0.1:port"
  const std::string& url() const { return url_; }

 private:
  void Accept();
  void Serve(int connection);

  const Handler handler_;
  int listener_ = -1;
  std::string url_;
  std::atomic<bool> closing_{false};
  storage::Mutex mutex_;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
  std::thread accept_;
};

}  // namespace thermocline::testing
