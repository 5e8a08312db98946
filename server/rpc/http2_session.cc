#include "server/rpc/http2_session.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace thermocline::server::rpc {
namespace {

// Frames that bring no work: so many at once, and so many a second. Clients that measure the delay of their
// connection send pings, but with data.
constexpr int kIdleBudget = 1000;
constexpr int kIdleRefill = 100;
constexpr int kIdleEarned = 10;  // by each request and each frame of data
// Clients reset streams whose deadline has passed; an overloaded server sees many.
constexpr int kResetBudget = 20'000;
constexpr int kResetRefill = 2000;

// Larger frames save little, and keep other streams waiting.
constexpr size_t kMaxSentFrameBytes = 64 << 10;
// Of a header block as it comes; HPACK makes it smaller, if anything.
constexpr size_t kMaxBlockBytes = Http2Session::kMaxHeaderListBytes + kDefaultMaxFrameBytes;
constexpr size_t kKeptCapacity = 1 << 10;  // of each of a thousand streams
constexpr size_t kKeptOutputCapacity = 512 << 10;
constexpr size_t kMaxSettings = 64;
constexpr char kPingBytes[8] = {'a', 'l', 'i', 'v', 'e', '?', 0, 0};

// Whether `bytes`, which may go on, begin with `text`.
bool MayBe(std::string_view text, std::string_view bytes) {
  const size_t known = std::min(text.size(), bytes.size());
  return bytes.substr(0, known) == text.substr(0, known);
}

void AppendSetting(Setting setting, uint32_t value, std::string& to) {
  to.push_back(0);
  to.push_back(static_cast<char>(setting));
  AppendBig32(value, to);
}

}  // namespace

Http2Session::Http2Session(Http2Peer& peer)
    : peer_(peer), decoder_(kMaxHeaderListBytes), idle_budget_(kIdleBudget), reset_budget_(kResetBudget) {}

void Http2Session::SendPreface() {
  if (std::exchange(prefaced_, true)) return;
  std::string settings;
  AppendSetting(Setting::kMaxConcurrentStreams, kMaxStreams, settings);
  AppendSetting(Setting::kInitialWindowSize, kStreamWindow, settings);
  AppendSetting(Setting::kMaxHeaderListSize, kMaxHeaderListBytes, settings);
  AppendFrameHeader({static_cast<uint32_t>(settings.size()), FrameType::kSettings, 0, 0}, output_);
  output_.append(settings);
  AppendFrameHeader({4, FrameType::kWindowUpdate, 0, 0}, output_);
  AppendBig32(kConnectionWindow - kDefaultWindowBytes, output_);
}

bool Http2Session::Receive(std::string_view bytes) {
  std::string joined;
  if (!partial_.empty()) {
    joined = std::exchange(partial_, std::string());
    joined.append(bytes);
    bytes = joined;
  }
  if (!greeted_ && !Greet(bytes)) return !failed_;
  while (!failed_ && bytes.size() >= kFrameHeaderBytes && output().size() <= kMaxOutput) {
    const FrameHeader frame = LoadFrameHeader(bytes.data());
    if (frame.length > kDefaultMaxFrameBytes) {
      Fail(Http2Error::kFrameSizeError, "a frame of more than 16384 bytes");
      break;
    }
    if (bytes.size() - kFrameHeaderBytes < frame.length) break;
    HandleFrame(frame, bytes.substr(kFrameHeaderBytes, frame.length));
    bytes.remove_prefix(kFrameHeaderBytes + frame.length);
  }
  if (failed_) return false;
  stopped_ = output().size() > kMaxOutput;
  if (joined.empty()) {
    partial_.assign(bytes);
  } else {
    joined.erase(0, joined.size() - bytes.size());
    partial_ = std::move(joined);
  }
  return true;
}

// False: not yet, or never.
bool Http2Session::Greet(std::string_view& bytes) {
  const bool is_http1 = MayBe("GET ", bytes) || MayBe("POST ", bytes);
  if (is_http1 ? bytes.size() < 5 : MayBe(kClientPreface, bytes) && bytes.size() < kClientPreface.size()) {
    partial_.assign(bytes);
    return false;
  }
  if (!MayBe(kClientPreface, bytes)) {
    failed_ = true;
    if (is_http1) {
      output_ =
          "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
          "This port speaks gRPC, over HTTP/2 with prior knowledge.\n";
    } else {
      Fail(Http2Error::kProtocolError, "not the preface of HTTP/2");
    }
    return false;
  }
  greeted_ = true;
  bytes.remove_prefix(kClientPreface.size());
  SendPreface();
  return true;
}

