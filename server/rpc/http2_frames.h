#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace thermocline::server::rpc {

// Frames of HTTP/2 (RFC 9113, sections 4 and 6):
//
//   byte 0        3      4       5                9
//        +--------+------+-------+----------------+-----------------
//        | length | type | flags | stream (31 bit)| payload (length)
//        +--------+------+-------+----------------+-----------------
//
// All numbers are big-endian; the top bit of the stream is reserved and ignored.
inline constexpr size_t kFrameHeaderBytes = 9;
// What a frame's payload may have unless SETTINGS say otherwise; ours never do.
inline constexpr uint32_t kDefaultMaxFrameBytes = 16'384;
inline constexpr uint32_t kLargestMaxFrameBytes = (1 << 24) - 1;
inline constexpr uint32_t kDefaultWindowBytes = 65'535;
inline constexpr int64_t kLargestWindowBytes = (int64_t{1} << 31) - 1;
inline constexpr uint32_t kLargestStream = (uint32_t{1} << 31) - 1;

// What a client's connection begins with.
inline constexpr std::string_view kClientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum class FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

inline constexpr uint8_t kFlagEndStream = 0x1;  // DATA, HEADERS
inline constexpr uint8_t kFlagAck = 0x1;        // SETTINGS, PING
inline constexpr uint8_t kFlagEndHeaders = 0x4;
inline constexpr uint8_t kFlagPadded = 0x8;
inline constexpr uint8_t kFlagPriority = 0x20;

enum class Setting : uint16_t {
  kHeaderTableSize = 1,
  kEnablePush = 2,
  kMaxConcurrentStreams = 3,
  kInitialWindowSize = 4,
  kMaxFrameSize = 5,
  kMaxHeaderListSize = 6,
};

// Why a stream or a connection ended (RFC 9113, section 7).
enum class Http2Error : uint32_t {
  kNoError = 0,
  kProtocolError = 1,
  kInternalError = 2,
  kFlowControlError = 3,
  kSettingsTimeout = 4,
  kStreamClosed = 5,
  kFrameSizeError = 6,
  kRefusedStream = 7,
  kCancel = 8,
  kCompressionError = 9,
  kEnhanceYourCalm = 11,
};

struct FrameHeader {
  uint32_t length;
  FrameType type;
  uint8_t flags;
  uint32_t stream;

  bool has(uint8_t flag) const { return (flags & flag) != 0; }
};

inline uint32_t LoadBig32(const char* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return __builtin_bswap32(value);
}

inline void StoreBig32(uint32_t value, char* to) {
  value = __builtin_bswap32(value);
  std::memcpy(to, &value, sizeof value);
}

inline void AppendBig32(uint32_t value, std::string& to) {
  char bytes[4];
  StoreBig32(value, bytes);
  to.append(bytes, sizeof bytes);
}

// `from` has kFrameHeaderBytes.
inline FrameHeader LoadFrameHeader(const char* from) {
  const uint32_t start = LoadBig32(from);  // length and type
  return {.length = start >> 8,
          .type = static_cast<FrameType>(start & 0xff),
          .flags = static_cast<uint8_t>(from[4]),
          .stream = LoadBig32(from + 5) & kLargestStream};
}

// `to` has room for kFrameHeaderBytes.
inline void StoreFrameHeader(const FrameHeader& header, char* to) {
  StoreBig32(header.length << 8 | static_cast<uint32_t>(header.type), to);
  to[4] = static_cast<char>(header.flags);
  StoreBig32(header.stream, to + 5);
}

inline void AppendFrameHeader(const FrameHeader& header, std::string& to) {
  char bytes[kFrameHeaderBytes];
  StoreFrameHeader(header, bytes);
  to.append(bytes, sizeof bytes);
}

}  // namespace thermocline::server::rpc
