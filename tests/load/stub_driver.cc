#include "tests/load/stub_driver.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include "tests/load/library_driver.h"
#include "thermocline/v1/key_value.grpc.pb.h"

namespace thermocline::load {
namespace {

constexpr std::chrono::seconds kTimeout{10};
constexpr std::chrono::seconds kConnectPatience{5};
constexpr int kRetryMillis = 200;
constexpr int kMaxMessageBytes = 17 << 20;

template <typename Request, typename Response>
struct Exchange {
  Request request;
  Response response;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
};

// All that one ticket needs, kept from call to call.
struct Slot {
  std::optional<grpc::ClientContext> context;
  grpc::Status status;
  Call::Verb verb = Call::Verb::kGet;
  bool batch = false;
  Exchange<v1::GetRequest, v1::GetResponse> get;
  Exchange<v1::SetRequest, v1::WriteResponse> set;
  Exchange<v1::DeleteRequest, v1::WriteResponse> erase;
  Exchange<v1::BatchGetRequest, v1::BatchGetResponse> batch_get;
  Exchange<v1::BatchWriteRequest, v1::BatchWriteResponse> batch_write;
};

v1::Durability DurabilityOf(const Call& call) { return call.sync ? v1::SYNC : v1::MEMORY; }

void FillSet(const Call& call, const Item& item, v1::SetRequest& request) {
  request.set_key(item.key.data(), item.key.size());
  request.set_value(item.value.data(), item.value.size());
  request.set_durability(DurabilityOf(call));
}

void FillDelete(const Call& call, const Item& item, v1::DeleteRequest& request) {
  request.set_key(item.key.data(), item.key.size());
  request.set_durability(DurabilityOf(call));
}

void FillBatchWrite(const Call& call, v1::BatchWriteRequest& request) {
  request.clear_writes();
  for (const Item& item : call.items) {
    auto* const write = request.add_writes();
    if (call.verb == Call::Verb::kSet) FillSet(call, item, *write->mutable_set());
    if (call.verb == Call::Verb::kDelete) FillDelete(call, item, *write->mutable_delete_());
  }
}

// The values of a batch; the first error.
std::string HearBatchGet(const v1::BatchGetResponse& response, uint32_t ticket, Traffic& traffic) {
  using Entry = v1::BatchGetResponse::Entry;
  std::string error;
  for (int i = 0; i < response.entries_size(); ++i) {
    const Entry& entry = response.entries(i);
    if (entry.state() == Entry::FOUND) {
      traffic.OnValue(ticket, static_cast<uint32_t>(i), entry.value());
    } else if (entry.state() == Entry::MISSING) {
      traffic.OnValue(ticket, static_cast<uint32_t>(i), std::nullopt);
    } else {
      error = "an entry failed: " + entry.error().message();
    }
  }
  return error;
}

std::string ErrorOf(const v1::BatchWriteResponse& response) {
  for (const auto& result : response.results()) {
    if (result.has_error()) return "a write failed: " + result.error().message();
  }
  return "";
}

class StubDriver final : public LibraryDriver {
 public:
  StubDriver(const DriverOptions& options, const std::vector<std::shared_ptr<grpc::Channel>>& channels)
      : LibraryDriver(options), slots_(options.connections * options.in_flight) {
    for (const auto& channel : channels) stubs_.push_back(v1::KeyValue::NewStub(channel));
  }
  ~StubDriver() override {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

 private:
  void Start(uint32_t ticket, const Call& call) override;
  void Hear(TimePoint deadline, Traffic& traffic) override;
  void HearOne(uint32_t ticket, Traffic& traffic);

  template <typename Request, typename Response, typename Prepare>
  void Send(uint32_t ticket, Exchange<Request, Response>& exchange, Prepare prepare) {
    Slot& slot = slots_[ticket];
    exchange.reader = ((*stubs_[ConnectionOf(ticket)]).*prepare)(&*slot.context, exchange.request, &queue_);
    exchange.reader->Finish(&exchange.response, &slot.status, reinterpret_cast<void*>(uintptr_t{ticket}));
  }

  std::vector<std::unique_ptr<v1::KeyValue::Stub>> stubs_;
  grpc::CompletionQueue queue_;
  std::vector<Slot> slots_;  // by ticket
};

void StubDriver::Start(uint32_t ticket, const Call& call) {
  using Stub = v1::KeyValue::Stub;
  Slot& slot = slots_[ticket];
  slot.context.emplace();
  slot.context->set_deadline(std::chrono::system_clock::now() + kTimeout);
  slot.context->set_wait_for_ready(true);  // calls wait while there is no connection, as over the other ways
  slot.verb = call.verb;
  slot.batch = call.batch;
  const Item& item = call.items.front();
  if (call.batch && call.verb == Call::Verb::kGet) {
    slot.batch_get.request.clear_keys();
    slot.batch_get.request.set_max_bytes(16 << 20);
    for (const Item& one : call.items) slot.batch_get.request.add_keys(one.key.data(), one.key.size());
    return Send(ticket, slot.batch_get, &Stub::AsyncBatchGet);
  }
  if (call.batch) {
    FillBatchWrite(call, slot.batch_write.request);
    return Send(ticket, slot.batch_write, &Stub::AsyncBatchWrite);
  }
  switch (call.verb) {
    case Call::Verb::kGet:
      slot.get.request.set_key(item.key.data(), item.key.size());
      return Send(ticket, slot.get, &Stub::AsyncGet);
    case Call::Verb::kSet:
      FillSet(call, item, slot.set.request);
      return Send(ticket, slot.set, &Stub::AsyncSet);
    case Call::Verb::kDelete:
      FillDelete(call, item, slot.erase.request);
      return Send(ticket, slot.erase, &Stub::AsyncDelete);
  }
}

void StubDriver::HearOne(uint32_t ticket, Traffic& traffic) {
  Slot& slot = slots_[ticket];
  std::string error;
  if (!slot.status.ok()) {
    error = fmt::format("grpc-status {}: {}", static_cast<int>(slot.status.error_code()),
                        slot.status.error_message());
  } else if (slot.batch) {
    error = slot.verb == Call::Verb::kGet ? HearBatchGet(slot.batch_get.response, ticket, traffic)
                                          : ErrorOf(slot.batch_write.response);
  } else if (slot.verb == Call::Verb::kGet) {
    if (slot.get.response.found()) {
      traffic.OnValue(ticket, 0, slot.get.response.value());
    } else {
      traffic.OnValue(ticket, 0, std::nullopt);
    }
  }
  End(ticket, error, traffic);
}

void StubDriver::Hear(TimePoint deadline, Traffic& traffic) {
  void* tag = nullptr;
  bool ok = false;
  auto until = std::chrono::system_clock::now() + std::max(deadline - Clock::now(), Clock::duration(0));
  while (queue_.AsyncNext(&tag, &ok, until) == grpc::CompletionQueue::GOT_EVENT) {
    traffic.SetNow(Clock::now());
    HearOne(static_cast<uint32_t>(reinterpret_cast<uintptr_t>(tag)), traffic);
    until = {};  // long ago: no more waiting
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Driver>> MakeStubDriver(const DriverOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // or all channels would share a connection
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kRetryMillis);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kRetryMillis);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kRetryMillis);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  const std::string address = fmt::format("{}:{}", options.host, options.port);
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (uint32_t i = 0; i < options.connections; ++i) {
    channels.push_back(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
    if (!channels.back()->WaitForConnected(std::chrono::system_clock::now() + kConnectPatience)) {
      return absl::UnavailableError(fmt::format("no server on {}", address));
    }
  }
  return std::make_unique<StubDriver>(options, channels);
}

}  // namespace thermocline::load