void Http2Session::HandleFrame(const FrameHeader& frame, std::string_view payload) {
  if (!settled_ && (frame.type != FrameType::kSettings || frame.has(kFlagAck))) {
    return Fail(Http2Error::kProtocolError, "the first frame is not SETTINGS");
  }
  if (block_stream_ != 0 && frame.type != FrameType::kContinuation) {
    return Fail(Http2Error::kProtocolError, "a header block was interrupted");
  }
  switch (frame.type) {
    case FrameType::kData:
      return HandleData(frame, payload);
    case FrameType::kHeaders:
      return HandleHeaders(frame, payload);
    case FrameType::kContinuation:
      return HandleContinuation(frame, payload);
    case FrameType::kRstStream:
      return HandleReset(frame, payload);
    case FrameType::kSettings:
      return HandleSettings(frame, payload);
    case FrameType::kPing:
      return HandlePing(frame, payload);
    case FrameType::kWindowUpdate:
      return HandleWindowUpdate(frame, payload);
    case FrameType::kPushPromise:
      return Fail(Http2Error::kProtocolError, "a client pushes");
    case FrameType::kGoAway:
      if (frame.stream != 0) return Fail(Http2Error::kProtocolError, "GOAWAY of a stream");
      if (payload.size() < 8) return Fail(Http2Error::kFrameSizeError, "GOAWAY has less than 8 bytes");
      client_leaving_ = true;
      return Spend(Budget::kIdle);
    case FrameType::kPriority:
      if (frame.stream == 0) return Fail(Http2Error::kProtocolError, "PRIORITY of no stream");
      if (payload.size() != 5) return Fail(Http2Error::kFrameSizeError, "PRIORITY has not 5 bytes");
      return Spend(Budget::kIdle);
  }
  Spend(Budget::kIdle);  // of a type that is not known, which is to be ignored
}

void Http2Session::HandleData(const FrameHeader& frame, std::string_view payload) {
  if (!WasOpened(frame.stream)) {
    return Fail(Http2Error::kProtocolError, "DATA of a stream that was never opened");
  }
  receive_window_ -= frame.length;
  if (receive_window_ < 0) return Fail(Http2Error::kFlowControlError, "DATA beyond the connection's window");
  // Only a stream's window waits for whoever serves it: one that is slow must not stop the others.
  unreturned_ += frame.length;
  if (unreturned_ >= kConnectionWindow / 2) {
    receive_window_ += static_cast<int64_t>(unreturned_);
    ReturnWindow(0, std::exchange(unreturned_, 0));
  }
  if (!RemovePadding(frame, payload)) return;
  const bool end = frame.has(kFlagEndStream);
  if (payload.empty() && !end) Spend(Budget::kIdle);
  Http2Stream* const stream = Find(frame.stream);
  if (stream == nullptr) return;  // what was under way when we ended it
  if (stream->client_ended_) return ResetAtFault(*stream, Http2Error::kStreamClosed);
  stream->receive_window_ -= frame.length;
  if (stream->receive_window_ < 0) return ResetAtFault(*stream, Http2Error::kFlowControlError);
  stream->client_ended_ = end;
  if (const size_t padding = frame.length - payload.size(); padding > 0) Consumed(*stream, padding);
  stream->OnData(payload, end);
}

void Http2Session::HandleHeaders(const FrameHeader& frame, std::string_view payload) {
  if (frame.stream % 2 == 0)
    return Fail(Http2Error::kProtocolError, "HEADERS of a stream that no client opens");
  if (!RemovePadding(frame, payload)) return;
  if (frame.has(kFlagPriority)) {
    if (payload.size() < 5) return Fail(Http2Error::kFrameSizeError, "HEADERS too short for their priority");
    payload.remove_prefix(5);
  }
  if (frame.has(kFlagEndHeaders)) return HandleBlock(frame.stream, payload, frame.has(kFlagEndStream));
  block_stream_ = frame.stream;
  block_end_ = frame.has(kFlagEndStream);
  block_.assign(payload);
}

