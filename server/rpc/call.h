#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"

#include "server/rpc/exchange.h"
#include "server/rpc/http2_session.h"
#include "server/rpc/loop.h"
#include "server/rpc/request_head.h"

namespace thermocline::server::rpc {

class Connection;

// One call of gRPC on a connection: messages, deadline, compression and status ("PROTOCOL-HTTP2" of gRPC)
// between a stream and an exchange. For the thread of its loop. Belongs to its connection, which uses it
// again for later streams.
class Call final : private Http2Stream, private LoopTimer {
 public:
  // Beyond this, an exchange should wait for OnWritable before it sends more.
  static constexpr size_t kBacklog = Http2Session::kBacklogLowWater;

  explicit Call(Connection& connection) : connection_(connection) {}

  // What the client said when it began, until Method::Start has returned.
  const RequestHead& head() const;
  Loop& loop() const;

  // Sends the response's header at once, not with the first message: the client sees that the call is served.
  void Greet();

  // Sends a message. False if the server holds as much as it may: the call has ended (OnGone was called) with
  // RESOURCE_EXHAUSTED.
  [[nodiscard]] bool Send(const google::protobuf::MessageLite& message);
  // The same, for a message that is encoded already.
  [[nodiscard]] bool SendEncoded(std::string_view message);
  bool backlogged() const { return backlog() > kBacklog; }
  // The server is stopping: what is under way should end, and nothing new begin.
  bool draining() const;

  // Ends the call: the exchange hears nothing more of it and must not use it again. `code` is what the client
  // sees; it is OK if and only if the status is.
  void Finish(const absl::Status& status, int code);
  void Finish(const absl::Status& status) { Finish(status, static_cast<int>(status.code())); }

  // Stops and resumes the delivery of messages; what comes meanwhile waits, up to a stream's window.
  void Pause() { paused_ = true; }
  void Resume();

  // The memory that the message takes which OnMessage is being given, for an exchange that keeps it; else it
  // is given back.
  Loop::Hold TakeHold() { return std::move(held_in_.hold); }

 private:
  friend class Connection;

  void OnHeaders(const StreamOpening& opening) override;
  void OnData(std::string_view bytes, bool end) override;
  void OnWritable() override;
  void OnClosed() override;
  void OnTime() override;

  // What a buffer of the call takes of its loop's memory, or of what its connection may cost beside that.
  struct Held {
    Loop::Hold hold;
    size_t small_bytes = 0;
  };

  void Begin(const RequestHead& head, Method* method);
  // False if the server holds as much as it may.
  bool SetHeld(Held& held, size_t bytes);
  bool DeliverMessages(std::string_view& bytes);
  void Deliver(bool compressed, std::string_view message);
  bool Keep(std::string_view bytes);
  bool DeliverKept();
  void AfterDelivery();
  void ReturnWindow();
  // Ends the call for an exchange that does not know it yet.
  void Abort(const absl::Status& status);
  // The server does not wait any longer.
  void Stop();
  void EndStream(const absl::Status& status, int code);
  bool HoldOutgoing(size_t bytes);
  char* AppendMessage(bool compressed, size_t bytes);
  void SendHead();

  Connection& connection_;
  Exchange* exchange_ = nullptr;  // nullptr: finished
  bool head_sent_ = false;
  bool gzip_in_ = false;
  bool gzip_out_ = false;
  bool paused_ = false;
  bool delivering_ = false;
  bool end_came_ = false;
  size_t unreturned_ = 0;  // of the stream's window
  std::string inbox_;      // messages that are not whole, or wait
  Held held_in_;           // for inbox_
  Held held_out_;          // for the backlog
  bool unsent_ = false;    // ended by us, and counted as an operation until all is sent
};

}  // namespace thermocline::server::rpc
