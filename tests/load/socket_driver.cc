#include "tests/load/socket_driver.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tests/load/connection.h"

namespace thermocline::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr milliseconds kRetry{100};
constexpr seconds kConnectPatience{5};
constexpr seconds kPatience{30};        // without any server, or for the last answers
constexpr milliseconds kLookAgain{50};  // at the clock

class SocketDriver final : public Driver {
 public:
  SocketDriver(const SocketOptions& options, const sockaddr_storage& address)
      : options_(options), address_(address), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    prctl(PR_SET_TIMERSLACK, 1);  // an open loop sleeps for microseconds
    for (uint32_t i = 0; i < options.connections; ++i) {
      connections_.push_back(std::make_unique<Connection>(i * options.in_flight, options.in_flight));
    }
  }
  ~SocketDriver() override { close(epoll_); }

  // All connections.
  absl::Status Connect();
  absl::Status Run(Traffic& traffic) override;

 private:
  void Open(uint32_t index);
  void Drop(Connection& connection, const absl::Status& why, Traffic* traffic);
  void Handle(uint32_t index, uint32_t events, Traffic* traffic);
  void Fill(uint32_t index, Traffic& traffic);
  void Spread(Traffic& traffic);
  void Write(uint32_t index, Traffic* traffic);
  void Reopen(TimePoint now);
  bool Wait(nanoseconds at_most, Traffic* traffic);
  void FillAll(Traffic& traffic);
  nanoseconds Pause(const Traffic& traffic, TimePoint now) const;
  void GiveUp(Traffic& traffic);

  const SocketOptions options_;
  const sockaddr_storage address_;
  const int epoll_;
  std::vector<std::unique_ptr<Connection>> connections_;
  uint32_t closed_ = 0;        // of them
  uint32_t turn_ = 0;          // the connection that an open loop uses next
  std::vector<bool> touched_;  // by Spread
  absl::Status last_failure_;
};

void SocketDriver::Open(uint32_t index) {
  Connection& connection = *connections_[index];
  const absl::Status opened = connection.Open(address_, options_.protocol(index * options_.in_flight));
  if (!opened.ok()) return Drop(connection, opened, nullptr);
  epoll_event event{.events = EPOLLIN | EPOLLOUT, .data = {.u32 = index}};
  connection.watched_for_writing = true;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd(), &event);
}

void SocketDriver::Drop(Connection& connection, const absl::Status& why, Traffic* traffic) {
  last_failure_ = why;
  ++closed_;
  connection.Close(std::string(why.message()), traffic);
  connection.next_attempt = Clock::now() + kRetry;
}

void SocketDriver::Reopen(TimePoint now) {
  for (uint32_t i = 0; i < connections_.size(); ++i) {
    if (connections_[i]->fd() >= 0 || connections_[i]->next_attempt > now) continue;
    --closed_;
    Open(i);
  }
}

absl::Status SocketDriver::Connect() {
  const TimePoint deadline = Clock::now() + kConnectPatience;
  for (uint32_t i = 0; i < connections_.size(); ++i) Open(i);
  const auto opening = [](const auto& connection) { return connection->is_opening(); };
  while (last_failure_.ok() && std::any_of(connections_.begin(), connections_.end(), opening)) {
    if (Clock::now() > deadline)
      last_failure_ = absl::DeadlineExceededError("it does not accept connections");
    Wait(kRetry, nullptr);
  }
  if (last_failure_.ok()) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("no server on {}:{}: {}", options_.host, options_.port,
                                            std::string(last_failure_.message())));
}

void SocketDriver::Write(uint32_t index, Traffic* traffic) {
  Connection& connection = *connections_[index];
  if (const absl::Status status = connection.Write(); !status.ok()) return Drop(connection, status, traffic);
  if (connection.fd() < 0 || connection.has_output() == connection.watched_for_writing) return;
  connection.watched_for_writing = connection.has_output();
  epoll_event event{.events = EPOLLIN | (connection.has_output() ? uint32_t{EPOLLOUT} : 0),
                    .data = {.u32 = index}};
  epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd(), &event);
}

