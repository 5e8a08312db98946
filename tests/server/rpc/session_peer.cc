#include "tests/server/rpc/session_peer.h"

#include <algorithm>

namespace thermocline::server::rpc {

Http2Stream* SessionPeer::NewStream() {
  if (refuses) return nullptr;
  if (forgets) {
    streams.erase(
        std::remove_if(streams.begin(), streams.end(), [](const auto& stream) { return stream->closed > 0; }),
        streams.end());
  }
  streams.push_back(std::make_unique<SeenStream>(*this));
  return streams.back().get();
}

void SessionPeer::Append(SeenStream& stream, std::string_view bytes) {
  if (bytes.empty()) return;
  stream.said.append(bytes);
  char* const to = session.AppendData(stream, bytes.size());
  bytes.copy(to, bytes.size());
  if (spoils_0xff && bytes[0] == '\xff') to[0] = 'x';
}

std::string SeenStream::path() const {
  return peer_.every_path.empty() ? ValueOf(headers, ":path") : peer_.every_path;
}

void SeenStream::OnHeaders(const StreamOpening& opening) {
  for (size_t i = 0; i < opening.headers.size(); ++i) {
    headers.emplace_back(opening.headers.name(i), opening.headers.value(i));
  }
  repeated = opening.repeated;
  too_large = opening.too_large;
  if (repeated && (peer_.last_was_too_large_ || headers != peer_.last_headers_)) ++peer_.wrong_repeats;
  peer_.last_headers_ = headers;
  peer_.last_was_too_large_ = too_large;
  const std::string served_as = path();
  if (served_as == "/eager") peer_.session.SendHead(*this, "");
  if (served_as == "/fails") peer_.session.SendOnlyHead(*this, Block({{"grpc-status", "5"}}), true);
  if (served_as == "/large") {
    peer_.session.SendHead(*this, "");
    peer_.Append(*this, std::string(SessionPeer::kLarge, 'l'));
    peer_.session.End(*this, "");
  }
}

void SeenStream::OnData(std::string_view bytes, bool end) {
  data.append(bytes);
  ended = end;
  const std::string served_as = path();
  if (served_as == "/echo" || served_as == "/eager") peer_.session.Consumed(*this, bytes.size());
  if (served_as == "/eager") {
    peer_.Append(*this, bytes);
    if (end) peer_.session.End(*this, "");
  } else if (served_as == "/echo" && end) {
    peer_.session.SendHead(*this, "");
    peer_.Append(*this, data);
    peer_.session.End(*this, "");
  }
}

void SeenStream::OnClosed() { ++closed; }

}  // namespace thermocline::server::rpc
