#include "server/rpc/call.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "server/rpc/connection.h"
#include "server/rpc/gzip.h"

namespace thermocline::server::rpc {
namespace {

// A message: a byte that says whether it is compressed, its length, itself.
constexpr size_t kPrefixBytes = 5;
// Shorter messages do not get smaller.
constexpr size_t kMinGzipBytes = 512;
// Buffers of no more than this are part of what a connection costs, as long as they come to no more than
// that.
constexpr size_t kSmall = 16 << 10;
constexpr size_t kMaxSmallBytes = 1 << 20;

// How long a client may take to end a call whose deadline has passed.
constexpr std::chrono::milliseconds kGrace(300);

constexpr char kTooMuchHeld[] =
    "the server holds as many bytes of requests and answers as it may: ask again, with fewer at a time";

std::string HttpFields(int http_status) {
  std::string fields;
  AppendHeader(":status", std::to_string(http_status), fields);
  return fields;
}

}  // namespace

const RequestHead& Call::head() const { return connection_.head_; }

Loop& Call::loop() const { return connection_.loop(); }

bool Call::draining() const { return connection_.draining(); }

void Call::OnHeaders(const StreamOpening& opening) {
  if (opening.too_large) {
    const auto status = absl::ResourceExhaustedError(
        fmt::format("the metadata has more than {} bytes", Http2Session::kMaxHeaderListBytes));
    connection_.head_ = RequestHead();
    connection_.head_.status = status;
    connection_.method_ = nullptr;
  } else if (!opening.repeated) {
    connection_.head_ = ReadRequestHead(opening.headers);
    connection_.method_ = connection_.options().methods.Find(connection_.head_.path);
  }
  Begin(connection_.head_, connection_.method_);
}

void Call::Begin(const RequestHead& head, Method* method) {
  head_sent_ = gzip_out_ = paused_ = delivering_ = end_came_ = false;
  unreturned_ = 0;
  gzip_in_ = head.gzip;
  if (head.http_status != 0) {
    return connection_.session().SendOnlyHead(*this, HttpFields(head.http_status), false);
  }
  if (!head.status.ok()) {
    std::string fields = StatusFields(head.status, static_cast<int>(head.status.code()));
    if (head.unknown_encoding) AppendHeader("grpc-accept-encoding", "identity,gzip", fields);
    return connection_.session().SendOnlyHead(*this, fields, true);
  }
  if (connection_.draining()) {
    const auto status = absl::UnavailableError("the server is stopping");
    return EndStream(status, static_cast<int>(status.code()));
  }
  if (method == nullptr) {
    const auto status = absl::UnimplementedError(fmt::format("there is no method {}", Quote(head.path)));
    return EndStream(status, static_cast<int>(status.code()));
  }
  gzip_out_ = head.gzip && head.accepts_gzip;
  if (head.timeout) {
    loop().Arm(*this, Loop::Clock::now() + *head.timeout);
  }
  // It may have finished the call meanwhile.
  if (Exchange* const exchange = method->Start(*this); exchange != nullptr) exchange_ = exchange;
}

void Call::OnData(std::string_view bytes, bool end) {
  end_came_ = end;
  unreturned_ += bytes.size();
  if (exchange_ == nullptr) return ReturnWindow();  // ended by us, and something waits to be sent
  // As a rule, a message is whole, and is read where it was received.
  if (inbox_.empty() && !DeliverMessages(bytes)) return;
  if (!bytes.empty()) {
    if (!Keep(bytes) || (!paused_ && !DeliverKept())) return;
  }
  AfterDelivery();
}

bool Call::SetHeld(Held& held, size_t bytes) {
  size_t& all_small = connection_.small_bytes_;
  all_small -= std::exchange(held.small_bytes, 0);
  if (bytes > kSmall || all_small + bytes > kMaxSmallBytes) {
    return held.hold.Resize(loop(), static_cast<int64_t>(bytes));
  }
  held.hold.Release();
  all_small += held.small_bytes = bytes;
  return true;
}

// False if the call has ended.
bool Call::Keep(std::string_view bytes) {
  const size_t size = inbox_.size() + bytes.size();
  if (!SetHeld(held_in_, size)) {
    Abort(absl::ResourceExhaustedError(kTooMuchHeld));
    return false;
  }
  // Neither as much as a client merely promises, nor twice as much as it sends.
  if (size > inbox_.capacity()) {
    size_t wanted = size;
    if (inbox_.size() >= kPrefixBytes) wanted = kPrefixBytes + LoadBig32(inbox_.data() + 1);
    inbox_.reserve(std::max(size, std::min(wanted, 2 * size)));
  }
  inbox_.append(bytes);
  return true;
}

void Call::Resume() {
  if (!std::exchange(paused_, false)) return;
  if (!delivering_ && DeliverKept()) AfterDelivery();
}

// False if the call has ended.
bool Call::DeliverKept() {
  std::string_view bytes = inbox_;
  if (!DeliverMessages(bytes)) return false;
  if (bytes.empty()) {
    std::string().swap(inbox_);  // assignment would keep the memory
    SetHeld(held_in_, 0);
  } else if (bytes.size() < inbox_.size()) {
    inbox_.erase(0, inbox_.size() - bytes.size());
  }
  return true;
}

void Call::AfterDelivery() {
  if (paused_) return;
  if (!std::exchange(end_came_, false)) return ReturnWindow();
  if (inbox_.empty()) return exchange_->OnEnd();
  Abort(absl::InternalError("the request ended within a message"));
}

void Call::ReturnWindow() {
  if (unreturned_ == 0) return;
  connection_.session().Consumed(*this, std::exchange(unreturned_, 0));
  connection_.SendSoon();
}

// Takes whole messages off the front. False if the call has ended.
bool Call::DeliverMessages(std::string_view& bytes) {
  const size_t limit = connection_.options().max_message_bytes;
  while (bytes.size() >= kPrefixBytes && !paused_) {
    const size_t length = LoadBig32(bytes.data() + 1);
    if (length > limit) {
      Abort(absl::ResourceExhaustedError(
          fmt::format("the message has {} bytes; the limit is {}", length, limit)));
      return false;
    }
    if (bytes.size() - kPrefixBytes < length) break;
    const bool compressed = bytes[0] != 0;
    const std::string_view message = bytes.substr(kPrefixBytes, length);
    bytes.remove_prefix(kPrefixBytes + length);
    delivering_ = true;
    Deliver(compressed, message);
    delivering_ = false;
    if (exchange_ == nullptr) return false;
  }
  return true;
}

void Call::Deliver(bool compressed, std::string_view message) {
  if (!compressed) return exchange_->OnMessage(message);
  if (!gzip_in_)
    return Abort(absl::InternalError("a message is compressed, and grpc-encoding does not say how"));
  absl::StatusOr<std::string> unpacked = Gunzip(message, connection_.options().max_message_bytes);
  if (!unpacked.ok()) return Abort(unpacked.status());
  // Whoever takes the hold keeps what was unpacked, not what came.
  if (!SetHeld(held_in_, inbox_.size() + unpacked->size()))
    return Abort(absl::ResourceExhaustedError(kTooMuchHeld));
  exchange_->OnMessage(*unpacked);
  if (exchange_ != nullptr) SetHeld(held_in_, inbox_.size());
}

void Call::SendHead() {
  if (std::exchange(head_sent_, true)) return;
  std::string fields;
  if (gzip_out_) AppendHeader("grpc-encoding", "gzip", fields);
  connection_.session().SendHead(*this, fields);
}

void Call::Greet() {
  SendHead();
  connection_.SendSoon();
}

bool Call::Send(const google::protobuf::MessageLite& message) {
  if (gzip_out_) return SendEncoded(message.SerializeAsString());
  const size_t size = message.ByteSizeLong();
  if (!HoldOutgoing(size)) return false;
  char* const to = AppendMessage(false, size);
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(to));
  if (backlog() == 0) SetHeld(held_out_, 0);
  return true;
}

