#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace thermocline::load {

// HTTP/2 as RFC 9113 has it, as far as a gRPC client needs it.

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
inline constexpr size_t kFrameHeaderBytes = 9;
inline constexpr uint32_t kDefaultWindow = 65'535;
inline constexpr uint32_t kDefaultMaxFrame = 16'384;
inline constexpr uint32_t kMaxWindow = 0x7fffffff;

enum class FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kReset = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

inline constexpr uint8_t kEndStream = 0x1;  // DATA, HEADERS
inline constexpr uint8_t kAck = 0x1;        // SETTINGS, PING
inline constexpr uint8_t kEndHeaders = 0x4;
inline constexpr uint8_t kPadded = 0x8;
inline constexpr uint8_t kPriority = 0x20;

inline constexpr uint16_t kSettingTableSize = 1;
inline constexpr uint16_t kSettingEnablePush = 2;
inline constexpr uint16_t kSettingMaxStreams = 3;
inline constexpr uint16_t kSettingInitialWindow = 4;
inline constexpr uint16_t kSettingMaxFrame = 5;

// `bytes` bytes, the highest first.
inline void AppendBigEndian(uint64_t number, int bytes, std::string& out) {
  while (bytes-- > 0) out.push_back(static_cast<char>(number >> (8 * bytes)));
}
inline uint32_t ReadBigEndian(std::string_view bytes) {
  uint32_t number = 0;
  for (const char byte : bytes) number = number << 8 | static_cast<uint8_t>(byte);
  return number;
}

inline void AppendFrameHeader(size_t length, FrameType type, uint8_t flags, uint32_t stream,
                              std::string& out) {
  const char header[kFrameHeaderBytes] = {
      static_cast<char>(length >> 16), static_cast<char>(length >> 8), static_cast<char>(length),
      static_cast<char>(type),         static_cast<char>(flags),       static_cast<char>(stream >> 24),
      static_cast<char>(stream >> 16), static_cast<char>(stream >> 8), static_cast<char>(stream)};
  out.append(header, sizeof(header));
}

}  // namespace thermocline::load
