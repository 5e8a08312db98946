#include "tests/load/header_blocks.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <nghttp2/nghttp2.h>

namespace thermocline::load {
namespace {

constexpr uint64_t kStaticEntries = 61;
constexpr char kMethodPost = '\x83';  // indexed fields of the static table
constexpr char kSchemeHttp = '\x86';
constexpr uint32_t kTableBytes = 1024;  // far more than our fields take

void AppendInteger(uint8_t mark, int prefix_bits, uint64_t number, std::string& out) {
  const uint64_t limit = (1u << prefix_bits) - 1;
  if (number < limit) {
    out.push_back(static_cast<char>(mark | number));
    return;
  }
  out.push_back(static_cast<char>(mark | limit));
  for (number -= limit; number >= 0x80; number >>= 7) out.push_back(static_cast<char>(number | 0x80));
  out.push_back(static_cast<char>(number));
}

void AppendText(std::string_view text, std::string& out) {
  AppendInteger(0, 7, text.size(), out);
  out.append(text);
}

// Whether a block consists of indexed fields of one byte each: it then changes no table, and means the same
// until another block does.
bool IsIndexedOnly(std::string_view block) {
  return std::all_of(block.begin(), block.end(), [](char c) {
    const auto byte = static_cast<uint8_t>(c);
    return byte > 0x80 && byte < 0xff;
  });
}

std::string_view TextOf(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

void TakeField(std::string_view name, std::string_view value, ResponseHeaders::Block& block) {
  int number = -1;
  if (name == ":status" || name == "grpc-status")
    std::from_chars(value.data(), value.data() + value.size(), number);
  if (name == ":status") block.http_status = number;
  if (name == "grpc-status") block.grpc_status = number;
  if (name == "grpc-message") block.grpc_message = value;
}

}  // namespace

RequestHeaders::RequestHeaders(std::string authority, std::vector<std::string> paths) {
  fields_.push_back({":authority", 1, std::move(authority)});
  fields_.push_back({"content-type", 31, "application/grpc"});
  fields_.push_back({"te", 0, "trailers"});
  for (std::string& path : paths) paths_.push_back({":path", 4, std::move(path)});
  constants_.resize(paths_.size());
}

void RequestHeaders::LimitTable(uint32_t bytes) {
  if (bytes >= kTableBytes || spelled_out_) return;
  spelled_out_ = true;
  announce_empty_table_ = true;
}

void RequestHeaders::AppendLiteral(const Field& field, uint8_t mark, int prefix_bits,
                                   std::string& out) const {
  AppendInteger(mark, prefix_bits, field.static_name, out);
  if (field.static_name == 0) AppendText(field.name, out);
  AppendText(field.value, out);
}

void RequestHeaders::AppendField(Field& field, std::string& out) {
  constexpr uint8_t kIndexed = 0x80;
  constexpr uint8_t kLiteralToIndex = 0x40;
  if (spelled_out_) return AppendLiteral(field, /*mark=*/0, /*prefix_bits=*/4, out);
  if (field.position >= 0) {
    // The newest entry is the first after the static ones.
    return AppendInteger(kIndexed, 7, kStaticEntries + static_cast<uint64_t>(entries_ - field.position), out);
  }
  field.position = entries_++;
  AppendLiteral(field, kLiteralToIndex, /*prefix_bits=*/6, out);
}

void RequestHeaders::MakeConstants() {
  for (size_t method = 0; method < paths_.size(); ++method) {
    if (paths_[method].position < 0) continue;
    std::string& constant = constants_[method];
    constant = {kMethodPost, kSchemeHttp};
    AppendField(paths_[method], constant);
    for (Field& field : fields_) AppendField(field, constant);
  }
}

void RequestHeaders::Append(size_t method, std::string& out) {
  if (!spelled_out_ && !constants_[method].empty()) {
    out.append(constants_[method]);
    return;
  }
  if (announce_empty_table_) {
    AppendInteger(0x20, 5, 0, out);
    announce_empty_table_ = false;
  }
  out.push_back(kMethodPost);
  out.push_back(kSchemeHttp);
  AppendField(paths_[method], out);
  for (Field& field : fields_) AppendField(field, out);
  if (!spelled_out_) MakeConstants();
}

struct ResponseHeaders::Inflater {
  nghttp2_hd_inflater* inflater = nullptr;
};

ResponseHeaders::ResponseHeaders() : inflater_(std::make_unique<Inflater>()) {
  nghttp2_hd_inflate_new(&inflater_->inflater);
}

ResponseHeaders::~ResponseHeaders() { nghttp2_hd_inflate_del(inflater_->inflater); }

bool ResponseHeaders::Inflate(std::string_view bytes, Block& block) {
  const auto* at = reinterpret_cast<const uint8_t*>(bytes.data());
  size_t left = bytes.size();
  while (true) {
    nghttp2_nv field;
    int flags = 0;
    const ssize_t used =
        nghttp2_hd_inflate_hd2(inflater_->inflater, &field, &flags, at, left, /*in_final=*/1);
    if (used < 0) return false;
    at += used;
    left -= static_cast<size_t>(used);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      TakeField(TextOf(field.name, field.namelen), TextOf(field.value, field.valuelen), block);
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && left == 0) return false;
  }
  nghttp2_hd_inflate_end_headers(inflater_->inflater);
  return true;
}

const ResponseHeaders::Block* ResponseHeaders::Read(std::string_view block) {
  constexpr size_t kMaxKnown = 8;
  for (const Known& known : known_) {
    if (known.bytes == block) return &known.block;
  }
  block_ = {};
  if (!Inflate(block, block_)) return nullptr;
  if (!IsIndexedOnly(block)) {
    known_.clear();
  } else if (known_.size() < kMaxKnown) {
    known_.push_back({std::string(block), block_});
  }
  return &block_;
}

}  // namespace thermocline::load
