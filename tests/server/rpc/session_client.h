#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/rpc/http2_session.h"
#include "tests/server/rpc/http2_wire.h"

namespace thermocline::server::rpc {

// A client of a session, in memory, that looks at every frame it gets: what HTTP/2 forbids a server is in
// breaches(). It knows what it allowed only if that was said through its own methods; Send() takes anything.
class SessionClient {
 public:
  struct Stream {
    Fields head;
    std::string data;
    Fields trailers;
    bool has_head = false;
    bool ended = false;  // by the server
    std::optional<Http2Error> reset;
    int64_t receive_window = 0;  // what the server may send
    int64_t send_window = 0;     // what we may
  };
  struct GoAway {
    uint32_t last_stream = 0;
    Http2Error error = Http2Error::kNoError;
    std::string why;
  };

  explicit SessionClient(Http2Session& session) : session_(session) {}

  // Hands bytes over, and takes what comes back. False if the connection is over.
  bool Send(std::string_view bytes);
  // Takes up to so many bytes of the output.
  void Take(size_t at_most = SIZE_MAX);

  bool Greet(const std::vector<std::pair<Setting, uint32_t>>& settings = {});
  bool ChangeSettings(const std::vector<std::pair<Setting, uint32_t>>& settings);
  // Begins the next stream, and returns its number.
  uint32_t Open(std::string_view path, bool end = false, const Fields& more = {});
  bool SendData(uint32_t stream, std::string_view bytes, bool end = false);
  bool GiveWindow(uint32_t stream, uint32_t bytes);
  bool Reset(uint32_t stream, Http2Error error = Http2Error::kCancel);

  const Stream& stream(uint32_t id) { return streams_[id]; }
  int64_t send_window() const { return send_window_; }
  const std::optional<GoAway>& go_away() const { return go_away_; }
  int settings_acks() const { return settings_acks_; }
  int ping_acks() const { return ping_acks_; }
  uint32_t last_opened() const { return next_stream_ - 2; }
  // Frames since the last call.
  std::vector<WireFrame> TakenFrames() { return std::exchange(frames_, {}); }
  const std::vector<std::string>& breaches() const { return breaches_; }

 private:
  void Apply(const std::vector<std::pair<Setting, uint32_t>>& settings);
  void Check(const WireFrame& frame);
  void CheckData(const WireFrame& frame);
  void CheckHeaders(const WireFrame& frame);
  void CheckSettings(const WireFrame& frame);
  void CheckWindowUpdate(const WireFrame& frame);
  void Breach(const WireFrame& frame, const std::string& what);

  Http2Session& session_;
  BlockReader reader_;
  std::string partial_;
  std::vector<WireFrame> frames_;
  std::vector<std::string> breaches_;

  bool began_ = false;
  std::map<uint32_t, Stream> streams_;
  uint32_t next_stream_ = 1;
  uint32_t block_stream_ = 0;
  bool block_end_ = false;
  std::string block_;
  std::optional<GoAway> go_away_;
  int settings_acks_ = 0;
  int ping_acks_ = 0;

  // Ours, which hold once they are acknowledged.
  std::deque<std::vector<std::pair<Setting, uint32_t>>> unacknowledged_;
  int64_t initial_receive_window_ = kDefaultWindowBytes;
  uint32_t max_frame_bytes_ = kDefaultMaxFrameBytes;
  int64_t receive_window_ = kDefaultWindowBytes;
  // The server's.
  int64_t initial_send_window_ = kDefaultWindowBytes;
  int64_t send_window_ = kDefaultWindowBytes;
};

}  // namespace thermocline::server::rpc
