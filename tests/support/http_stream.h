#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/ip/tcp.hpp>

namespace thermocline::testing {

// The first lines of an HTTP/1.1 message, as they were sent, with the empty line.
struct HttpHead {
  std::string text;

  // Of the first line the words, from 0: method and target, or version and status.
  std::string_view Word(int index) const;
  // The value of the first header of this name, in lower case as given here.
  std::optional<std::string_view> Header(std::string_view name) const;
  void RemoveHeader(std::string_view name);
  // Nothing if there is none.
  void ReplaceHeader(std::string_view name, std::string_view value);

 private:
  // Begin and end of the line, its end of line included.
  std::optional<std::pair<size_t, size_t>> Find(std::string_view name) const;
};

// HTTP/1.1 messages on a blocking socket, for one thread; what blocks ends when another one shuts the socket
// down.
class HttpStream {
 public:
  static constexpr uint64_t kMostBytes = 256 << 20;  // of a message

  explicit HttpStream(boost::asio::ip::tcp::socket socket) : socket_(std::move(socket)) {}

  // False: the peer has closed the connection, or sent what is no message, or more than kMostBytes.
  bool ReadHead(HttpHead& head);
  // The body as it is sent, its chunks' frames included; of a longer one the first `most` bytes or a few
  // more. `until_close`: without a length it ends with the connection, and is else empty.
  bool ReadBody(const HttpHead& head, bool until_close, std::string& body, uint64_t most = kMostBytes);
  bool Write(std::string_view bytes);

  boost::asio::ip::tcp::socket& socket() { return socket_; }

 private:
  bool Fill();
  bool Take(uint64_t bytes, std::string& to);
  bool TakeLine(std::string& to);
  bool ReadChunks(std::string& body, uint64_t most);

  boost::asio::ip::tcp::socket socket_;
  std::string buffer_;  // read, and not yet taken
};

}  // namespace thermocline::testing