void Http2Session::HandleContinuation(const FrameHeader& frame, std::string_view payload) {
  if (block_stream_ == 0 || frame.stream != block_stream_) {
    return Fail(Http2Error::kProtocolError, "CONTINUATION of nothing");
  }
  if (block_.size() + payload.size() > kMaxBlockBytes) {
    return Fail(Http2Error::kEnhanceYourCalm, "a header block of more than 80 KiB");
  }
  block_.append(payload);
  Spend(Budget::kIdle);
  if (!frame.has(kFlagEndHeaders) || failed_) return;
  const std::string block = std::exchange(block_, std::string());
  HandleBlock(std::exchange(block_stream_, 0), block, block_end_);
}

void Http2Session::HandleBlock(uint32_t id, std::string_view block, bool end) {
  const HeaderDecoder::Result result = decoder_.Decode(block);
  const bool repeated = std::exchange(told_, false) && decoder_.repeated();
  if (result == HeaderDecoder::Result::kCorrupt) {
    return Fail(Http2Error::kCompressionError, "a header block that cannot be decoded");
  }
  if (Http2Stream* const stream = Find(id); stream != nullptr) {  // trailers
    if (stream->client_ended_) return ResetAtFault(*stream, Http2Error::kStreamClosed);
    if (!end) return ResetAtFault(*stream, Http2Error::kProtocolError);
    stream->client_ended_ = true;
    return stream->OnData({}, true);
  }
  if (id <= last_stream_) return Spend(Budget::kIdle);  // what was under way when we ended it
  last_stream_ = id;
  // What comes after our GOAWAY is the client's to send elsewhere.
  if (leaving_) return;
  OpenStream(id, {decoder_.headers(), repeated, result == HeaderDecoder::Result::kTooLarge}, end);
}

void Http2Session::OpenStream(uint32_t id, const StreamOpening& opening, bool end) {
  // More than it was told to open, or more than the server has to give.
  if (streams_.size() >= kMaxStreams) {
    Spend(Budget::kReset);
    if (!failed_) SendReset(id, Http2Error::kRefusedStream);
    return;
  }
  Http2Stream* const stream = peer_.NewStream();
  if (stream == nullptr) return SendReset(id, Http2Error::kRefusedStream);
  Earn();
  told_ = !opening.too_large;
  stream->id_ = id;
  stream->client_ended_ = end;
  stream->ended_ = false;
  stream->waiting_ = false;
  stream->send_window_ = initial_send_window_;
  stream->receive_window_ = kStreamWindow;
  stream->unreturned_ = 0;
  streams_.emplace(id, stream);
  recent_ = stream;
  stream->OnHeaders(opening);
  if (!end) return;
  if (Http2Stream* const still = Find(id); still != nullptr) still->OnData({}, true);
}

void Http2Session::HandleReset(const FrameHeader& frame, std::string_view payload) {
  if (!WasOpened(frame.stream)) {
    return Fail(Http2Error::kProtocolError, "RST_STREAM of a stream that was never opened");
  }
  if (payload.size() != 4) return Fail(Http2Error::kFrameSizeError, "RST_STREAM has not 4 bytes");
  Spend(Budget::kReset);
  if (Http2Stream* const stream = Find(frame.stream); stream != nullptr) Forget(*stream);
}

void Http2Session::HandleSettings(const FrameHeader& frame, std::string_view payload) {
  if (frame.stream != 0) return Fail(Http2Error::kProtocolError, "SETTINGS of a stream");
  if (frame.has(kFlagAck)) {
    if (!payload.empty()) Fail(Http2Error::kFrameSizeError, "an acknowledgement of SETTINGS with a payload");
    return Spend(Budget::kIdle);
  }
  if (payload.size() % 6 != 0) return Fail(Http2Error::kFrameSizeError, "SETTINGS of a broken length");
  if (payload.size() > 6 * kMaxSettings) return Fail(Http2Error::kEnhanceYourCalm, "very many SETTINGS");
  if (settled_) Spend(Budget::kIdle);
  settled_ = true;
  for (; !payload.empty() && !failed_; payload.remove_prefix(6)) {
    const auto high = static_cast<uint8_t>(payload[0]);
    const auto low = static_cast<uint8_t>(payload[1]);
    ApplySetting(static_cast<Setting>(high << 8 | low), LoadBig32(payload.data() + 2));
  }
  if (failed_) return;
  AppendFrameHeader({0, FrameType::kSettings, kFlagAck, 0}, output_);
}

