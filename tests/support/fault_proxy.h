#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace thermocline::testing {

// What can befall a request. Where bytes and a time are named, they are those of the Injection.
enum class Fault {
  // The target sees nothing of these.
  kResetBefore,     // the connection is reset when the request's head is there
  kResetInRequest,  // the same after `bytes` of its body were taken, or all of it
  kAnswer500,       // InternalError, as S3 says it
  kAnswer503,       // SlowDown
  kExpired400,      // ExpiredToken
  kExpired403,
  // The target has the whole request.
  kResetAfter,      // the connection is reset before a byte of the answer
  kResetInAnswer,   // after `bytes` of the answer's body
  kAnswer500After,  // the answer is InternalError, whatever the target said
  kTruncate,        // the body is cut after `bytes`, and the connection closed in order
  kWrongEtag,       // the ETag is another one; nothing if there is none
  kFlipByte,        // of the body the one at `bytes`, modulo its size; nothing if there is none
  kTrickle,         // the answer comes `bytes` (at least 1) at a time, with `time` between
  kStallInAnswer,   // after `bytes` of the body nothing comes for `time`
  kDelay,           // nothing comes for `time`, then the answer
  kDuplicate,       // the target gets the request twice, one after the other; the second answer counts
  // In between.
  kStall,  // the target gets the request only after `time`
};

struct Injection {
  Fault fault = Fault::kResetBefore;
  uint64_t bytes = 0;
  // Of kStall and kStallInAnswer: 0 is for ever, until the client closes the connection.
  std::chrono::milliseconds time{0};
};

// A TCP proxy before an HTTP/1.1 server that does harm as told: by a script, request by request, or by
// chance, by its seed. Each connection has a thread of its own. Thread-safe.
//
// Requests and answers are taken in whole (up to 256 MiB) before they go on, with Content-Length or chunked;
// the client's connection is kept for further requests, the target gets a new one for each. A request with
// `Expect: 100-continue` is told to go on by the proxy. What the target does not answer resets the client.
class FaultProxy {
 public:
  // Listens on a free port of 127.0.0.1. `target` is "127.0.0.1:port". UNAVAILABLE: there is no port.
  // INVALID_ARGUMENT: this is no target.
  static absl::StatusOr<std::unique_ptr<FaultProxy>> Start(const std::string& target, uint64_t seed);
  // Closes all connections.
  ~FaultProxy();

  // "127.0.0.1:port", and stays it.
  const std::string& address() const;

  // The requests that a script is about: the `nth` from now on, and `times` in all, of those whose method is
  // this one (empty: any) and whose target, query included, contains `path`.
  struct Match {
    std::string method;
    std::string path;
    uint64_t nth = 1;
    uint64_t times = 1;
  };
  // Scripts add up; the first that is about a request decides, and comes before chance.
  void Inject(Match match, Injection injection);
  // Each request with this probability suffers one of these, each as likely as the others.
  void InjectByChance(double probability, std::vector<Injection> injections);
  // From now on all goes well: no scripts, no chance, and connections are taken.
  void Clear();

  // Connections are refused from now on, as if nobody listened; those there are stay. Returns when it is so.
  // Clear() and Refuse(false) end it.
  void Refuse(bool refuse);
  // Resets every connection there is.
  void ResetAll();

  struct Counts {
    uint64_t open = 0;         // connections of clients, now
    uint64_t connections = 0;  // of clients, since the start
    uint64_t requests = 0;     // whose heads were read
    uint64_t forwarded = 0;    // requests that the target has got
    std::map<Fault, uint64_t> faults;
    uint64_t injected() const;
  };
  Counts counts() const;
  // Waits until so many connections are open, at most; false after 10 seconds.
  bool AwaitOpen(uint64_t at_most) const;

 private:
  class Impl;
  explicit FaultProxy(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

// The name of a fault, for messages.
std::string_view NameOf(Fault fault);

}  // namespace thermocline::testing
