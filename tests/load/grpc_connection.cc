#include "tests/load/grpc_connection.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "tests/load/http2_frames.h"

namespace thermocline::load {
namespace {

constexpr size_t kMessagePrefixBytes = 5;
constexpr size_t kFirstStreams = 64;
// What we let the server have on its way to us; a stream's window holds any unary response.
constexpr uint32_t kOurWindow = 64 << 20;
constexpr uint32_t kWindowStep = kOurWindow / 2;

void AppendPrefix(size_t length, std::string& out) {
  out.push_back(0);
  AppendBigEndian(length, 4, out);
}

void AppendWindowUpdate(uint32_t stream, uint32_t bytes, std::string& out) {
  AppendFrameHeader(4, FrameType::kWindowUpdate, 0, stream, out);
  AppendBigEndian(bytes, 4, out);
}

absl::Status Broken(std::string_view what) { return absl::InternalError(fmt::format("HTTP/2: {}", what)); }

std::string PercentDecoded(std::string_view text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; };
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      decoded.push_back(static_cast<char>(digit(text[i + 1]) << 4 | digit(text[i + 2])));
      i += 2;
    } else {
      decoded.push_back(text[i]);
    }
  }
  return decoded;
}

// Empty for status OK.
std::string ErrorOf(const ResponseHeaders::Block& block) {
  if (!block.grpc_status) return fmt::format("HTTP status {} without a grpc-status", block.http_status);
  if (*block.grpc_status == 0) return "";
  return fmt::format("grpc-status {}: {}", *block.grpc_status, PercentDecoded(block.grpc_message));
}

}  // namespace

struct GrpcConnection::Frame {
  FrameType type;
  uint8_t flags;
  uint32_t stream;
  std::string_view payload;

  bool has(uint8_t flag) const { return (flags & flag) != 0; }
  // Without padding and priority; false if they do not fit.
  bool Strip() {
    if (has(kPadded)) {
      const size_t padding = payload.empty() ? 1 : static_cast<uint8_t>(payload[0]);
      if (payload.empty() || padding + 1 > payload.size()) return false;
      payload = payload.substr(1, payload.size() - 1 - padding);
    }
    if (type == FrameType::kHeaders && has(kPriority)) {
      if (payload.size() < 5) return false;
      payload.remove_prefix(5);
    }
    return true;
  }
};

GrpcConnection::GrpcConnection(std::string authority, std::vector<std::string> paths)
    : request_headers_(std::move(authority), std::move(paths)),
      streams_(kFirstStreams),
      send_window_(kDefaultWindow),
      peer_stream_window_(kDefaultWindow),
      peer_max_frame_(kDefaultMaxFrame) {}

void GrpcConnection::Begin(std::string& out) {
  out.append(kPreface);
  AppendFrameHeader(12, FrameType::kSettings, 0, 0, out);
  AppendBigEndian(kSettingEnablePush, 2, out);
  AppendBigEndian(0, 4, out);
  AppendBigEndian(kSettingInitialWindow, 2, out);
  AppendBigEndian(kOurWindow, 4, out);
  AppendWindowUpdate(0, kOurWindow - kDefaultWindow, out);
}

GrpcConnection::Stream& GrpcConnection::Add(uint64_t call) {
  const uint32_t id = next_stream_;
  next_stream_ += 2;
  while (streams_[(id >> 1) & (streams_.size() - 1)].id != 0) {
    // Double, until those that are open all have a place of their own: they had in half as many.
    std::vector<Stream> larger(streams_.size() * 2);
    for (Stream& stream : streams_) {
      if (stream.id != 0) larger[(stream.id >> 1) & (larger.size() - 1)] = std::move(stream);
    }
    streams_ = std::move(larger);
  }
  Stream& stream = streams_[(id >> 1) & (streams_.size() - 1)];
  stream.id = id;
  stream.call = call;
  stream.send_window = peer_stream_window_;
  stream.received = 0;
  stream.partial.clear();
  ++open_streams_;
  return stream;
}