void Http2Session::ApplySetting(Setting setting, uint32_t value) {
  switch (setting) {
    case Setting::kHeaderTableSize:
      return encoder_.AllowTable(value);
    case Setting::kEnablePush:
      if (value > 1) Fail(Http2Error::kProtocolError, "ENABLE_PUSH is neither 0 nor 1");
      return;
    case Setting::kInitialWindowSize:
      return ApplyInitialWindow(value);
    case Setting::kMaxFrameSize:
      if (value < kDefaultMaxFrameBytes || value > kLargestMaxFrameBytes) {
        return Fail(Http2Error::kProtocolError, "MAX_FRAME_SIZE out of its range");
      }
      max_frame_bytes_ = std::min<size_t>(value, kMaxSentFrameBytes);
      return;
    case Setting::kMaxConcurrentStreams:  // of those that we would open
    case Setting::kMaxHeaderListSize:     // our lists are short
      return;
  }
}

void Http2Session::ApplyInitialWindow(uint32_t value) {
  if (value > kLargestWindowBytes)
    return Fail(Http2Error::kFlowControlError, "INITIAL_WINDOW_SIZE out of range");
  // One frame has room for thousands, and each goes through all streams.
  if (!streams_.empty()) Spend(Budget::kIdle);
  if (failed_) return;
  const int64_t difference = static_cast<int64_t>(value) - initial_send_window_;
  initial_send_window_ = value;
  for (const auto& [id, stream] : streams_) {
    stream->send_window_ += difference;
    if (stream->send_window_ > kLargestWindowBytes) {
      return Fail(Http2Error::kFlowControlError, "INITIAL_WINDOW_SIZE makes a window too large");
    }
    Wait(*stream);
  }
}

void Http2Session::HandlePing(const FrameHeader& frame, std::string_view payload) {
  if (frame.stream != 0) return Fail(Http2Error::kProtocolError, "PING of a stream");
  if (payload.size() != 8) return Fail(Http2Error::kFrameSizeError, "PING has not 8 bytes");
  Spend(Budget::kIdle);
  if (failed_ || frame.has(kFlagAck)) return;
  AppendFrameHeader({8, FrameType::kPing, kFlagAck, 0}, output_);
  output_.append(payload);
}

void Http2Session::HandleWindowUpdate(const FrameHeader& frame, std::string_view payload) {
  if (payload.size() != 4) return Fail(Http2Error::kFrameSizeError, "WINDOW_UPDATE has not 4 bytes");
  Spend(Budget::kIdle);  // each frame of data that we sent has earned it
  const int64_t bytes = LoadBig32(payload.data()) & kLargestStream;
  if (frame.stream == 0) {
    if (bytes == 0) return Fail(Http2Error::kProtocolError, "WINDOW_UPDATE of nothing");
    send_window_ += bytes;
    if (send_window_ > kLargestWindowBytes) Fail(Http2Error::kFlowControlError, "the window is too large");
    return;
  }
  if (!WasOpened(frame.stream)) {
    return Fail(Http2Error::kProtocolError, "WINDOW_UPDATE of a stream that was never opened");
  }
  Http2Stream* const stream = Find(frame.stream);
  if (stream == nullptr) return;
  if (bytes == 0) return ResetAtFault(*stream, Http2Error::kProtocolError);
  stream->send_window_ += bytes;
  if (stream->send_window_ > kLargestWindowBytes) return ResetAtFault(*stream, Http2Error::kFlowControlError);
  Wait(*stream);
}

bool Http2Session::RemovePadding(const FrameHeader& frame, std::string_view& payload) {
  if (!frame.has(kFlagPadded)) return true;
  const size_t padding = payload.empty() ? 0 : static_cast<uint8_t>(payload[0]);
  if (payload.empty() || padding >= payload.size()) {
    Fail(Http2Error::kProtocolError, "more padding than there is frame");
    return false;
  }
  payload = payload.substr(1, payload.size() - 1 - padding);
  return true;
}

Http2Stream* Http2Session::Find(uint32_t id) {
  if (recent_ != nullptr && recent_->id_ == id) return recent_;
  const auto found = streams_.find(id);
  if (found == streams_.end()) return nullptr;
  return recent_ = found->second;
}

void Http2Session::Forget(Http2Stream& stream) {
  if (recent_ == &stream) recent_ = nullptr;
  // Else they would pile up while the connection's window is shut.
  if (stream.waiting_) waiting_.erase(std::find(waiting_.begin(), waiting_.end(), stream.id_));
  streams_.erase(stream.id_);
  if (streams_.empty()) waiting_.clear();
  ClearPending(stream);
  stream.trailers_.clear();
  stream.OnClosed();
}

