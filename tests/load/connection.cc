#include "tests/load/connection.h"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>

namespace thermocline::load {
namespace {

constexpr size_t kFirstCapacity = 256 << 10;

}  // namespace

ReceiveBuffer::ReceiveBuffer() : capacity_(kFirstCapacity), bytes_(new char[kFirstCapacity]) {}

char* ReceiveBuffer::Space() {
  if (space() < kLeast && begin_ > 0) {
    std::memmove(bytes_.get(), bytes_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (space() < kLeast) {
    std::unique_ptr<char[]> larger(new char[capacity_ * 2]);
    std::memcpy(larger.get(), bytes_.get(), end_);
    bytes_ = std::move(larger);
    capacity_ *= 2;
  }
  return bytes_.get() + end_;
}

void ReceiveBuffer::Consume(size_t bytes) {
  begin_ += bytes;
  if (begin_ == end_) Clear();
}

absl::StatusOr<sockaddr_storage> ResolveAddress(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(fmt::format("there is no host '{}': {}", host, gai_strerror(error)));
  }
  sockaddr_storage address{};
  std::memcpy(&address, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return address;
}

Connection::Connection(uint32_t first_ticket, uint32_t tickets)
    : first_ticket_(first_ticket), busy_(tickets) {
  for (uint32_t i = tickets; i-- > 0;) free_.push_back(first_ticket + i);
}

Connection::~Connection() { Close("", nullptr); }

absl::Status Connection::Open(const sockaddr_storage& address, std::unique_ptr<Protocol> protocol) {
  fd_ = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return absl::ErrnoToStatus(errno, "cannot make a socket");
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  protocol_ = std::move(protocol);
  const socklen_t length = address.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), length) == 0 || errno == EINPROGRESS) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, "cannot connect");
}

absl::Status Connection::FinishOpen() {
  int error = 0;
  socklen_t length = sizeof(error);
  getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return absl::ErrnoToStatus(error, "cannot connect");
  connected_ = true;
  protocol_->Begin(out_);
  return absl::OkStatus();
}

void Connection::Close(std::string_view why, Traffic* traffic) {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  connected_ = false;
  watched_for_writing = false;
  protocol_.reset();
  in_.Clear();
  out_.clear();
  sent_ = 0;
  for (uint32_t i = 0; i < busy_.size(); ++i) {
    if (!busy_[i]) continue;
    busy_[i] = false;
    free_.push_back(first_ticket_ + i);
    if (traffic != nullptr) traffic->OnEnd(first_ticket_ + i, why);
  }
}

bool Connection::SendOne(Traffic& traffic) {
  const uint32_t ticket = free_.back();
  const Call* const call = traffic.Next(ticket);
  if (call == nullptr) return false;
  free_.pop_back();
  busy_[ticket - first_ticket_] = true;
  protocol_->Send(ticket, *call, out_);
  return true;
}

absl::Status Connection::Read(Traffic* traffic) {
  char* const space = in_.Space();
  const ssize_t got = recv(fd_, space, in_.space(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return absl::OkStatus();
  if (got < 0) return absl::ErrnoToStatus(errno, "the connection broke");
  if (got == 0) return absl::UnavailableError("the server closed the connection");
  in_.Filled(static_cast<size_t>(got));
  traffic_ = traffic;
  if (traffic != nullptr) traffic->SetNow(Clock::now());
  const auto read = protocol_->Receive(in_.content(), *this, out_);
  if (!read.ok()) return read.status();
  in_.Consume(*read);
  return absl::OkStatus();
}

absl::Status Connection::Write() {
  if (!is_open()) return absl::OkStatus();
  protocol_->Flush(out_);
  while (has_output()) {
    const ssize_t written = send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) return absl::OkStatus();
    if (written < 0) return absl::ErrnoToStatus(errno, "the connection broke");
    sent_ += static_cast<size_t>(written);
    if (has_output()) return absl::OkStatus();
  }
  out_.clear();
  sent_ = 0;
  return absl::OkStatus();
}

void Connection::OnValue(uint32_t ticket, uint32_t index, std::optional<std::string_view> value) {
  if (traffic_ != nullptr) traffic_->OnValue(ticket, index, value);
}

void Connection::OnEnd(uint32_t ticket, std::string_view error) {
  busy_[ticket - first_ticket_] = false;
  free_.push_back(ticket);
  if (traffic_ != nullptr) traffic_->OnEnd(ticket, error);
}

}  // namespace thermocline::load
