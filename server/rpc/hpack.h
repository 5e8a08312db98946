#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "server/rpc/header_list.h"

struct nghttp2_hd_inflater;

namespace thermocline::server::rpc {

// Reads the header blocks of one connection (HPACK, RFC 7541), in the order in which they came.
class HeaderDecoder {
 public:
  // A list with more than this (as RFC 9113, section 10.5.1, counts: 32 bytes a field beside its own) is
  // kTooLarge.
  explicit HeaderDecoder(size_t max_list_bytes);
  ~HeaderDecoder();

  enum class Result {
    kDecoded,
    kTooLarge,  // what is in headers() is of no use; the connection can go on
    kCorrupt,   // nothing after this block can be read
  };
  Result Decode(std::string_view block);

  // Of the last block.
  const HeaderList& headers() const { return headers_; }
  // Whether headers() is what it was before the last Decode. Clients say mostly the same thing again, and
  // what they say is then a few indexes into a table that has not changed: nothing needs to be decoded.
  bool repeated() const { return repeated_; }

 private:
  struct Free {
    void operator()(nghttp2_hd_inflater* inflater) const;
  };

  const size_t max_list_bytes_;
  std::unique_ptr<nghttp2_hd_inflater, Free> inflater_;
  HeaderList headers_;
  bool repeated_ = false;
  std::string last_block_;  // that headers_ stands for, if the table has not changed since; else empty
};

// Appends a field that goes into no table (RFC 7541, section 6.2.2), in plain octets. `name` is in lower
// case.
void AppendHeader(std::string_view name, std::string_view value, std::string& block);

// Writes the header blocks of one connection, in the order in which they are sent. What every answer says
// goes into the client's table and takes two bytes and one from then on; everything else is literal.
class HeaderEncoder {
 public:
  // The client allows a table of so many bytes; until it says so, 4096.
  void AllowTable(uint32_t bytes);

  // Appends a block: `:status: 200`, `content-type: application/grpc`, then `more`, which is literal fields.
  void AppendHead(std::string_view more, std::string& block);
  // Appends a block: `grpc-status: 0`.
  void AppendOk(std::string& block);
  // Appends a block of literal fields.
  void AppendFields(std::string_view fields, std::string& block);

 private:
  void Begin(std::string& block);
  void AppendKnown(std::string_view field, int& at, std::string& block);

  bool table_allowed_ = true;
  bool tell_no_table_ = false;  // at the beginning of the next block
  // The client's table counts backwards, from what went in last.
  int in_table_ = 0;
  int head_at_ = 0;  // the how-manieth went in; 0: none yet
  int ok_at_ = 0;
};

}  // namespace thermocline::server::rpc
