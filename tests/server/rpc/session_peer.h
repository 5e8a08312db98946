#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/rpc/http2_session.h"
#include "tests/server/rpc/http2_wire.h"

namespace thermocline::server::rpc {

class SessionPeer;

// A stream as its server saw it.
class SeenStream final : public Http2Stream {
 public:
  explicit SeenStream(SessionPeer& peer) : peer_(peer) {}

  Fields headers;
  bool repeated = false;
  bool too_large = false;
  std::string data;
  std::string said;  // by the server
  bool ended = false;
  int writable = 0;
  int closed = 0;

 private:
  void OnHeaders(const StreamOpening& opening) override;
  void OnData(std::string_view bytes, bool end) override;
  void OnWritable() override { ++writable; }
  void OnClosed() override;

  std::string path() const;

  SessionPeer& peer_;
};

// A session and who serves its streams, by their path:
//   /echo   answers at the end with what came
//   /eager  answers at once, and sends back each piece as it comes
//   /fails  answers at once, with a status and nothing else
//   /large  answers at once, with kLarge bytes
// and whatever else it is: nothing happens, not even the window is returned; the test decides.
class SessionPeer final : public Http2Peer {
 public:
  static constexpr size_t kLarge = 300'000;

  Http2Stream* NewStream() override;

  Http2Session session{*this};
  bool refuses = false;
  // All of them, in the order in which they came.
  std::vector<std::unique_ptr<SeenStream>> streams;
  // Streams that are closed are forgotten: for tests of very many.
  bool forgets = false;
  // What each path is served as; empty: as itself.
  std::string every_path;
  // A planted fault: data that begins with that octet is sent with another.
  bool spoils_0xff = false;
  // What must never happen: an announcement of repeated headers that are not.
  int wrong_repeats = 0;

  // Sends `bytes` of data.
  void Append(SeenStream& stream, std::string_view bytes);

 private:
  friend class SeenStream;

  Fields last_headers_;
  bool last_was_too_large_ = true;
};

}  // namespace thermocline::server::rpc
