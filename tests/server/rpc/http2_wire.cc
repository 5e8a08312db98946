#include "tests/server/rpc/http2_wire.h"

#include <algorithm>
#include <new>

#include "nghttp2/nghttp2.h"
#include "server/rpc/hpack.h"

namespace thermocline::server::rpc {

std::string Frame(FrameType type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string bytes;
  AppendFrameHeader({static_cast<uint32_t>(payload.size()), type, flags, stream}, bytes);
  return bytes.append(payload);
}

std::string Number32(uint32_t value) {
  std::string bytes;
  AppendBig32(value, bytes);
  return bytes;
}

std::string SettingsFrame(const std::vector<std::pair<Setting, uint32_t>>& settings) {
  std::string payload;
  for (const auto& [setting, value] : settings) {
    payload.push_back(static_cast<char>(static_cast<uint16_t>(setting) >> 8));
    payload.push_back(static_cast<char>(setting));
    AppendBig32(value, payload);
  }
  return Frame(FrameType::kSettings, 0, 0, payload);
}

std::string SettingsAck() { return Frame(FrameType::kSettings, kFlagAck, 0, ""); }

std::string PingFrame(uint8_t flags) { return Frame(FrameType::kPing, flags, 0, "12345678"); }

std::string WindowUpdateFrame(uint32_t stream, uint32_t bytes) {
  return Frame(FrameType::kWindowUpdate, 0, stream, Number32(bytes));
}

std::string ResetFrame(uint32_t stream, Http2Error error) {
  return Frame(FrameType::kRstStream, 0, stream, Number32(static_cast<uint32_t>(error)));
}

std::string HeadersFrame(uint32_t stream, std::string_view block, bool end) {
  return Frame(FrameType::kHeaders, static_cast<uint8_t>(kFlagEndHeaders | (end ? kFlagEndStream : 0)),
               stream, block);
}

std::string DataFrame(uint32_t stream, std::string_view bytes, bool end) {
  return Frame(FrameType::kData, end ? kFlagEndStream : 0, stream, bytes);
}

std::string DataFrames(uint32_t stream, std::string_view bytes, bool end) {
  std::string frames;
  do {
    const size_t size = std::min<size_t>(bytes.size(), kDefaultMaxFrameBytes);
    frames += DataFrame(stream, bytes.substr(0, size), end && size == bytes.size());
    bytes.remove_prefix(size);
  } while (!bytes.empty());
  return frames;
}

std::string GoAwayFrame(uint32_t last_stream, Http2Error error) {
  return Frame(FrameType::kGoAway, 0, 0, Number32(last_stream) + Number32(static_cast<uint32_t>(error)));
}

std::string Greeting(const std::vector<std::pair<Setting, uint32_t>>& settings) {
  return std::string(kClientPreface) + SettingsFrame(settings);
}

std::string Block(const Fields& fields) {
  std::string block;
  for (const auto& [name, value] : fields) AppendHeader(name, value, block);
  return block;
}

Fields RequestFields(std::string_view path, const Fields& more) {
  Fields fields = {{":method", "POST"},         {":scheme", "http"}, {":path", std::string(path)},
                   {":authority", "localhost"}, {"te", "trailers"},  {"content-type", "application/grpc"}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

std::string RequestBlock(std::string_view path, const Fields& more) {
  return Block(RequestFields(path, more));
}

std::string Message(std::string_view bytes, bool compressed) {
  return std::string(1, compressed ? '\1' : '\0') + Number32(static_cast<uint32_t>(bytes.size())) +
         std::string(bytes);
}

std::vector<WireFrame> TakeFrames(std::string& bytes) {
  std::vector<WireFrame> frames;
  size_t at = 0;
  while (bytes.size() - at >= kFrameHeaderBytes) {
    const FrameHeader header = LoadFrameHeader(bytes.data() + at);
    if (bytes.size() - at - kFrameHeaderBytes < header.length) break;
    frames.push_back(
        {header.type, header.flags, header.stream, bytes.substr(at + kFrameHeaderBytes, header.length)});
    at += kFrameHeaderBytes + header.length;
  }
  bytes.erase(0, at);
  return frames;
}

std::vector<WireFrame> FramesOf(std::string_view bytes) {
  std::string copy(bytes);
  return TakeFrames(copy);
}

BlockReader::BlockReader() {
  nghttp2_hd_inflater* inflater = nullptr;
  if (nghttp2_hd_inflate_new(&inflater) != 0) throw std::bad_alloc();
  inflater_.reset(inflater);
}

BlockReader::~BlockReader() = default;

void BlockReader::Free::operator()(nghttp2_hd_inflater* inflater) const { nghttp2_hd_inflate_del(inflater); }

std::optional<Fields> BlockReader::Read(std::string_view block) {
  Fields fields;
  const auto* next = reinterpret_cast<const uint8_t*>(block.data());
  size_t left = block.size();
  for (;;) {
    nghttp2_nv field;
    int flags = 0;
    const ssize_t read = nghttp2_hd_inflate_hd2(inflater_.get(), &field, &flags, next, left, 1);
    if (read < 0) return std::nullopt;
    next += read;
    left -= static_cast<size_t>(read);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      fields.emplace_back(std::string(reinterpret_cast<const char*>(field.name), field.namelen),
                          std::string(reinterpret_cast<const char*>(field.value), field.valuelen));
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
  }
  nghttp2_hd_inflate_end_headers(inflater_.get());
  return fields;
}

void BlockReader::AllowTable(uint32_t bytes) { nghttp2_hd_inflate_change_table_size(inflater_.get(), bytes); }

std::string ValueOf(const Fields& fields, std::string_view name) {
  for (const auto& [candidate, value] : fields) {
    if (candidate == name) return value;
  }
  return "";
}

}  // namespace thermocline::server::rpc
