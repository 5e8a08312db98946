#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "tests/load/header_blocks.h"

namespace thermocline::load {

// The client's end of one HTTP/2 connection that carries gRPC calls, without the socket: lean, for a load
// generator that shares its machine with the server. It keeps to flow control, to the peer's limits of
// streams and frames, and answers pings. Messages are not compressed.
class GrpcConnection {
 public:
  // Who hears of the calls. `call` is what the caller gave to Open.
  class Events {
   public:
    virtual ~Events() = default;
    virtual void OnMessage(uint64_t call, std::string_view message) = 0;
    // The call is over; empty `error`: with status OK.
    virtual void OnEnd(uint64_t call, std::string_view error) = 0;
  };

  GrpcConnection(std::string authority, std::vector<std::string> paths);

  // The preface.
  void Begin(std::string& out);
  // Whether a call may be opened: false before the peer's settings have arrived, when its limit of streams is
  // reached, when what was sent waits for its windows, and after its GOAWAY.
  bool CanOpen() const {
    return settled_ && !going_away_ && blocked_.empty() && open_streams_ < peer_max_streams_ &&
           next_stream_ < kLastStream;
  }
  // Opens a call to the method paths[method]. With `last`, the message is all that we send in it. Returns the
  // stream.
  uint32_t Open(size_t method, uint64_t call, std::string_view message, bool last, std::string& out);
  // Opens a call without a message yet.
  uint32_t OpenStream(size_t method, uint64_t call, std::string& out);
  // One more message in an open call.
  void Write(uint32_t stream, std::string_view message, std::string& out);
  // False while messages wait for the peer's windows.
  bool CanWrite() const { return blocked_.empty(); }

  // Reads the whole frames that `in` begins with and returns their bytes. An error ends the connection.
  absl::StatusOr<size_t> Receive(std::string_view in, Events& events, std::string& out);

  bool going_away() const { return going_away_; }  // the peer's GOAWAY has come
  // After a GOAWAY, or with no stream ids left, and with no call open.
  bool exhausted() const { return (going_away_ || next_stream_ >= kLastStream) && open_streams_ == 0; }

 private:
  struct Frame;
  struct Stream {
    uint32_t id = 0;  // 0: free
    uint64_t call = 0;
    int64_t send_window = 0;
    uint32_t received = 0;  // bytes since our last update of the window
    std::string partial;    // of a message that has not arrived whole
  };
  struct Blocked {
    uint32_t stream;
    std::string bytes;
    size_t sent;
    bool last;
  };

  static constexpr uint32_t kLastStream = 0x7ffffff0;

  Stream& Add(uint64_t call);
  Stream* Find(uint32_t id);
  void End(Stream& stream, std::string_view error, Events& events);
  void Send(Stream& stream, std::string_view message, bool last, std::string& out);
  size_t SendSome(Stream& stream, std::string_view bytes, bool last, std::string& out);
  void SendBlocked(std::string& out);

  absl::Status Take(const Frame& frame, Events& events, std::string& out);
  absl::Status TakeData(const Frame& frame, Events& events, std::string& out);
  absl::Status TakeHeaders(const Frame& frame, Events& events);
  absl::Status EndHeaders(std::string_view block, Events& events);
  absl::Status TakeSettings(const Frame& frame, std::string& out);
  absl::Status ApplySetting(uint16_t id, uint32_t value);
  absl::Status TakeGoAway(const Frame& frame, Events& events);
  absl::Status TakeWindowUpdate(const Frame& frame, std::string& out);
  void TakeReset(const Frame& frame, Events& events);
  bool TakeMessages(Stream& stream, std::string_view bytes, Events& events);
  void Replenish(Stream* stream, uint32_t bytes, std::string& out);

  RequestHeaders request_headers_;
  ResponseHeaders response_headers_;

  std::vector<Stream> streams_;  // a ring by id; its size is a power of two
  uint32_t open_streams_ = 0;
  uint32_t next_stream_ = 1;

  int64_t send_window_;
  int64_t peer_stream_window_;
  uint32_t peer_max_frame_;
  uint32_t peer_max_streams_ = std::numeric_limits<uint32_t>::max();
  bool settled_ = false;
  bool going_away_ = false;
  uint32_t received_ = 0;
  std::deque<Blocked> blocked_;  // what waits for the peer's windows, in order

  uint32_t block_stream_ = 0;  // whose header block goes on in CONTINUATION frames; 0: none
  bool block_ends_stream_ = false;
  std::string block_;
};

}  // namespace thermocline::load
