#include "client/transport.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <utility>

#include "fmt/format.h"

#include "client/call.h"
#include "grpc/grpc.h"

namespace thermocline::transport {
namespace {

// The largest reply is one value of 16 MiB, or 65 536 entries of a BatchGet that each explain an error.
constexpr int kMaxReceivedBytes = 64 << 20;
constexpr std::chrono::hours kLongestTimeout{24 * 365};
// Servers of gRPC close connections that ask for a sign of life more often than every five minutes.
constexpr std::chrono::milliseconds kKeepAlive = std::chrono::minutes(6);

using KeyValueCalls = v1::KeyValue::StubInterface::async_interface;
using AdminCalls = v1::Admin::StubInterface::async_interface;

absl::StatusOr<std::string> ReadPem(const std::string& what, const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad() || !file.is_open() || text.empty()) {
    return absl::InvalidArgumentError(fmt::format("cannot read {} from {}", what, path));
  }
  return text;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const std::optional<TlsOptions>& tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  if (tls->certificate_file.empty() != tls->key_file.empty()) {
    return absl::InvalidArgumentError(
        "a client's certificate and its key belong together: give both, or none");
  }
  grpc::SslCredentialsOptions options;
  const struct {
    const char* what;
    const std::string& path;
    std::string& text;
  } files[] = {{"the certificates of those to trust", tls->ca_file, options.pem_root_certs},
               {"the client's certificate", tls->certificate_file, options.pem_cert_chain},
               {"the client's key", tls->key_file, options.pem_private_key}};
  for (const auto& file : files) {
    absl::StatusOr<std::string> text = ReadPem(file.what, file.path);
    if (!text.ok()) return text.status();
    file.text = *std::move(text);
  }
  return grpc::SslCredentials(options);
}

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& server,
                                           const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  // gRPC ends its threads with its last channel and waits for them; after a large message that can take ten
  // seconds. So it is begun once more than it is ended.
  [[maybe_unused]] static const bool begun = [] {
    grpc_init();
    return true;
  }();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceivedBytes);
  // gRPC's own would wait up to two minutes before it tries a server again that has come back.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A call without a deadline must notice that the other machine is gone.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAlive.count());
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no limit: the call may be silent for hours
  return grpc::CreateCustomChannel(server, credentials, arguments);
}

}  // namespace

Deadline After(std::chrono::milliseconds timeout) {
  return std::chrono::system_clock::now() + std::min<std::chrono::milliseconds>(timeout, kLongestTimeout);
}

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

std::chrono::milliseconds Backoff::Next() {
  thread_local std::minstd_rand random(std::random_device{}());
  const std::chrono::milliseconds pause(
      std::uniform_int_distribution<int64_t>(bound_.count() / 2, bound_.count())(random));
  bound_ = std::min(bound_ * 2, kLast);
  return pause;
}

void InFlight::Enter() {
  std::lock_guard lock(mutex_);
  ++count_;
}

void InFlight::Leave() {
  std::lock_guard lock(mutex_);
  // Under the lock: whoever waits may destroy this as soon as it is released.
  if (--count_ == 0) none_.notify_all();
}

void InFlight::AwaitNone() {
  std::unique_lock lock(mutex_);
  none_.wait(lock, [this] { return count_ == 0; });
}

absl::StatusOr<std::unique_ptr<Transport>> Transport::Open(const std::string& server,
                                                           const std::optional<TlsOptions>& tls) {
  const auto credentials = Credentials(tls);
  if (!credentials.ok()) return credentials.status();
  return std::unique_ptr<Transport>(new Transport(OpenChannel(server, *credentials)));
}

Transport::Transport(const std::shared_ptr<grpc::Channel>& channel)
    : key_value_(v1::KeyValue::NewStub(channel)),
      admin_(v1::Admin::NewStub(channel)),
      segments_(v1::Segments::NewStub(channel)),
      channel_(channel),
      pipeline_(*key_value_, [this](Operation operation) { SendUnary(std::move(operation)); }) {}

Transport::~Transport() { in_flight_.AwaitNone(); }