GrpcConnection::Stream* GrpcConnection::Find(uint32_t id) {
  Stream& stream = streams_[(id >> 1) & (streams_.size() - 1)];
  return id != 0 && stream.id == id ? &stream : nullptr;
}

void GrpcConnection::End(Stream& stream, std::string_view error, Events& events) {
  const uint32_t id = std::exchange(stream.id, 0);
  --open_streams_;
  if (!blocked_.empty())
    std::erase_if(blocked_, [id](const Blocked& blocked) { return blocked.stream == id; });
  events.OnEnd(stream.call, error);
}

uint32_t GrpcConnection::OpenStream(size_t method, uint64_t call, std::string& out) {
  Stream& stream = Add(call);
  const size_t start = out.size();
  AppendFrameHeader(0, FrameType::kHeaders, kEndHeaders, stream.id, out);
  request_headers_.Append(method, out);
  // The length is known only now; blocks are far shorter than 64 KiB.
  const size_t length = out.size() - start - kFrameHeaderBytes;
  out[start + 1] = static_cast<char>(length >> 8);
  out[start + 2] = static_cast<char>(length);
  return stream.id;
}

uint32_t GrpcConnection::Open(size_t method, uint64_t call, std::string_view message, bool last,
                              std::string& out) {
  const uint32_t id = OpenStream(method, call, out);
  Send(*Find(id), message, last, out);
  return id;
}

void GrpcConnection::Write(uint32_t stream, std::string_view message, std::string& out) {
  if (Stream* const found = Find(stream)) Send(*found, message, /*last=*/false, out);
}

void GrpcConnection::Send(Stream& stream, std::string_view message, bool last, std::string& out) {
  const size_t bytes = kMessagePrefixBytes + message.size();
  const auto window = static_cast<size_t>(std::max<int64_t>(0, std::min(send_window_, stream.send_window)));
  if (blocked_.empty() && bytes <= std::min<size_t>(window, peer_max_frame_)) {
    AppendFrameHeader(bytes, FrameType::kData, last ? kEndStream : 0, stream.id, out);
    AppendPrefix(message.size(), out);
    out.append(message);
    send_window_ -= static_cast<int64_t>(bytes);
    stream.send_window -= static_cast<int64_t>(bytes);
    return;
  }
  Blocked blocked{stream.id, {}, 0, last};
  blocked.bytes.reserve(bytes);
  AppendPrefix(message.size(), blocked.bytes);
  blocked.bytes.append(message);
  blocked_.push_back(std::move(blocked));
  SendBlocked(out);
}

// As much as the windows allow; returns how much.
size_t GrpcConnection::SendSome(Stream& stream, std::string_view bytes, bool last, std::string& out) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    const int64_t window = std::min(send_window_, stream.send_window);
    if (window <= 0) break;
    const size_t part = std::min({bytes.size() - sent, static_cast<size_t>(window), size_t{peer_max_frame_}});
    const bool ends = last && sent + part == bytes.size();
    AppendFrameHeader(part, FrameType::kData, ends ? kEndStream : 0, stream.id, out);
    out.append(bytes.substr(sent, part));
    sent += part;
    send_window_ -= static_cast<int64_t>(part);
    stream.send_window -= static_cast<int64_t>(part);
  }
  return sent;
}

void GrpcConnection::SendBlocked(std::string& out) {
  while (!blocked_.empty()) {
    Blocked& first = blocked_.front();
    if (Stream* const stream = Find(first.stream)) {
      first.sent += SendSome(*stream, std::string_view(first.bytes).substr(first.sent), first.last, out);
      if (first.sent < first.bytes.size()) return;
    }
    blocked_.pop_front();
  }
}

absl::StatusOr<size_t> GrpcConnection::Receive(std::string_view in, Events& events, std::string& out) {
  size_t at = 0;
  while (in.size() - at >= kFrameHeaderBytes) {
    const size_t length = ReadBigEndian(in.substr(at, 3));
    if (length > kDefaultMaxFrame) return Broken("a frame larger than we allow (is this an HTTP/2 server?)");
    if (in.size() - at < kFrameHeaderBytes + length) break;
    const Frame frame{static_cast<FrameType>(in[at + 3]), static_cast<uint8_t>(in[at + 4]),
                      ReadBigEndian(in.substr(at + 5, 4)) & kMaxWindow,
                      in.substr(at + kFrameHeaderBytes, length)};
    if (absl::Status status = Take(frame, events, out); !status.ok()) return status;
    at += kFrameHeaderBytes + length;
  }
  return at;
}