void Http2Session::ClearPending(Http2Stream& stream) {
  stream.pending_begin_ = 0;
  if (stream.pending_.capacity() > kKeptCapacity) {
    std::string().swap(stream.pending_);  // assignment would keep the memory
  } else {
    stream.pending_.clear();
  }
}

char* Http2Session::AppendData(Http2Stream& stream, size_t bytes) {
  const auto size = static_cast<int64_t>(bytes);
  if (stream.backlog() == 0 && bytes <= max_frame_bytes_ && size <= stream.send_window_ &&
      size <= send_window_ && output().size() < kOutputHighWater) {
    stream.send_window_ -= size;
    send_window_ -= size;
    const size_t at = output_.size();
    output_.resize(at + kFrameHeaderBytes + bytes);
    StoreFrameHeader({static_cast<uint32_t>(bytes), FrameType::kData, 0, stream.id_}, output_.data() + at);
    Earn();
    return output_.data() + at + kFrameHeaderBytes;
  }
  if (stream.pending_begin_ > 0 && stream.pending_begin_ >= stream.pending_.size() / 2) {
    stream.pending_.erase(0, std::exchange(stream.pending_begin_, 0));
  }
  const size_t at = stream.pending_.size();
  stream.pending_.resize(at + bytes);
  Wait(stream);
  return stream.pending_.data() + at;
}

void Http2Session::SendHead(Http2Stream& stream, std::string_view fields) {
  const size_t at = output_.size();
  output_.resize(at + kFrameHeaderBytes);
  encoder_.AppendHead(fields, output_);
  FinishBlock(at, stream.id_, 0);
}

void Http2Session::SendOnlyHead(Http2Stream& stream, std::string_view fields, bool begin_with_head) {
  const size_t at = output_.size();
  output_.resize(at + kFrameHeaderBytes);
  if (begin_with_head) {
    encoder_.AppendHead(fields, output_);
  } else {
    encoder_.AppendFields(fields, output_);
  }
  FinishBlock(at, stream.id_, kFlagEndStream);
  if (!stream.client_ended_) SendReset(stream.id_, Http2Error::kNoError);
  Forget(stream);
}

void Http2Session::End(Http2Stream& stream, std::string_view fields) {
  stream.ended_ = true;
  stream.trailers_.assign(fields);
  if (stream.backlog() == 0) EmitEnd(stream);
}

void Http2Session::EmitEnd(Http2Stream& stream) {
  const size_t at = output_.size();
  output_.resize(at + kFrameHeaderBytes);
  if (stream.trailers_.empty()) {
    encoder_.AppendOk(output_);
  } else {
    encoder_.AppendFields(stream.trailers_, output_);
  }
  FinishBlock(at, stream.id_, kFlagEndStream);
  if (!stream.client_ended_) SendReset(stream.id_, Http2Error::kNoError);
  Forget(stream);
}

// A header block was appended to the output behind room for a frame's header at `at`. A long one is cut into
// frames.
void Http2Session::FinishBlock(size_t at, uint32_t stream, uint8_t flags) {
  const size_t size = output_.size() - at - kFrameHeaderBytes;
  if (size <= kDefaultMaxFrameBytes) {
    const auto all = static_cast<uint8_t>(flags | kFlagEndHeaders);
    StoreFrameHeader({static_cast<uint32_t>(size), FrameType::kHeaders, all, stream}, output_.data() + at);
    return;
  }
  const std::string block = output_.substr(at + kFrameHeaderBytes);
  output_.resize(at);
  for (size_t begin = 0; begin < size; begin += kDefaultMaxFrameBytes) {
    const size_t length = std::min<size_t>(kDefaultMaxFrameBytes, size - begin);
    const uint8_t end = begin + length == size ? kFlagEndHeaders : 0;
    AppendFrameHeader(
        {static_cast<uint32_t>(length), begin == 0 ? FrameType::kHeaders : FrameType::kContinuation,
         static_cast<uint8_t>(begin == 0 ? flags | end : end), stream},
        output_);
    output_.append(block, begin, length);
  }
}

void Http2Session::Reset(Http2Stream& stream, Http2Error error) {
  SendReset(stream.id_, error);
  Forget(stream);
}

// Resets that the client brings about are as dear as its own: else it could begin any number of operations.
void Http2Session::ResetAtFault(Http2Stream& stream, Http2Error error) {
  Spend(Budget::kReset);
  if (!failed_) Reset(stream, error);
}

void Http2Session::SendReset(uint32_t stream, Http2Error error) {
  AppendFrameHeader({4, FrameType::kRstStream, 0, stream}, output_);
  AppendBig32(static_cast<uint32_t>(error), output_);
}

