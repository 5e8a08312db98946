#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/rpc/http2_frames.h"

struct nghttp2_hd_inflater;

// HTTP/2 as a client writes and reads it, frame by frame: also wrong ones.
namespace thermocline::server::rpc {

using Fields = std::vector<std::pair<std::string, std::string>>;

struct WireFrame {
  FrameType type;
  uint8_t flags = 0;
  uint32_t stream = 0;
  std::string payload;

  bool has(uint8_t flag) const { return (flags & flag) != 0; }
};

std::string Frame(FrameType type, uint8_t flags, uint32_t stream, std::string_view payload);
std::string SettingsFrame(const std::vector<std::pair<Setting, uint32_t>>& settings);
std::string SettingsAck();
std::string PingFrame(uint8_t flags = 0);
std::string WindowUpdateFrame(uint32_t stream, uint32_t bytes);
std::string ResetFrame(uint32_t stream, Http2Error error = Http2Error::kCancel);
std::string HeadersFrame(uint32_t stream, std::string_view block, bool end);
std::string DataFrame(uint32_t stream, std::string_view bytes, bool end);
// As many frames of data as the limit of a frame makes of `bytes`.
std::string DataFrames(uint32_t stream, std::string_view bytes, bool end);
std::string GoAwayFrame(uint32_t last_stream, Http2Error error);
std::string Number32(uint32_t value);

// The preface and SETTINGS.
std::string Greeting(const std::vector<std::pair<Setting, uint32_t>>& settings = {});

// A header block of literal fields.
std::string Block(const Fields& fields);
// What a client of gRPC says of a call; `more` follows.
Fields RequestFields(std::string_view path, const Fields& more = {});
std::string RequestBlock(std::string_view path, const Fields& more = {});

// A message of gRPC: its prefix and itself.
std::string Message(std::string_view bytes, bool compressed = false);

// Takes the whole frames off the front of `bytes`.
std::vector<WireFrame> TakeFrames(std::string& bytes);
std::vector<WireFrame> FramesOf(std::string_view bytes);

// Reads a server's header blocks: nghttp2, which is not what wrote them.
class BlockReader {
 public:
  BlockReader();
  ~BlockReader();

  // nullopt: the block is broken, and so is everything after it.
  std::optional<Fields> Read(std::string_view block);
  // As a client that has said so in SETTINGS that are acknowledged.
  void AllowTable(uint32_t bytes);

 private:
  struct Free {
    void operator()(nghttp2_hd_inflater* inflater) const;
  };
  std::unique_ptr<nghttp2_hd_inflater, Free> inflater_;
};

// The value of the first field of that name; "": there is none.
std::string ValueOf(const Fields& fields, std::string_view name);

}  // namespace thermocline::server::rpc