absl::Status Transport::AwaitConnection(Deadline deadline) {
  if (channel_->WaitForConnected(deadline)) return absl::OkStatus();
  return absl::UnavailableError("the server cannot be reached; nothing was sent");
}

template <class Response>
Done<Response> Transport::Counted(Done<Response> done) {
  in_flight_.Enter();
  return [this, done = std::move(done)](absl::StatusOr<Response> response) mutable {
    done(std::move(response));
    done = nullptr;
    in_flight_.Leave();
  };
}

void Transport::SendUnary(Operation operation) {
  v1::PipelineRequest::Operation& message = operation.message;
  if (message.has_get()) {
    Start(in_flight_, key_value_->async(), &KeyValueCalls::Get, std::move(*message.mutable_get()),
          RepeatUntil(operation.deadline), operation.deadline,
          std::get<Done<v1::GetResponse>>(std::move(operation.done)));
  } else if (message.has_set()) {
    Start(in_flight_, key_value_->async(), &KeyValueCalls::Set, std::move(*message.mutable_set()), SendOnce(),
          operation.deadline, std::get<Done<v1::WriteResponse>>(std::move(operation.done)));
  } else {
    Start(in_flight_, key_value_->async(), &KeyValueCalls::Delete, std::move(*message.mutable_delete_()),
          SendOnce(), operation.deadline, std::get<Done<v1::WriteResponse>>(std::move(operation.done)));
  }
}

void Transport::Carry(size_t bytes, Operation operation) {
  if (Pipeline::Carries(bytes)) {
    pipeline_.Submit(std::move(operation));
  } else {
    SendUnary(std::move(operation));
  }
}

void Transport::Get(v1::GetRequest request, Deadline deadline, Done<v1::GetResponse> done) {
  const size_t bytes = request.key().size();
  Operation operation{.deadline = deadline, .done = Counted(std::move(done))};
  *operation.message.mutable_get() = std::move(request);
  Carry(bytes, std::move(operation));
}

void Transport::Set(v1::SetRequest request, Deadline deadline, Done<v1::WriteResponse> done) {
  const size_t bytes = request.key().size() + request.value().size();
  Operation operation{.deadline = deadline, .done = Counted(std::move(done))};
  *operation.message.mutable_set() = std::move(request);
  Carry(bytes, std::move(operation));
}

void Transport::Delete(v1::DeleteRequest request, Deadline deadline, Done<v1::WriteResponse> done) {
  const size_t bytes = request.key().size();
  Operation operation{.deadline = deadline, .done = Counted(std::move(done))};
  *operation.message.mutable_delete_() = std::move(request);
  Carry(bytes, std::move(operation));
}

void Transport::BatchGet(v1::BatchGetRequest request, Deadline deadline, Done<v1::BatchGetResponse> done) {
  Start(in_flight_, key_value_->async(), &KeyValueCalls::BatchGet, std::move(request), RepeatUntil(deadline),
        deadline, std::move(done));
}

void Transport::Stats(Deadline deadline, Deadline repeat_until, Done<v1::StatsResponse> done) {
  Start(in_flight_, admin_->async(), &AdminCalls::Stats, v1::StatsRequest(), RepeatUntil(repeat_until),
        deadline, std::move(done));
}

void Transport::Flush(Deadline deadline, Done<v1::FlushResponse> done) {
  Start(in_flight_, admin_->async(), &AdminCalls::Flush, v1::FlushRequest(), RepeatUntil(deadline), deadline,
        std::move(done));
}

void Transport::Compact(Deadline deadline, Deadline repeat_until, Done<v1::CompactResponse> done) {
  Start(in_flight_, admin_->async(), &AdminCalls::Compact, v1::CompactRequest(), RepeatUntil(repeat_until),
        deadline, std::move(done));
}

void Transport::BatchWrite(v1::BatchWriteRequest request, Deadline deadline,
                           Done<v1::BatchWriteResponse> done) {
  Start(in_flight_, key_value_->async(), &KeyValueCalls::BatchWrite, std::move(request), SendOnce(), deadline,
        std::move(done));
}

}  // namespace thermocline::transport