bool Call::SendEncoded(std::string_view message) {
  if (!HoldOutgoing(message.size())) return false;
  if (gzip_out_ && message.size() >= kMinGzipBytes) {
    const std::string packed = Gzip(message);
    packed.copy(AppendMessage(true, packed.size()), packed.size());
  } else {
    message.copy(AppendMessage(false, message.size()), message.size());
  }
  if (backlog() == 0) SetHeld(held_out_, 0);
  return true;
}

// False if the call has ended.
bool Call::HoldOutgoing(size_t bytes) {
  const size_t all = backlog() + bytes;
  if (SetHeld(held_out_, all)) return true;
  if (exchange_->wrote()) {
    Abort(absl::UnknownError(
        "the writes were made, but the server holds too much to tell how each of them went"));
  } else {
    Abort(absl::ResourceExhaustedError(kTooMuchHeld));
  }
  return false;
}

// Where the message goes.
char* Call::AppendMessage(bool compressed, size_t bytes) {
  SendHead();
  char* const to = connection_.session().AppendData(*this, kPrefixBytes + bytes);
  to[0] = compressed ? 1 : 0;
  StoreBig32(static_cast<uint32_t>(bytes), to + 1);
  connection_.SendSoon();
  return to + kPrefixBytes;
}

void Call::Finish(const absl::Status& status, int code) {
  exchange_ = nullptr;
  EndStream(status, code);
}

