#include "client/client.h"

#include <algorithm>
#include <future>
#include <utility>

#include "fmt/format.h"

#include "client/batch.h"
#include "client/conversion.h"
#include "client/scanner_impl.h"
#include "client/segments.h"
#include "client/segments_impl.h"
#include "client/transport.h"

namespace thermocline {
namespace {

// Turns an asynchronous call into a blocking one: `start` is given the `done` that ends the wait.
template <class Result, class Start>
Result Await(Start start) {
  std::promise<Result> promise;
  start([&promise](Result result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

transport::Transport::Done<v1::WriteResponse> OnWritten(Client::WriteDone done) {
  return [done = std::move(done)](absl::StatusOr<v1::WriteResponse> response) mutable {
    if (!response.ok()) return done(std::move(response).status());
    done(conversion::ToResult(*response));
  };
}

}  // namespace

class Client::Impl {
 public:
  Impl(const Options& options, std::unique_ptr<transport::Transport> transport)
      : timeout_(options.timeout),
        transport_(std::move(transport)),
        segments_(new Segments(std::make_unique<Segments::Impl>(*transport_, timeout_))) {}

  std::chrono::milliseconds Timeout(std::optional<std::chrono::milliseconds> timeout) const {
    return timeout.value_or(timeout_);
  }
  transport::Deadline DeadlineOf(std::optional<std::chrono::milliseconds> timeout) const {
    return transport::After(Timeout(timeout));
  }
  transport::Transport& transport() { return *transport_; }
  Segments& segments() { return *segments_; }

 private:
  const std::chrono::milliseconds timeout_;
  const std::unique_ptr<transport::Transport> transport_;
  const std::unique_ptr<Segments> segments_;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const Options& options) {
  auto transport = transport::Transport::Open(options.server, options.tls);
  if (!transport.ok()) return transport.status();
  auto impl = std::make_unique<Impl>(options, *std::move(transport));
  const transport::Deadline repeat_until = transport::After(options.connect_timeout);
  const transport::Deadline deadline = std::max(repeat_until, transport::After(options.timeout));
  using Answer = absl::StatusOr<v1::StatsResponse>;
  const Answer answer =
      Await<Answer>([&](auto done) { impl->transport().Stats(deadline, repeat_until, std::move(done)); });
  if (answer.ok()) return std::unique_ptr<Client>(new Client(std::move(impl)));

  const bool silent = answer.status().code() == absl::StatusCode::kDeadlineExceeded;
  return absl::Status(silent ? absl::StatusCode::kUnavailable : answer.status().code(),
                      fmt::format("no Thermocline server answers at {}: {}", options.server,
                                  std::string(answer.status().message())));
}

void Client::GetAsync(std::string_view key, GetDone done, const GetOptions& options) {
  if (absl::Status status = conversion::CheckKey(key); !status.ok()) return done(std::move(status));
  v1::GetRequest request;
  request.set_key(std::string(key));
  request.set_no_value(!options.with_value);
  impl_->transport().Get(std::move(request), impl_->DeadlineOf(options.timeout),
                         [done = std::move(done)](absl::StatusOr<v1::GetResponse> response) mutable {
                           if (!response.ok()) return done(std::move(response).status());
                           if (!response->found()) return done(std::optional<Entry>());
                           done(std::optional<Entry>(conversion::ToEntry(*response)));
                         });
}

void Client::SetAsync(std::string_view key, std::string_view value, WriteDone done,
                      const SetOptions& options) {
  if (absl::Status status = conversion::CheckValue(key, value); !status.ok()) return done(std::move(status));
  impl_->transport().Set(conversion::ToSet(std::string(key), std::string(value), options.condition,
                                           options.ttl, options.durability),
                         impl_->DeadlineOf(options.timeout), OnWritten(std::move(done)));
}

void Client::DeleteAsync(std::string_view key, WriteDone done, const DeleteOptions& options) {
  if (absl::Status status = conversion::CheckKey(key); !status.ok()) return done(std::move(status));
  impl_->transport().Delete(conversion::ToDelete(std::string(key), options.condition, options.durability),
                            impl_->DeadlineOf(options.timeout), OnWritten(std::move(done)));
}

void Client::BatchGetAsync(std::vector<std::string> keys, BatchGetDone done, const CallOptions& options) {
  batch::Get(impl_->transport(), std::move(keys), impl_->DeadlineOf(options.timeout), std::move(done));
}

void Client::BatchWriteAsync(std::vector<Write> writes, BatchWriteDone done,
                             const BatchWriteOptions& options) {
  batch::Write(impl_->transport(), std::move(writes), options.durability, impl_->DeadlineOf(options.timeout),
               std::move(done));
}

Client::GetResult Client::Get(std::string_view key, const GetOptions& options) {
  return Await<GetResult>([&](auto done) { GetAsync(key, std::move(done), options); });
}

absl::StatusOr<WriteResult> Client::Set(std::string_view key, std::string_view value,
                                        const SetOptions& options) {
  return Await<absl::StatusOr<WriteResult>>(
      [&](auto done) { SetAsync(key, value, std::move(done), options); });
}

absl::StatusOr<WriteResult> Client::Delete(std::string_view key, const DeleteOptions& options) {
  return Await<absl::StatusOr<WriteResult>>([&](auto done) { DeleteAsync(key, std::move(done), options); });
}

std::vector<Client::GetResult> Client::BatchGet(std::vector<std::string> keys, const CallOptions& options) {
  return Await<std::vector<GetResult>>(
      [&](auto done) { BatchGetAsync(std::move(keys), std::move(done), options); });
}

Client::WriteResults Client::BatchWrite(std::vector<Write> writes, const BatchWriteOptions& options) {
  return Await<WriteResults>(
      [&](auto done) { BatchWriteAsync(std::move(writes), std::move(done), options); });
}

std::unique_ptr<Scanner> Client::Scan(ScanOptions options) {
  const std::chrono::milliseconds timeout = impl_->Timeout(options.timeout);
  return std::unique_ptr<Scanner>(
      new Scanner(std::make_unique<Scanner::Impl>(impl_->transport(), std::move(options), timeout)));
}

absl::StatusOr<ServerStats> Client::Stats(const CallOptions& options) {
  using Answer = absl::StatusOr<v1::StatsResponse>;
  const transport::Deadline deadline = impl_->DeadlineOf(options.timeout);
  const Answer answer =
      Await<Answer>([&](auto done) { impl_->transport().Stats(deadline, deadline, std::move(done)); });
  if (!answer.ok()) return answer.status();
  return conversion::ToStats(*answer);
}

absl::Status Client::Flush(const CallOptions& options) {
  using Answer = absl::StatusOr<v1::FlushResponse>;
  const transport::Deadline deadline = impl_->DeadlineOf(options.timeout);
  return Await<Answer>([&](auto done) { impl_->transport().Flush(deadline, std::move(done)); }).status();
}

absl::StatusOr<CompactionReport> Client::Compact(const CompactOptions& options) {
  using Answer = absl::StatusOr<v1::CompactResponse>;
  const transport::Deadline deadline =
      transport::After(options.timeout.value_or(std::chrono::milliseconds::max()));
  // A server that cannot be reached is not waited for as long as one that is at work.
  const transport::Deadline repeat_until = std::min(deadline, impl_->DeadlineOf(std::nullopt));
  const Answer answer =
      Await<Answer>([&](auto done) { impl_->transport().Compact(deadline, repeat_until, std::move(done)); });
  if (!answer.ok()) return answer.status();
  return conversion::ToReport(*answer);
}

Segments& Client::segments() { return impl_->segments(); }

}  // namespace thermocline
