#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "server/rpc/call.h"
#include "server/rpc/exchange.h"
#include "server/rpc/http2_session.h"
#include "server/rpc/loop.h"
#include "server/rpc/tls.h"

namespace thermocline::server::rpc {

// What all connections of an endpoint have in common.
struct ConnectionOptions {
  const Methods& methods;
  size_t max_message_bytes;
  // A connection from which nothing comes for so long is asked for a sign of life, and closed after as long
  // again without one.
  std::chrono::seconds keepalive;
  // How long a client may take until it has said that it speaks HTTP/2.
  std::chrono::seconds greeting;
};

// One client's socket, its session and its calls. For the thread of its loop.
class Connection final : public std::enable_shared_from_this<Connection>,
                         private Http2Peer,
                         private LoopTask {
 public:
  using Closed = std::function<void(Connection&)>;

  // `tls` may be nullptr: plain text. `closed` is called once, when the connection is over.
  Connection(Loop& loop, boost::asio::ip::tcp::socket socket, const ConnectionOptions& options,
             std::unique_ptr<TlsSession> tls, Closed closed);
  ~Connection();

  // Begins to serve.
  void Start();
  // Every second: keepalive, time limits.
  void Tick();

  // Takes no new calls, and says so.
  void Drain();
  // Ends the calls that are left, with UNAVAILABLE.
  void CancelCalls();
  // Closes once everything is sent.
  void CloseWhenSent();
  void Close();

 private:
  friend class Call;

  Http2Stream* NewStream() override;
  void RunOnLoop() override;

  // For calls.
  Http2Session& session() { return session_; }
  Loop& loop() { return loop_; }
  const ConnectionOptions& options() const { return options_; }
  bool draining() const { return draining_; }
  // Something was given to the session: it goes out at the end of this round.
  void SendSoon();
  void Release(Call& call) { idle_calls_.push_back(&call); }

  void AwaitReadable();
  void OnReadable();
  bool Take(std::string_view bytes);
  // Writes what there is, until it is out or the socket takes no more.
  void Flush();
  bool FillOutput();
  // Sends what there is; false if the connection is broken.
  bool SendAll();
  void Shut();
  bool HasOutput() const { return !Output().empty() || !session_.output().empty(); }
  void Settle();
  std::string_view Output() const;
  void Sent(size_t bytes);
  void AwaitWritable();

  Loop& loop_;
  boost::asio::ip::tcp::socket socket_;
  const ConnectionOptions& options_;
  const std::unique_ptr<TlsSession> tls_;
  Closed closed_callback_;

  Http2Session session_;
  std::vector<std::unique_ptr<Call>> calls_;
  std::vector<Call*> idle_calls_;

  // Of the stream that began last: clients mostly say the same again.
  RequestHead head_;
  Method* method_ = nullptr;

  // In buffers of calls that are too small to be counted one by one.
  size_t small_bytes_ = 0;

  bool open_ = true;
  bool over_ = false;  // what comes is thrown away; closed when everything is sent and taken
  bool goodbye_said_ = false;
  bool shut_ = false;   // for sending
  bool owing_ = false;  // an operation of the loop: what is over has not been sent
  bool draining_ = false;
  bool in_round_ = false;  // Flush follows
  bool flush_posted_ = false;
  bool awaiting_readable_ = false;
  bool awaiting_writable_ = false;
  std::shared_ptr<Connection> self_;  // while flush_posted_

  Loop::Clock::time_point began_;
  Loop::Clock::time_point heard_;
  bool pinged_ = false;  // and nothing was heard since
  Loop::Clock::time_point pinged_at_;
  Loop::Clock::time_point over_since_;  // later: since it was shut
};

}  // namespace thermocline::server::rpc
