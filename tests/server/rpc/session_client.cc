#include "tests/server/rpc/session_client.h"

#include <algorithm>

#include "fmt/format.h"

namespace thermocline::server::rpc {

bool SessionClient::Send(std::string_view bytes) {
  const bool goes_on = session_.Receive(bytes);
  Take();
  return goes_on;
}

void SessionClient::Take(size_t at_most) {
  for (;;) {
    session_.Pump();
    const std::string_view output = session_.output();
    const size_t size = std::min(at_most, output.size());
    if (size == 0) break;
    partial_.append(output.substr(0, size));
    session_.Sent(size);
    at_most -= size;
  }
  for (WireFrame& frame : TakeFrames(partial_)) {
    Check(frame);
    frames_.push_back(std::move(frame));
  }
}

bool SessionClient::Greet(const std::vector<std::pair<Setting, uint32_t>>& settings) {
  unacknowledged_.push_back(settings);
  return Send(Greeting(settings));
}

bool SessionClient::ChangeSettings(const std::vector<std::pair<Setting, uint32_t>>& settings) {
  unacknowledged_.push_back(settings);
  return Send(SettingsFrame(settings));
}

uint32_t SessionClient::Open(std::string_view path, bool end, const Fields& more) {
  const uint32_t id = std::exchange(next_stream_, next_stream_ + 2);
  streams_[id].receive_window = initial_receive_window_;
  streams_[id].send_window = initial_send_window_;
  Send(HeadersFrame(id, RequestBlock(path, more), end));
  return id;
}

bool SessionClient::SendData(uint32_t stream, std::string_view bytes, bool end) {
  streams_[stream].send_window -= static_cast<int64_t>(bytes.size());
  send_window_ -= static_cast<int64_t>(bytes.size());
  return Send(DataFrames(stream, bytes, end));
}

bool SessionClient::GiveWindow(uint32_t stream, uint32_t bytes) {
  (stream == 0 ? receive_window_ : streams_[stream].receive_window) += bytes;
  return Send(WindowUpdateFrame(stream, bytes));
}

bool SessionClient::Reset(uint32_t stream, Http2Error error) { return Send(ResetFrame(stream, error)); }

void SessionClient::Breach(const WireFrame& frame, const std::string& what) {
  breaches_.push_back(fmt::format("frame of type {} on stream {}, {} bytes: {}", static_cast<int>(frame.type),
                                  frame.stream, frame.payload.size(), what));
}

void SessionClient::Apply(const std::vector<std::pair<Setting, uint32_t>>& settings) {
  for (const auto& [setting, value] : settings) {
    if (setting == Setting::kMaxFrameSize) max_frame_bytes_ = value;
    if (setting == Setting::kHeaderTableSize) reader_.AllowTable(value);
    if (setting == Setting::kInitialWindowSize) {
      const int64_t difference = value - initial_receive_window_;
      initial_receive_window_ = value;
      for (auto& [id, stream] : streams_) stream.receive_window += difference;
    }
  }
}

void SessionClient::Check(const WireFrame& frame) {
  if (!std::exchange(began_, true) && frame.type != FrameType::kSettings)
    Breach(frame, "the first is not SETTINGS");
  if (frame.payload.size() > max_frame_bytes_) Breach(frame, "too large");
  if (block_stream_ != 0 && frame.type != FrameType::kContinuation) Breach(frame, "within a header block");
  switch (frame.type) {
    case FrameType::kData:
      return CheckData(frame);
    case FrameType::kHeaders:
    case FrameType::kContinuation:
      return CheckHeaders(frame);
    case FrameType::kSettings:
      return CheckSettings(frame);
    case FrameType::kWindowUpdate:
      return CheckWindowUpdate(frame);
    case FrameType::kPing:
      if (frame.stream != 0 || frame.payload.size() != 8) Breach(frame, "malformed");
      if (frame.has(kFlagAck)) ++ping_acks_;
      return;
    case FrameType::kRstStream: {
      const auto found = streams_.find(frame.stream);
      if (found == streams_.end() || frame.payload.size() != 4) return Breach(frame, "malformed");
      if (found->second.reset) Breach(frame, "the second one");
      found->second.reset = static_cast<Http2Error>(LoadBig32(frame.payload.data()));
      return;
    }
    case FrameType::kGoAway:
      if (frame.stream != 0 || frame.payload.size() < 8) return Breach(frame, "malformed");
      go_away_ = {LoadBig32(frame.payload.data()),
                  static_cast<Http2Error>(LoadBig32(frame.payload.data() + 4)), frame.payload.substr(8)};
      return;
    default:
      Breach(frame, "no server sends it");
  }
}

void SessionClient::CheckData(const WireFrame& frame) {
  const auto found = streams_.find(frame.stream);
  if (found == streams_.end()) return Breach(frame, "never opened");
  Stream& stream = found->second;
  if (!stream.has_head || stream.ended || stream.reset) Breach(frame, "out of turn");
  if (frame.flags != 0) Breach(frame, "flags");
  const auto size = static_cast<int64_t>(frame.payload.size());
  if (size == 0) Breach(frame, "empty");
  stream.receive_window -= size;
  receive_window_ -= size;
  if (stream.receive_window < 0) Breach(frame, "beyond the stream's window");
  if (receive_window_ < 0) Breach(frame, "beyond the connection's window");
  stream.data += frame.payload;
}

void SessionClient::CheckHeaders(const WireFrame& frame) {
  if (frame.type == FrameType::kHeaders) {
    if (streams_.find(frame.stream) == streams_.end()) return Breach(frame, "never opened");
    block_stream_ = frame.stream;
    block_end_ = frame.has(kFlagEndStream);
    block_.clear();
  } else if (frame.stream != block_stream_) {
    return Breach(frame, "continues nothing");
  }
  block_ += frame.payload;
  if (!frame.has(kFlagEndHeaders)) return;
  const uint32_t id = std::exchange(block_stream_, 0);
  Stream& stream = streams_[id];
  const std::optional<Fields> fields = reader_.Read(block_);
  if (!fields) return Breach(frame, "cannot be decoded");
  if (stream.ended || stream.reset) Breach(frame, "out of turn");
  if (stream.has_head) {
    if (!block_end_) Breach(frame, "trailers that do not end the stream");
    stream.trailers = *fields;
  } else {
    if (ValueOf(*fields, ":status").empty()) Breach(frame, "no :status");
    stream.head = *fields;
    stream.has_head = true;
  }
  stream.ended = block_end_;
}

void SessionClient::CheckSettings(const WireFrame& frame) {
  if (frame.stream != 0) Breach(frame, "of a stream");
  if (frame.has(kFlagAck)) {
    ++settings_acks_;
    if (!frame.payload.empty()) Breach(frame, "an acknowledgement with a payload");
    if (unacknowledged_.empty()) return;  // it was sent by hand
    Apply(unacknowledged_.front());
    unacknowledged_.pop_front();
    return;
  }
  if (frame.payload.size() % 6 != 0) return Breach(frame, "malformed");
  for (size_t at = 0; at < frame.payload.size(); at += 6) {
    const uint32_t value = LoadBig32(frame.payload.data() + at + 2);
    if (frame.payload[at + 1] == static_cast<char>(Setting::kInitialWindowSize)) initial_send_window_ = value;
  }
}

void SessionClient::CheckWindowUpdate(const WireFrame& frame) {
  if (frame.payload.size() != 4) return Breach(frame, "malformed");
  const int64_t bytes = LoadBig32(frame.payload.data());
  if (bytes == 0 || bytes > kLargestWindowBytes) return Breach(frame, "not within its range");
  if (frame.stream != 0 && streams_.find(frame.stream) == streams_.end())
    return Breach(frame, "never opened");
  int64_t& window = frame.stream == 0 ? send_window_ : streams_[frame.stream].send_window;
  window += bytes;
  if (window > kLargestWindowBytes) Breach(frame, "the window is too large");
}

}  // namespace thermocline::server::rpc
