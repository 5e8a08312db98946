#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "server/rpc/header_list.h"
#include "server/rpc/hpack.h"
#include "server/rpc/http2_frames.h"

namespace thermocline::server::rpc {

class Http2Session;

// What a stream begins with.
struct StreamOpening {
  const HeaderList& headers;  // of no use if too_large
  bool repeated;              // headers are those of the session's stream before
  bool too_large;
};

// One stream, as whoever serves it sees it. The session refers to it from Http2Peer::NewStream until
// OnClosed.
class Http2Stream {
 public:
  virtual ~Http2Stream() = default;

  // Bytes of data that were appended and are not in the session's output yet: windows or the output are full.
  size_t backlog() const { return pending_.size() - pending_begin_; }

 private:
  friend class Http2Session;

  // Called by the session. Each may use the session, also to end this stream.
  virtual void OnHeaders(const StreamOpening& opening) = 0;
  // More bytes; `end`: the last. They stay in the stream's window until Http2Session::Consumed.
  virtual void OnData(std::string_view bytes, bool end) = 0;
  // The backlog has become small, or nothing.
  virtual void OnWritable() = 0;
  // The session has forgotten the stream: it ended on both sides, was reset, or the connection is over.
  virtual void OnClosed() = 0;

  uint32_t id_ = 0;
  bool client_ended_ = false;
  bool ended_ = false;    // by us; `trailers_` may still wait
  bool waiting_ = false;  // is in waiting_ of the session
  int64_t send_window_ = 0;
  int64_t receive_window_ = 0;
  size_t unreturned_ = 0;  // consumed bytes that the client does not know of
  std::string pending_;    // from pending_begin_ on
  size_t pending_begin_ = 0;
  std::string trailers_;  // to follow pending_ if ended_; empty: OK
};

// Where a session gets its streams from.
class Http2Peer {
 public:
  virtual ~Http2Peer() = default;

  // For a client's new stream; nullptr refuses it (the client may ask again elsewhere). OnHeaders follows.
  virtual Http2Stream* NewStream() = 0;
};

// The server's side of one HTTP/2 connection (RFC 9113) that carries gRPC: bytes in, bytes out; it knows no
// sockets and no time. Not thread-safe.
//
// What a client can make it hold is bounded: streams, windows, header lists; an output that is not taken
// (see output()); a budget of frames that ask for work and bring none (RST_STREAM has one of its own), which
// fills with use and with time. Who breaks the protocol or the budget gets a GOAWAY, and nothing more is
// read.
class Http2Session {
 public:
  static constexpr size_t kMaxStreams = 1024;
  static constexpr uint32_t kStreamWindow = 1 << 20;
  static constexpr uint32_t kConnectionWindow = 16 << 20;
  static constexpr size_t kMaxHeaderListBytes = 64 << 10;
  // Data goes into the output only as long as this much is not waiting there.
  static constexpr size_t kOutputHighWater = 256 << 10;
  // OnWritable comes when a stream's backlog falls to this, and to nothing.
  static constexpr size_t kBacklogLowWater = 64 << 10;
  // Who does not take its answers is not heard. One frame may add some KiB, and answers under way their own.
  static constexpr size_t kMaxOutput = 1 << 20;

  // `peer` must outlive the session.
  explicit Http2Session(Http2Peer& peer);
  // Does not call OnClosed: see CloseStreams().
  ~Http2Session() = default;

  // Takes what the client sent. False if the connection is over: send what output() holds, and close. With
  // kMaxOutput in output() it stops, and goes on when it is called again, perhaps with nothing new: see
  // stopped().
  bool Receive(std::string_view bytes);
  bool stopped() const { return stopped_; }

  // Moves data of streams that wait into the output, as far as windows and kOutputHighWater allow.
  void Pump();

  // To be sent, oldest first; Sent() removes it from the front. The view lives until the session is used.
  std::string_view output() const { return std::string_view(output_).substr(output_begin_); }
  void Sent(size_t bytes);

  // Appends `bytes` (at least 1) of data; the caller writes them to where the returned pointer points, before
  // it uses the session again.
  char* AppendData(Http2Stream& stream, size_t bytes);

  // The response's header block: status 200, the content type of gRPC, and literal fields.
  void SendHead(Http2Stream& stream, std::string_view fields);
  // The end of a stream, behind its data: literal fields, or, if there are none, `grpc-status: 0`. A client
  // that is still sending is told to stop.
  void End(Http2Stream& stream, std::string_view fields);
  // Head and end in one block, for an answer without data: literal fields, `:status` included if it has one
  // of its own (begin_with_head: false).
  void SendOnlyHead(Http2Stream& stream, std::string_view fields, bool begin_with_head);
  void Reset(Http2Stream& stream, Http2Error error);

