#include "server/rpc/gzip.h"

#include <algorithm>
#include <new>

#include "absl/status/status.h"
#include "fmt/format.h"
#include <zlib.h>

namespace thermocline::server::rpc {
namespace {

constexpr int kGzipWindow = 15 + 16;
constexpr int kMemoryLevel = 8;
constexpr size_t kFirstStep = 4096;

z_stream StreamOver(std::string_view bytes) {
  z_stream stream = {};
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  return stream;
}

}  // namespace

std::string Gzip(std::string_view bytes) {
  z_stream stream = StreamOver(bytes);
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kGzipWindow, kMemoryLevel, Z_DEFAULT_STRATEGY) !=
      Z_OK) {
    throw std::bad_alloc();
  }
  std::string packed(deflateBound(&stream, bytes.size()), '\0');
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);  // ends, for there is room
  packed.resize(packed.size() - stream.avail_out);
  deflateEnd(&stream);
  return packed;
}

absl::StatusOr<std::string> Gunzip(std::string_view packed, size_t max_bytes) {
  z_stream stream = StreamOver(packed);
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) throw std::bad_alloc();
  std::string bytes;
  int result = Z_OK;
  while (result == Z_OK && bytes.size() <= max_bytes) {
    const size_t before = bytes.size();
    // One byte more than allowed tells what is too large.
    bytes.resize(std::min(max_bytes + 1, std::max(before * 2, kFirstStep)));
    stream.next_out = reinterpret_cast<Bytef*>(bytes.data() + before);
    stream.avail_out = static_cast<uInt>(bytes.size() - before);
    result = inflate(&stream, Z_NO_FLUSH);
    bytes.resize(bytes.size() - stream.avail_out);
    if (result == Z_OK && stream.avail_in == 0 && stream.avail_out > 0) break;  // cut short
  }
  const bool whole = result == Z_STREAM_END && stream.avail_in == 0;
  inflateEnd(&stream);
  if (bytes.size() > max_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("a compressed message unpacks to more than {} bytes", max_bytes));
  }
  if (!whole) return absl::InternalError("a message is marked as gzip and is none");
  return bytes;
}

}  // namespace thermocline::server::rpc
