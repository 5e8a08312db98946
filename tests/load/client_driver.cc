#include "tests/load/client_driver.h"

#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "client/client.h"
#include "tests/load/library_driver.h"

namespace thermocline::load {
namespace {

// What the client has called back with.
struct Ended {
  uint32_t ticket = 0;
  std::string error;
  std::vector<Client::GetResult> values;  // of a get: one for each item
};

std::string ErrorOf(const absl::Status& status) { return status.ok() ? "" : status.ToString(); }

std::string ErrorOf(const Client::WriteResults& results) {
  for (const auto& result : results) {
    if (!result.ok()) return ErrorOf(result.status());
  }
  return "";
}

class ClientDriver final : public LibraryDriver {
 public:
  ClientDriver(const DriverOptions& options, std::vector<std::unique_ptr<Client>> clients)
      : LibraryDriver(options), clients_(std::move(clients)) {}

 private:
  void Start(uint32_t ticket, const Call& call) override;
  void StartBatch(uint32_t ticket, const Call& call, Client& client);
  void Hear(TimePoint deadline, Traffic& traffic) override;
  void Take(Ended ended);
  void TakeWrite(uint32_t ticket, const absl::Status& status) { Take({ticket, ErrorOf(status), {}}); }

  std::mutex mutex_;
  std::condition_variable some_;
  std::vector<Ended> ended_;
  std::vector<Ended> heard_;
  const std::vector<std::unique_ptr<Client>> clients_;  // gone first: they call Take until then
};

void ClientDriver::Take(Ended ended) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = ended_.empty();
    ended_.push_back(std::move(ended));
  }
  if (first) some_.notify_one();
}

void ClientDriver::Start(uint32_t ticket, const Call& call) {
  Client& client = *clients_[ConnectionOf(ticket)];
  if (call.batch) return StartBatch(ticket, call, client);
  const Durability durability = call.sync ? Durability::kSync : Durability::kMemory;
  const Item& item = call.items.front();
  const auto written = [this, ticket](const absl::StatusOr<WriteResult>& result) {
    TakeWrite(ticket, result.status());
  };
  switch (call.verb) {
    case Call::Verb::kGet:
      return client.GetAsync(item.key, [this, ticket](Client::GetResult result) {
        Ended ended{.ticket = ticket, .error = ErrorOf(result.status())};
        ended.values.push_back(std::move(result));
        Take(std::move(ended));
      });
    case Call::Verb::kSet:
      return client.SetAsync(item.key, item.value, written, {.durability = durability});
    case Call::Verb::kDelete:
      return client.DeleteAsync(item.key, written, {.durability = durability});
  }
}

void ClientDriver::StartBatch(uint32_t ticket, const Call& call, Client& client) {
  if (call.verb == Call::Verb::kGet) {
    std::vector<std::string> keys;
    for (const Item& item : call.items) keys.emplace_back(item.key);
    return client.BatchGetAsync(std::move(keys), [this, ticket](std::vector<Client::GetResult> results) {
      Ended ended{.ticket = ticket, .values = std::move(results)};
      for (const Client::GetResult& result : ended.values) {
        if (ended.error.empty()) ended.error = ErrorOf(result.status());
      }
      Take(std::move(ended));
    });
  }
  std::vector<Write> writes;
  for (const Item& item : call.items) {
    writes.push_back(call.verb == Call::Verb::kSet
                         ? Write::Set(std::string(item.key), std::string(item.value))
                         : Write::Delete(std::string(item.key)));
  }
  client.BatchWriteAsync(std::move(writes),
                         [this, ticket](const Client::WriteResults& results) {
                           Take({ticket, ErrorOf(results), {}});
                         },
                         {.durability = call.sync ? Durability::kSync : Durability::kMemory});
}

void ClientDriver::Hear(TimePoint deadline, Traffic& traffic) {
  heard_.clear();
  {
    std::unique_lock lock(mutex_);
    some_.wait_until(lock, deadline, [this] { return !ended_.empty(); });
    heard_.swap(ended_);
  }
  traffic.SetNow(Clock::now());
  for (const Ended& ended : heard_) {
    for (uint32_t i = 0; i < ended.values.size(); ++i) {
      const Client::GetResult& result = ended.values[i];
      if (!result.ok()) continue;
      if (*result) {
        traffic.OnValue(ended.ticket, i, (*result)->value);
      } else {
        traffic.OnValue(ended.ticket, i, std::nullopt);
      }
    }
    End(ended.ticket, ended.error, traffic);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Driver>> MakeClientDriver(const DriverOptions& options) {
  constexpr std::chrono::seconds kConnectPatience{5};
  std::vector<std::unique_ptr<Client>> clients;
  for (uint32_t i = 0; i < options.connections; ++i) {
    auto client = Client::Connect(
        {.server = fmt::format("{}:{}", options.host, options.port), .connect_timeout = kConnectPatience});
    if (!client.ok()) return client.status();
    clients.push_back(*std::move(client));
  }
  return std::make_unique<ClientDriver>(options, std::move(clients));
}

}  // namespace thermocline::load
