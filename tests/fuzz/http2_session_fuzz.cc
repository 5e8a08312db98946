// What a client sends, to a session whose streams echo; then the same in pieces, which must make no
// difference.

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "server/rpc/http2_session.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/server/rpc/http2_wire.h"
#include "tests/server/rpc/session_peer.h"

namespace {

using namespace thermocline::server::rpc;
using thermocline::fuzz::Require;

// What the client allows at most: more than it may say at any one time, but what it never says is never sent.
struct Allowance {
  int64_t connection = kDefaultWindowBytes;
  int64_t initial = kDefaultWindowBytes;
  std::map<uint32_t, int64_t> more;
  size_t frame = kDefaultMaxFrameBytes;
};

Allowance AllowanceOf(std::string_view input) {
  Allowance allowance;
  if (input.substr(0, kClientPreface.size()) != kClientPreface) return allowance;
  for (const WireFrame& frame : FramesOf(input.substr(kClientPreface.size()))) {
    if (frame.type == FrameType::kWindowUpdate && frame.payload.size() == 4) {
      const int64_t bytes = LoadBig32(frame.payload.data()) & kLargestStream;
      (frame.stream == 0 ? allowance.connection : allowance.more[frame.stream]) += bytes;
    }
    if (frame.type != FrameType::kSettings) continue;
    for (size_t at = 0; at + 6 <= frame.payload.size(); at += 6) {
      const int64_t value = LoadBig32(frame.payload.data() + at + 2);
      const int setting = frame.payload[at] << 8 | static_cast<uint8_t>(frame.payload[at + 1]);
      if (setting == 4) allowance.initial = std::max(allowance.initial, value);
      if (setting == 5) allowance.frame = std::max<size_t>(allowance.frame, static_cast<size_t>(value));
    }
  }
  return allowance;
}

// What came out must be what a client can read, and what the streams said.
void CheckOutput(std::string output, const SessionPeer& peer, const Allowance& allowance) {
  std::map<uint32_t, std::string> data;
  std::map<uint32_t, bool> ended;
  BlockReader reader;
  std::string block;
  uint32_t block_stream = 0;
  int64_t all = 0;
  for (const WireFrame& frame : TakeFrames(output)) {
    Require(frame.payload.size() <= allowance.frame, "no frame is too large");
    Require(block_stream == 0 || frame.type == FrameType::kContinuation, "blocks are whole");
    if (frame.type == FrameType::kData) {
      all += static_cast<int64_t>(frame.payload.size());
      Require(ended.count(frame.stream) == 1 && !ended[frame.stream], "data is between head and end");
      data[frame.stream] += frame.payload;
      const auto more = allowance.more.find(frame.stream);
      const int64_t window = allowance.initial + (more == allowance.more.end() ? 0 : more->second);
      Require(static_cast<int64_t>(data[frame.stream].size()) <= window, "a stream's window");
    }
    if (frame.type == FrameType::kHeaders || frame.type == FrameType::kContinuation) {
      if (frame.type == FrameType::kHeaders) ended[frame.stream] = frame.has(kFlagEndStream);
      block = frame.type == FrameType::kHeaders ? frame.payload : block + frame.payload;
      block_stream = frame.has(kFlagEndHeaders) ? 0 : frame.stream;
      if (block_stream == 0) Require(reader.Read(block).has_value(), "blocks can be read");
    }
  }
  Require(output.empty(), "frames are whole");
  Require(all <= allowance.connection, "the connection's window");
  // Each stream was answered when it began.
  Require(ended.size() == peer.streams.size(), "every stream has a head");
  size_t i = 0;
  for (const auto& [id, over] : ended) {
    const std::string& sent = data[id];
    const std::string& said = peer.streams[i++]->said;
    Require(sent.size() <= said.size() && said.compare(0, sent.size(), sent) == 0, "the data");
    if (over) Require(sent.size() == said.size(), "all of the data");
  }
}

std::string Play(std::string_view input, size_t piece, bool* goes_on, bool check) {
  SessionPeer peer;
  peer.every_path = "/eager";
  peer.spoils_0xff = thermocline::fuzz::canary;
  *goes_on = true;
  for (size_t at = 0; at < input.size() && *goes_on; at += piece) {
    // A copy of exactly its size.
    const std::string copy(input.substr(at, piece));
    *goes_on = peer.session.Receive(copy);
    Require(peer.session.stream_count() <= Http2Session::kMaxStreams, "so many streams");
    Require(peer.session.waiting_count() <= peer.session.stream_count(), "only streams wait");
  }
  std::string output;
  for (peer.session.Pump(); !peer.session.output().empty(); peer.session.Pump()) {
    const size_t size = std::min<size_t>(peer.session.output().size(), 1000);
    output += peer.session.output().substr(0, size);
    peer.session.Sent(size);
  }
  Require(peer.wrong_repeats == 0, "repeated headers");
  if (check && peer.session.greeted()) CheckOutput(output, peer, AllowanceOf(input));
  peer.session.CloseStreams();
  for (const auto& stream : peer.streams) Require(stream->closed == 1, "every stream is closed once");
  return output;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = thermocline::fuzz::Input(data, size);
  bool whole_goes_on = false;
  bool pieces_go_on = false;
  const std::string whole = Play(input, std::max<size_t>(size, 1), &whole_goes_on, true);
  const size_t piece = size == 0 ? 1 : 1 + data[size / 2] % 32;
  const std::string pieces = Play(input, piece, &pieces_go_on, false);
  Require(whole == pieces && whole_goes_on == pieces_go_on, "pieces make no difference");
  return 0;
}