absl::Status GrpcConnection::Take(const Frame& frame, Events& events, std::string& out) {
  if (block_stream_ != 0 && (frame.type != FrameType::kContinuation || frame.stream != block_stream_)) {
    return Broken("a header block that is interrupted");
  }
  switch (frame.type) {
    case FrameType::kData:
      return TakeData(frame, events, out);
    case FrameType::kHeaders:
    case FrameType::kContinuation:
      return TakeHeaders(frame, events);
    case FrameType::kReset:
      TakeReset(frame, events);
      return absl::OkStatus();
    case FrameType::kSettings:
      return TakeSettings(frame, out);
    case FrameType::kPushPromise:
      return Broken("a push, which we have forbidden");
    case FrameType::kPing:
      if (frame.payload.size() != 8) return Broken("a PING that is not 8 bytes");
      if (frame.has(kAck)) return absl::OkStatus();
      AppendFrameHeader(8, FrameType::kPing, kAck, 0, out);
      out.append(frame.payload);
      return absl::OkStatus();
    case FrameType::kGoAway:
      return TakeGoAway(frame, events);
    case FrameType::kWindowUpdate:
      return TakeWindowUpdate(frame, out);
    case FrameType::kPriority:
      break;
  }
  return absl::OkStatus();  // types that nobody knows are ignored
}

// Gives back what was received, half a window at a time.
void GrpcConnection::Replenish(Stream* stream, uint32_t bytes, std::string& out) {
  received_ += bytes;
  if (received_ >= kWindowStep) AppendWindowUpdate(0, std::exchange(received_, 0), out);
  if (stream == nullptr) return;
  stream->received += bytes;
  if (stream->received >= kWindowStep)
    AppendWindowUpdate(stream->id, std::exchange(stream->received, 0), out);
}

absl::Status GrpcConnection::TakeData(const Frame& frame, Events& events, std::string& out) {
  Frame data = frame;
  if (!data.Strip()) return Broken("padding longer than its frame");
  Stream* const stream = Find(frame.stream);
  Replenish(frame.has(kEndStream) ? nullptr : stream, static_cast<uint32_t>(frame.payload.size()), out);
  if (stream == nullptr) return absl::OkStatus();  // reset meanwhile
  if (!TakeMessages(*stream, data.payload, events))
    return Broken("a compressed message, which we do not accept");
  if (frame.has(kEndStream)) End(*stream, "the response ended without a status", events);
  return absl::OkStatus();
}

// False if a message is compressed.
bool GrpcConnection::TakeMessages(Stream& stream, std::string_view bytes, Events& events) {
  const bool in_place = stream.partial.empty();
  if (!in_place) {
    stream.partial.append(bytes);
    bytes = stream.partial;
  }
  size_t at = 0;
  while (bytes.size() - at >= kMessagePrefixBytes) {
    if (bytes[at] != 0) return false;
    const size_t length = ReadBigEndian(bytes.substr(at + 1, 4));
    if (bytes.size() - at - kMessagePrefixBytes < length) break;
    events.OnMessage(stream.call, bytes.substr(at + kMessagePrefixBytes, length));
    at += kMessagePrefixBytes + length;
  }
  if (in_place) {
    stream.partial.assign(bytes.substr(at));
  } else {
    stream.partial.erase(0, at);
  }
  return true;
}

absl::Status GrpcConnection::TakeHeaders(const Frame& frame, Events& events) {
  Frame headers = frame;
  if (frame.type == FrameType::kContinuation) {
    if (block_stream_ == 0) return Broken("a CONTINUATION of nothing");
  } else {
    if (!headers.Strip()) return Broken("padding longer than its frame");
    block_ends_stream_ = frame.has(kEndStream);
    block_stream_ = frame.stream;
    if (frame.has(kEndHeaders)) return EndHeaders(headers.payload, events);
  }
  block_.append(headers.payload);
  if (!frame.has(kEndHeaders)) return absl::OkStatus();
  const std::string block = std::exchange(block_, {});
  return EndHeaders(block, events);
}

