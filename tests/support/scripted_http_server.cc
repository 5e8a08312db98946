#include "tests/support/scripted_http_server.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>

namespace thermocline::testing {
namespace {

bool SendAll(int connection, const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t more = send(connection, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (more <= 0) return false;
    sent += static_cast<size_t>(more);
  }
  return true;
}

// False if the client has gone.
bool ReceiveMore(int connection, std::string& bytes, const std::atomic<bool>& closing) {
  pollfd ready{connection, POLLIN, 0};
  while (poll(&ready, 1, 20) == 0) {
    if (closing) return false;
  }
  char piece[16 << 10];
  const ssize_t got = recv(connection, piece, sizeof piece, 0);
  if (got <= 0) return false;
  bytes.append(piece, static_cast<size_t>(got));
  return true;
}

ScriptedRequest ParseHead(const std::string& head) {
  ScriptedRequest request;
  const size_t blank = head.find(' ');
  request.method = head.substr(0, blank);
  request.target = head.substr(blank + 1, head.find(' ', blank + 1) - blank - 1);
  for (size_t at = head.find("\r\n") + 2; at < head.size();) {
    const size_t end = std::min(head.find("\r\n", at), head.size());
    const size_t colon = head.find(": ", at);
    if (colon < end) {
      std::string name = head.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      request.headers[name] = head.substr(colon + 2, end - colon - 2);
    }
    at = end + 2;
  }
  return request;
}

}  // namespace

ScriptedHttpServer::ScriptedHttpServer(Handler handler) : handler_(std::move(handler)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 64) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  url_ = fmt::format("http://127.0.0.1:{}", ntohs(address.sin_port));
  accept_ = std::thread([this] { Accept(); });
}

ScriptedHttpServer::~ScriptedHttpServer() {
  closing_ = true;
  accept_.join();
  close(listener_);
  std::vector<std::thread> threads;
  {
    storage::MutexLock lock(mutex_);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

void ScriptedHttpServer::Accept() {
  while (!closing_) {
    pollfd ready{listener_, POLLIN, 0};
    if (poll(&ready, 1, 20) <= 0) continue;
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    storage::MutexLock lock(mutex_);
    threads_.emplace_back([this, connection] {
      Serve(connection);
      close(connection);
    });
  }
}

void ScriptedHttpServer::Serve(int connection) {
  std::string bytes;
  while (bytes.find("\r\n\r\n") == std::string::npos) {
    if (!ReceiveMore(connection, bytes, closing_)) return;
  }
  const size_t head = bytes.find("\r\n\r\n");
  ScriptedRequest request = ParseHead(bytes.substr(0, head + 2));
  request.body = bytes.substr(head + 4);
  const auto length = request.headers.find("content-length");
  const size_t wanted = length == request.headers.end() ? 0 : std::stoul(length->second);
  while (request.body.size() < wanted) {
    if (!ReceiveMore(connection, request.body, closing_)) return;
  }
  const ScriptedAnswer answer = handler_(request);
  if (answer.hang) {
    while (ReceiveMore(connection, bytes, closing_)) {
    }
    return;
  }
  std::string text = fmt::format("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", answer.status);
  if (answer.status != 204)
    text += fmt::format("Content-Length: {}\r\n", answer.length.value_or(answer.body.size()));
  for (const auto& [name, value] : answer.headers) text += fmt::format("{}: {}\r\n", name, value);
  text += "\r\n";
  if (request.method != "HEAD") text += answer.body.substr(0, answer.cut_after.value_or(answer.body.size()));
  SendAll(connection, text);
}

}  // namespace thermocline::testing