  // Bytes of OnData that are not held any more: the client may send as many again.
  void Consumed(Http2Stream& stream, size_t bytes);

  // Asks for a sign of life.
  void Ping();
  // Takes no new streams, and says so.
  void GoAway(Http2Error error, std::string_view why);
  // Ends every stream (OnClosed).
  void CloseStreams();
  // Has every stream do as `act` says; it may end the stream.
  template <typename Act>
  void ForEachStream(Act act);

  // To be called every second or so: the budget of idle frames fills.
  void Tick();

  size_t stream_count() const { return streams_.size(); }
  // Streams that wait for windows or room in the output; of those that are left.
  size_t waiting_count() const { return waiting_.size(); }
  // The client has said that it is leaving, or we have.
  bool leaving() const { return leaving_ || client_leaving_; }
  // Whether the client's preface has come.
  bool greeted() const { return greeted_; }

 private:
  enum class Budget { kIdle, kReset };

  void HandleFrame(const FrameHeader& frame, std::string_view payload);
  void HandleData(const FrameHeader& frame, std::string_view payload);
  void HandleHeaders(const FrameHeader& frame, std::string_view payload);
  void HandleContinuation(const FrameHeader& frame, std::string_view payload);
  void HandleBlock(uint32_t id, std::string_view block, bool end);
  void OpenStream(uint32_t id, const StreamOpening& opening, bool end);
  void HandleReset(const FrameHeader& frame, std::string_view payload);
  void HandleSettings(const FrameHeader& frame, std::string_view payload);
  void ApplySetting(Setting setting, uint32_t value);
  void ApplyInitialWindow(uint32_t value);
  void HandlePing(const FrameHeader& frame, std::string_view payload);
  void HandleWindowUpdate(const FrameHeader& frame, std::string_view payload);

  // Cuts padding off; false (and failed) if there is more of it than there are bytes.
  bool RemovePadding(const FrameHeader& frame, std::string_view& payload);
  bool Greet(std::string_view& bytes);
  // Ours, once the client's has come (it need not wait for ours): before, it may speak something else.
  void SendPreface();
  // By the client, at any time.
  bool WasOpened(uint32_t id) const { return id % 2 == 1 && id <= last_stream_; }
  Http2Stream* Find(uint32_t id);
  // The stream has ended on both sides, or was reset.
  void Forget(Http2Stream& stream);

  void Wait(Http2Stream& stream);
  static void ClearPending(Http2Stream& stream);
  void PumpStream(Http2Stream& stream);
  void EmitEnd(Http2Stream& stream);
  void FinishBlock(size_t block_at, uint32_t stream, uint8_t flags);
  void ReturnWindow(uint32_t stream, size_t bytes);
  void ResetAtFault(Http2Stream& stream, Http2Error error);
  void SendReset(uint32_t stream, Http2Error error);
  void Spend(Budget budget);
  void Earn();
  void Fail(Http2Error error, std::string_view why);

  Http2Peer& peer_;
  HeaderDecoder decoder_;
  HeaderEncoder encoder_;
  bool told_ = false;  // a stream was given what the decoder has read last

  bool greeted_ = false;
  bool prefaced_ = false;  // by us
  bool settled_ = false;   // the client's first SETTINGS have come
  bool failed_ = false;
  bool leaving_ = false;
  bool client_leaving_ = false;
  bool stopped_ = false;

  std::string partial_;  // a frame that has begun
  uint32_t last_stream_ = 0;
  uint32_t last_served_ = 0;  // as GOAWAY says

  absl::flat_hash_map<uint32_t, Http2Stream*> streams_;
  Http2Stream* recent_ = nullptr;  // in streams_: most frames are of the stream before
  std::deque<uint32_t> waiting_;   // streams with data or an end that waits

  uint32_t block_stream_ = 0;  // whose header block goes on in CONTINUATION frames; 0: none
  bool block_end_ = false;
  std::string block_;

  std::string output_;
  size_t output_begin_ = 0;

  int64_t send_window_ = kDefaultWindowBytes;
  int64_t receive_window_ = kConnectionWindow;
  size_t unreturned_ = 0;
  int64_t initial_send_window_ = kDefaultWindowBytes;
  size_t max_frame_bytes_ = kDefaultMaxFrameBytes;

  int idle_budget_;
  int reset_budget_;
};

template <typename Act>
void Http2Session::ForEachStream(Act act) {
  std::vector<Http2Stream*> streams;
  streams.reserve(streams_.size());
  for (const auto& [id, stream] : streams_) streams.push_back(stream);
  for (Http2Stream* stream : streams) act(*stream);
}

}  // namespace thermocline::server::rpc