void Call::EndStream(const absl::Status& status, int code) {
  Http2Session& session = connection_.session();
  connection_.SendSoon();
  if (backlog() > 0) {
    unsent_ = true;  // a stop waits until it is sent
    loop().OperationBegan();
  }
  if (head_sent_) return session.End(*this, status.ok() ? std::string() : StatusFields(status, code));
  session.SendOnlyHead(*this, StatusFields(status, code), true);
}

void Call::Abort(const absl::Status& status) {
  if (Exchange* const exchange = std::exchange(exchange_, nullptr); exchange != nullptr) exchange->OnGone();
  // What waits would be held even longer.
  if (backlog() > 0) {
    connection_.SendSoon();
    return connection_.session().Reset(*this, Http2Error::kCancel);
  }
  EndStream(status, static_cast<int>(status.code()));
}

void Call::Stop() {
  if (exchange_ != nullptr && exchange_->wrote()) {
    Abort(absl::UnknownError("the server has stopped: the write may be made, or not"));
  } else {
    Abort(absl::UnavailableError("the server is stopping"));
  }
}

void Call::OnWritable() {
  SetHeld(held_out_, backlog());  // less than before
  if (exchange_ != nullptr) exchange_->OnWritable();
}

void Call::OnTime() {
  if (exchange_ == nullptr) {
    connection_.SendSoon();
    return connection_.session().Reset(*this, Http2Error::kCancel);
  }
  if (backlog() == 0) return Abort(absl::DeadlineExceededError("the deadline of the call has passed"));
  // Its client is about to say so itself; a reset that comes first looks like something else to some.
  std::exchange(exchange_, nullptr)->OnGone();
  loop().Arm(*this, Loop::Clock::now() + kGrace);
}

void Call::OnClosed() {
  Loop::Disarm(*this);
  if (Exchange* const exchange = std::exchange(exchange_, nullptr); exchange != nullptr) exchange->OnGone();
  if (std::exchange(unsent_, false)) loop().OperationEnded();
  SetHeld(held_in_, 0);
  SetHeld(held_out_, 0);
  std::string().swap(inbox_);  // assignment would keep the memory
  connection_.Release(*this);
}

}  // namespace thermocline::server::rpc
