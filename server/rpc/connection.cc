#include "server/rpc/connection.h"

#include <utility>

#include <boost/asio/buffer.hpp>

namespace thermocline::server::rpc {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

// One read, at most; the others of the loop wait no longer than for some of these.
constexpr size_t kReadBytes = 128 << 10;
constexpr int kReadsARound = 4;

// Work under way on all connections of a loop, beyond which streams are refused.
constexpr int64_t kMaxOperations = 1 << 16;
// How long we go on reading from a connection that we have ended, so that its client gets our last words; and
// how long that client may take to read them.
constexpr std::chrono::seconds kLinger(2);
constexpr std::chrono::seconds kLastWords(30);

char* ReadBuffer() {
  thread_local const auto buffer = std::make_unique<char[]>(kReadBytes);
  return buffer.get();
}

}  // namespace

Connection::Connection(Loop& loop, tcp::socket socket, const ConnectionOptions& options,
                       std::unique_ptr<TlsSession> tls, Closed closed)
    : loop_(loop),
      socket_(std::move(socket)),
      options_(options),
      tls_(std::move(tls)),
      closed_callback_(std::move(closed)),
      session_(*this),
      began_(Loop::Clock::now()),
      heard_(began_) {
  loop_.CountConnection(1);
}

Connection::~Connection() { loop_.CountConnection(-1); }

void Connection::Start() {
  error_code ignored;  // what fails here, fails at the first read
  socket_.non_blocking(true, ignored);
  socket_.set_option(tcp::no_delay(true), ignored);
  AwaitReadable();  // who speaks HTTP/1 gets an answer in HTTP/1 and nothing before it
}

Http2Stream* Connection::NewStream() {
  if (loop_.operations() >= kMaxOperations) return nullptr;
  if (idle_calls_.empty()) {
    calls_.push_back(std::make_unique<Call>(*this));
    return calls_.back().get();
  }
  Call* const call = idle_calls_.back();
  idle_calls_.pop_back();
  return call;
}

void Connection::AwaitReadable() {
  if (awaiting_readable_ || !open_) return;
  awaiting_readable_ = true;
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& error) {
    self->awaiting_readable_ = false;
    if (!error) self->OnReadable();
  });
}

void Connection::OnReadable() {
  if (!open_) return;
  in_round_ = true;
  for (int i = 0; i < kReadsARound && open_; ++i) {
    error_code error;
    const size_t size = socket_.receive(boost::asio::buffer(ReadBuffer(), kReadBytes), 0, error);
    if (error == boost::asio::error::would_block || error == boost::asio::error::try_again) break;
    if (error || size == 0) {
      in_round_ = false;
      return Close();
    }
    heard_ = Loop::Clock::now();
    pinged_ = false;
    const bool goes_on = over_ || Take({ReadBuffer(), size});
    loop_.EndRound();
    if (!goes_on) CloseWhenSent();
    if (size < kReadBytes || session_.stopped()) break;
  }
  in_round_ = false;
  Flush();
}

// False if the connection is over.
bool Connection::Take(std::string_view bytes) {
  if (tls_ == nullptr) return session_.Receive(bytes);
  std::string plain;
  const bool goes_on = tls_->Receive(bytes, plain);
  return (plain.empty() || session_.Receive(plain)) && goes_on;
}

void Connection::SendSoon() {
  if (in_round_ || flush_posted_ || !open_) return;
  flush_posted_ = true;
  self_ = shared_from_this();
  loop_.Post(*this);
}

void Connection::RunOnLoop() {
  flush_posted_ = false;
  const std::shared_ptr<Connection> self = std::move(self_);
  Flush();
}

std::string_view Connection::Output() const { return tls_ == nullptr ? session_.output() : tls_->output(); }

void Connection::Sent(size_t bytes) {
  if (tls_ == nullptr) {
    session_.Sent(bytes);
  } else {
    tls_->Sent(bytes);
  }
}

// False if the connection is broken.
bool Connection::FillOutput() {
  session_.Pump();
  if (tls_ == nullptr || !tls_->ready() || tls_->output().size() >= Http2Session::kOutputHighWater)
    return true;
  const std::string_view plain = session_.output();
  if (plain.empty()) return true;
  if (!tls_->Send(plain)) return false;
  session_.Sent(plain.size());
  return true;
}

// False if the connection is broken.
bool Connection::SendAll() {
  for (;;) {
    if (!FillOutput()) return false;
    const std::string_view output = Output();
    if (output.empty()) return true;
    error_code error;
    const size_t size = socket_.send(boost::asio::buffer(output.data(), output.size()), 0, error);
    if (error == boost::asio::error::would_block || error == boost::asio::error::try_again) {
      AwaitWritable();
      return true;
    }
    if (error) return false;
    Sent(size);
  }
}

void Connection::Flush() {
  if (!open_) return;
  in_round_ = true;  // what Pump makes others send goes out here
  while (!awaiting_writable_) {
    if (!SendAll()) {
      in_round_ = false;
      return Close();
    }
    // What the session did not hear, for its answers were not taken.
    if (awaiting_writable_ || over_ || !session_.stopped()) break;
    const bool goes_on = session_.Receive({});
    loop_.EndRound();
    if (!goes_on) CloseWhenSent();
  }
  in_round_ = false;
  if (!over_ && session_.leaving() && session_.stream_count() == 0) CloseWhenSent();
  if (over_ && !HasOutput()) Shut();
  if (Output().size() + session_.output().size() <= Http2Session::kMaxOutput) AwaitReadable();
}

// Everything has been sent: says so, and waits for the client to close as well.
void Connection::Shut() {
  if (shut_) return;
  if (tls_ != nullptr && !std::exchange(goodbye_said_, true)) {
    tls_->Shutdown();
    return SendSoon();
  }
  shut_ = true;
  over_since_ = Loop::Clock::now();
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  Settle();
}

void Connection::Settle() {
  if (std::exchange(owing_, false)) loop_.OperationEnded();
}

void Connection::AwaitWritable() {
  awaiting_writable_ = true;
  socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const error_code& error) {
    self->awaiting_writable_ = false;
    if (!error) self->Flush();
  });
}

void Connection::Tick() {
  if (!open_) return;
  session_.Tick();
  const auto now = Loop::Clock::now();
  if (over_) {
    if (now - over_since_ > (shut_ ? kLinger : kLastWords)) Close();
    return;
  }
  if (!session_.greeted()) {
    if (now - began_ > options_.greeting) Close();
    return;
  }
  // Counted from the ping: whoever was not asked, for nobody ran for a while, is asked first.
  if (now - (pinged_ ? pinged_at_ : heard_) > options_.keepalive) {
    if (std::exchange(pinged_, true)) return Close();
    pinged_at_ = now;
    session_.Ping();
    SendSoon();
  }
}

void Connection::Drain() {
  draining_ = true;
  session_.GoAway(Http2Error::kNoError, "the server is stopping");
  SendSoon();
}

void Connection::CancelCalls() {
  session_.ForEachStream([](Http2Stream& stream) { static_cast<Call&>(stream).Stop(); });
  SendSoon();
}

void Connection::CloseWhenSent() {
  if (!open_ || std::exchange(over_, true)) return;
  over_since_ = Loop::Clock::now();
  session_.CloseStreams();
  owing_ = true;
  loop_.OperationBegan();
  SendSoon();
}

void Connection::Close() {
  if (!std::exchange(open_, false)) return;
  const std::shared_ptr<Connection> self = shared_from_this();
  session_.CloseStreams();
  Settle();
  error_code ignored;
  socket_.close(ignored);
  closed_callback_(*this);
}

}  // namespace thermocline::server::rpc