absl::Status GrpcConnection::EndHeaders(std::string_view bytes, Events& events) {
  const uint32_t id = std::exchange(block_stream_, 0);
  const ResponseHeaders::Block* const block = response_headers_.Read(bytes);
  if (block == nullptr) return Broken("a header block that HPACK does not allow");
  Stream* const stream = Find(id);
  if (stream == nullptr || !block_ends_stream_) return absl::OkStatus();
  if (block->grpc_status == 0 && !stream->partial.empty()) {
    End(*stream, "the response ended within a message", events);
  } else {
    End(*stream, ErrorOf(*block), events);
  }
  return absl::OkStatus();
}

absl::Status GrpcConnection::TakeSettings(const Frame& frame, std::string& out) {
  if (frame.has(kAck)) return absl::OkStatus();
  if (frame.payload.size() % 6 != 0) return Broken("SETTINGS of a strange length");
  for (size_t at = 0; at < frame.payload.size(); at += 6) {
    const auto id = static_cast<uint16_t>(ReadBigEndian(frame.payload.substr(at, 2)));
    if (absl::Status status = ApplySetting(id, ReadBigEndian(frame.payload.substr(at + 2, 4))); !status.ok())
      return status;
  }
  settled_ = true;
  AppendFrameHeader(0, FrameType::kSettings, kAck, 0, out);
  SendBlocked(out);
  return absl::OkStatus();
}

absl::Status GrpcConnection::ApplySetting(uint16_t id, uint32_t value) {
  switch (id) {
    case kSettingTableSize:
      request_headers_.LimitTable(value);
      break;
    case kSettingMaxStreams:
      peer_max_streams_ = value;
      break;
    case kSettingInitialWindow:
      if (value > kMaxWindow) return Broken("an initial window beyond all bounds");
      // Counts for the open streams as well, whose windows may become negative.
      for (Stream& stream : streams_) stream.send_window += int64_t{value} - peer_stream_window_;
      peer_stream_window_ = value;
      break;
    case kSettingMaxFrame:
      peer_max_frame_ = std::max(value, kDefaultMaxFrame);
      break;
    default:
      break;
  }
  return absl::OkStatus();
}

absl::Status GrpcConnection::TakeGoAway(const Frame& frame, Events& events) {
  if (frame.payload.size() < 8) return Broken("a GOAWAY that is too short");
  going_away_ = true;
  const uint32_t last = ReadBigEndian(frame.payload.substr(0, 4)) & kMaxWindow;
  const uint32_t code = ReadBigEndian(frame.payload.substr(4, 4));
  const std::string error =
      fmt::format("refused by GOAWAY, error {} {}", code, std::string(frame.payload.substr(8, 80)));
  for (Stream& stream : streams_) {
    if (stream.id > last) End(stream, error, events);
  }
  return absl::OkStatus();
}

absl::Status GrpcConnection::TakeWindowUpdate(const Frame& frame, std::string& out) {
  if (frame.payload.size() != 4) return Broken("a WINDOW_UPDATE that is not 4 bytes");
  const uint32_t more = ReadBigEndian(frame.payload) & kMaxWindow;
  if (frame.stream == 0) {
    send_window_ += more;
  } else if (Stream* const stream = Find(frame.stream)) {
    stream->send_window += more;
  }
  if (!blocked_.empty()) SendBlocked(out);
  return absl::OkStatus();
}

void GrpcConnection::TakeReset(const Frame& frame, Events& events) {
  const uint32_t code = frame.payload.size() == 4 ? ReadBigEndian(frame.payload) : 0;
  if (Stream* const stream = Find(frame.stream))
    End(*stream, fmt::format("RST_STREAM, error {}", code), events);
}

}  // namespace thermocline::load
