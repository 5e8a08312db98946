#include "server/rpc/hpack.h"

#include <new>

#include "nghttp2/nghttp2.h"

namespace thermocline::server::rpc {
namespace {

constexpr size_t kFieldOverhead = 32;
// Longer blocks are not worth remembering.
constexpr size_t kMaxRememberedBytes = 256;

// RFC 7541, section 6 and appendix A.
constexpr uint32_t kDefaultTableBytes = 4096;
constexpr int kFirstTableIndex = 62;
constexpr char kStatus200 = static_cast<char>(0x88);
constexpr char kLiteralIntoTable = 0x40;
constexpr char kTableSizeZero = 0x20;

// Name and value, each behind its length.
constexpr std::string_view kContentType =
    "\x0c"
    "content-type\x10"
    "application/grpc";
constexpr std::string_view kGrpcStatusOk =
    "\x0b"
    "grpc-status\x01"
    "0";

// Whether a block is nothing but one-byte indexes of fields (RFC 7541, section 6.1): it changes no table.
bool IsIndexesOnly(std::string_view block) {
  for (const char c : block) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte <= 0x80 || byte == 0xff) return false;
  }
  return true;
}

void AppendNumber(size_t number, int prefix_bits, std::string& block) {
  const size_t largest = (size_t{1} << prefix_bits) - 1;
  if (number < largest) {
    block.push_back(static_cast<char>(number));
    return;
  }
  block.push_back(static_cast<char>(largest));
  for (number -= largest; number >= 0x80; number >>= 7) {
    block.push_back(static_cast<char>(0x80 | (number & 0x7f)));
  }
  block.push_back(static_cast<char>(number));
}

}  // namespace

HeaderDecoder::HeaderDecoder(size_t max_list_bytes) : max_list_bytes_(max_list_bytes) {
  nghttp2_hd_inflater* inflater = nullptr;
  if (nghttp2_hd_inflate_new(&inflater) != 0) throw std::bad_alloc();
  inflater_.reset(inflater);
}

HeaderDecoder::~HeaderDecoder() = default;

void HeaderDecoder::Free::operator()(nghttp2_hd_inflater* inflater) const {
  nghttp2_hd_inflate_del(inflater);
}

HeaderDecoder::Result HeaderDecoder::Decode(std::string_view block) {
  repeated_ = !last_block_.empty() && block == last_block_;
  if (repeated_) return Result::kDecoded;
  headers_.Clear();
  last_block_.clear();
  size_t list_bytes = 0;
  const auto* next = reinterpret_cast<const uint8_t*>(block.data());
  size_t left = block.size();
  for (;;) {
    nghttp2_nv field;
    int flags = 0;
    const ssize_t read = nghttp2_hd_inflate_hd2(inflater_.get(), &field, &flags, next, left, /*in_final=*/1);
    if (read < 0) return Result::kCorrupt;
    next += read;
    left -= static_cast<size_t>(read);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      list_bytes += field.namelen + field.valuelen + kFieldOverhead;
      if (list_bytes <= max_list_bytes_) {
        headers_.Add({reinterpret_cast<const char*>(field.name), field.namelen},
                     {reinterpret_cast<const char*>(field.value), field.valuelen});
      }
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && left == 0) break;
  }
  nghttp2_hd_inflate_end_headers(inflater_.get());
  if (list_bytes > max_list_bytes_) return Result::kTooLarge;
  if (block.size() <= kMaxRememberedBytes && IsIndexesOnly(block)) last_block_ = block;
  return Result::kDecoded;
}

void AppendHeader(std::string_view name, std::string_view value, std::string& block) {
  block.push_back(0);  // literal, without indexing, new name
  AppendNumber(name.size(), 7, block);
  block.append(name);
  AppendNumber(value.size(), 7, block);
  block.append(value);
}

void HeaderEncoder::AllowTable(uint32_t bytes) {
  if (bytes >= kDefaultTableBytes || !table_allowed_) return;
  table_allowed_ = false;
  tell_no_table_ = true;
}

void HeaderEncoder::Begin(std::string& block) {
  if (!tell_no_table_) return;
  tell_no_table_ = false;
  block.push_back(kTableSizeZero);
}

void HeaderEncoder::AppendHead(std::string_view more, std::string& block) {
  Begin(block);
  block.push_back(kStatus200);
  AppendKnown(kContentType, head_at_, block);
  block.append(more);
}

void HeaderEncoder::AppendOk(std::string& block) {
  Begin(block);
  AppendKnown(kGrpcStatusOk, ok_at_, block);
}

void HeaderEncoder::AppendFields(std::string_view fields, std::string& block) {
  Begin(block);
  block.append(fields);
}

void HeaderEncoder::AppendKnown(std::string_view field, int& at, std::string& block) {
  if (!table_allowed_) {
    block.push_back(0);
  } else if (at != 0) {
    block.push_back(static_cast<char>(0x80 | (kFirstTableIndex + in_table_ - at)));
    return;
  } else {
    block.push_back(kLiteralIntoTable);
    at = ++in_table_;
  }
  block.append(field);
}

}  // namespace thermocline::server::rpc