void SocketDriver::Handle(uint32_t index, uint32_t events, Traffic* traffic) {
  Connection& connection = *connections_[index];
  if (connection.is_opening()) {
    const absl::Status opened = connection.FinishOpen();
    if (!opened.ok()) return Drop(connection, opened, traffic);
  } else if ((events & ~uint32_t{EPOLLOUT}) != 0) {
    if (const absl::Status status = connection.Read(traffic); !status.ok())
      return Drop(connection, status, traffic);
    if (connection.exhausted()) {
      return Drop(connection, absl::UnavailableError("the server takes no more calls on this connection"),
                  traffic);
    }
  }
  if (traffic != nullptr && !traffic->open_loop()) Fill(index, *traffic);
  Write(index, traffic);
}

void SocketDriver::Fill(uint32_t index, Traffic& traffic) {
  Connection& connection = *connections_[index];
  while (connection.CanSend() && connection.SendOne(traffic)) {
  }
}

// Calls that are due, one after the other to the next connection with room.
void SocketDriver::Spread(Traffic& traffic) {
  touched_.assign(connections_.size(), false);
  uint32_t refused = 0;
  while (traffic.due() <= Clock::now() && refused < connections_.size()) {
    turn_ = (turn_ + 1) % static_cast<uint32_t>(connections_.size());
    if (!connections_[turn_]->CanSend()) {
      ++refused;
      continue;
    }
    refused = 0;
    traffic.SetNow(Clock::now());
    if (!connections_[turn_]->SendOne(traffic)) break;
    touched_[turn_] = true;
  }
  for (uint32_t i = 0; i < touched_.size(); ++i) {
    if (touched_[i]) Write(i, &traffic);
  }
}

void SocketDriver::FillAll(Traffic& traffic) {
  if (traffic.open_loop()) return Spread(traffic);
  for (uint32_t i = 0; i < connections_.size(); ++i) {
    if (!connections_[i]->CanSend()) continue;
    Fill(i, traffic);
    Write(i, &traffic);
  }
}

// Whether something has happened meanwhile.
bool SocketDriver::Wait(nanoseconds at_most, Traffic* traffic) {
  std::array<epoll_event, 256> events;
  const timespec timeout{.tv_sec = at_most.count() / 1'000'000'000,
                         .tv_nsec = at_most.count() % 1'000'000'000};
  const int count = epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()), &timeout, nullptr);
  for (int i = 0; i < count; ++i) Handle(events[i].data.u32, events[i].events, traffic);
  return count > 0;
}

nanoseconds SocketDriver::Pause(const Traffic& traffic, TimePoint now) const {
  if (!traffic.open_loop()) return kLookAgain;
  // What is due and was not sent has found no connection: an answer must come first.
  const TimePoint due = traffic.due();
  if (due <= now || due > now + kLookAgain) return kLookAgain;
  return due - now;
}

void SocketDriver::GiveUp(Traffic& traffic) {
  const absl::Status why =
      absl::DeadlineExceededError(fmt::format("no answer within {} s", kPatience.count()));
  for (const auto& connection : connections_) {
    if (connection->fd() >= 0) Drop(*connection, why, &traffic);
  }
  traffic.Abandon("never sent: the server was not there");
}

absl::Status SocketDriver::Run(Traffic& traffic) {
  TimePoint last_sign = Clock::now();
  uint64_t before = 0;
  bool fill = true;
  while (true) {
    const TimePoint now = Clock::now();
    traffic.SetNow(now);
    if (closed_ > 0) Reopen(now);
    // In a closed loop, whoever hears an answer sends what takes its place.
    if (fill || traffic.open_loop()) FillAll(traffic);
    if (traffic.finished()) return absl::OkStatus();
    const bool idle = traffic.under_way() == 0 && traffic.due() > now;
    if (idle || traffic.ended() != before) last_sign = now;
    before = traffic.ended();
    if (now - last_sign > kPatience) {
      GiveUp(traffic);
      return absl::UnavailableError(fmt::format("gave up: {}", std::string(last_failure_.message())));
    }
    fill = !Wait(Pause(traffic, now), &traffic);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Driver>> MakeSocketDriver(const SocketOptions& options) {
  auto address = ResolveAddress(options.host, options.port);
  if (!address.ok()) return address.status();
  auto driver = std::make_unique<SocketDriver>(options, *address);
  if (absl::Status status = driver->Connect(); !status.ok()) return status;
  return driver;
}

}  // namespace thermocline::load