void Http2Session::Consumed(Http2Stream& stream, size_t bytes) {
  stream.unreturned_ += bytes;
  if (stream.unreturned_ < kStreamWindow / 2 || stream.client_ended_) return;
  stream.receive_window_ += static_cast<int64_t>(stream.unreturned_);
  ReturnWindow(stream.id_, std::exchange(stream.unreturned_, 0));
}

void Http2Session::ReturnWindow(uint32_t stream, size_t bytes) {
  AppendFrameHeader({4, FrameType::kWindowUpdate, 0, stream}, output_);
  AppendBig32(static_cast<uint32_t>(bytes), output_);
}

void Http2Session::Wait(Http2Stream& stream) {
  if (stream.waiting_ || stream.backlog() == 0) return;
  stream.waiting_ = true;
  waiting_.push_back(stream.id_);
}

void Http2Session::Pump() {
  while (!waiting_.empty() && send_window_ > 0 && output().size() < kOutputHighWater) {
    Http2Stream* const stream = Find(waiting_.front());
    waiting_.pop_front();
    if (stream == nullptr) continue;
    stream->waiting_ = false;
    PumpStream(*stream);
  }
}

void Http2Session::PumpStream(Http2Stream& stream) {
  const size_t before = stream.backlog();
  const int64_t window = std::min(stream.send_window_, send_window_);
  if (window <= 0) return;  // a WINDOW_UPDATE brings it back
  const size_t size = std::min({before, max_frame_bytes_, static_cast<size_t>(window)});
  AppendFrameHeader({static_cast<uint32_t>(size), FrameType::kData, 0, stream.id_}, output_);
  output_.append(stream.pending_, stream.pending_begin_, size);
  stream.pending_begin_ += size;
  stream.send_window_ -= static_cast<int64_t>(size);
  send_window_ -= static_cast<int64_t>(size);
  Earn();
  const size_t after = stream.backlog();
  if (after == 0) {
    ClearPending(stream);
    if (stream.ended_) return EmitEnd(stream);
  } else {
    Wait(stream);
  }
  const bool small = before > kBacklogLowWater && after <= kBacklogLowWater;
  if (!stream.ended_ && (small || after == 0)) stream.OnWritable();
}

void Http2Session::Sent(size_t bytes) {
  output_begin_ += bytes;
  if (output_begin_ == output_.size()) {
    output_.clear();
    output_begin_ = 0;
    if (output_.capacity() > kKeptOutputCapacity) output_.shrink_to_fit();
  } else if (output_begin_ >= kOutputHighWater) {
    output_.erase(0, std::exchange(output_begin_, 0));
  }
}

void Http2Session::Ping() {
  AppendFrameHeader({sizeof kPingBytes, FrameType::kPing, 0, 0}, output_);
  output_.append(kPingBytes, sizeof kPingBytes);
}

void Http2Session::GoAway(Http2Error error, std::string_view why) {
  if (leaving_) return;
  leaving_ = true;
  if (last_served_ == 0) last_served_ = last_stream_;  // said again, it must not grow
  SendPreface();
  AppendFrameHeader({static_cast<uint32_t>(8 + why.size()), FrameType::kGoAway, 0, 0}, output_);
  AppendBig32(last_served_, output_);
  AppendBig32(static_cast<uint32_t>(error), output_);
  output_.append(why);
}

void Http2Session::Fail(Http2Error error, std::string_view why) {
  leaving_ = false;  // said again, with the reason
  GoAway(error, why);
  failed_ = true;
}

void Http2Session::CloseStreams() {
  while (!streams_.empty()) Forget(*streams_.begin()->second);
}

void Http2Session::Spend(Budget budget) {
  int& left = budget == Budget::kIdle ? idle_budget_ : reset_budget_;
  if (--left >= 0 || failed_) return;
  // Clients of gRPC know the first of these words, and ping more seldom.
  Fail(Http2Error::kEnhanceYourCalm,
       budget == Budget::kIdle ? "too_many_pings" : "too many streams were reset");
}

void Http2Session::Earn() { idle_budget_ = std::min(idle_budget_ + kIdleEarned, kIdleBudget); }

void Http2Session::Tick() {
  idle_budget_ = std::min(idle_budget_ + kIdleRefill, kIdleBudget);
  reset_budget_ = std::min(reset_budget_ + kResetRefill, kResetBudget);
}

}  // namespace thermocline::server::rpc
