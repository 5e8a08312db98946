#include "tests/server/rpc/raw_client.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "gtest/gtest.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>

namespace thermocline::server::rpc {
namespace {

constexpr std::chrono::minutes kPatience(1);

}  // namespace

RawClient::RawClient(uint16_t port, int receive_buffer) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  if (receive_buffer > 0) setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto* const any = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(socket_, any, sizeof address) != 0) ADD_FAILURE() << "cannot connect";
  fcntl(socket_, F_SETFL, O_NONBLOCK);
}

RawClient::~RawClient() { Close(); }

void RawClient::Close() {
  if (socket_ >= 0) ::close(std::exchange(socket_, -1));
}

bool RawClient::Await(short events, std::chrono::milliseconds patience) {
  pollfd poll = {socket_, events, 0};
  return ::poll(&poll, 1, static_cast<int>(patience.count())) == 1;
}

bool RawClient::Send(std::string_view bytes, std::chrono::milliseconds patience) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno != EAGAIN || !Await(POLLOUT, patience)) {
      return false;
    }
  }
  return true;
}

size_t RawClient::Flood(std::string_view bytes, size_t most) {
  std::string chunk;
  while (chunk.size() < (64 << 10)) chunk.append(bytes);
  size_t sent = 0;
  while (sent < most && Send(chunk, std::chrono::milliseconds(500))) sent += chunk.size();
  return sent;
}

std::string RawClient::Read() {
  std::string bytes(64 << 10, '\0');
  for (;;) {
    const ssize_t read = ::recv(socket_, bytes.data(), bytes.size(), 0);
    if (read >= 0) {
      bytes.resize(static_cast<size_t>(read));
      return bytes;
    }
    if (errno != EAGAIN || !Await(POLLIN, kPatience)) return "";
  }
}

bool RawClient::ReadUntil(const std::function<bool(const WireFrame&)>& wanted) {
  for (;;) {
    for (const WireFrame& frame : TakeFrames(partial_)) {
      if (wanted(frame)) return true;
    }
    const std::string bytes = Read();
    if (bytes.empty()) return false;
    partial_ += bytes;
  }
}

std::string RawClient::ReadToEnd() {
  std::string why;
  ReadUntil([&why](const WireFrame& frame) {
    if (frame.type == FrameType::kGoAway) why = frame.payload.substr(8);
    return false;
  });
  return why;
}

}  // namespace thermocline::server::rpc
