#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thermocline::load {

// The header blocks of our requests on one connection. A method's first block brings what is new into the
// peer's table; from then on it is a constant of a few bytes.
class RequestHeaders {
 public:
  // `paths` are those of the methods: "/package.Service/Method".
  RequestHeaders(std::string authority, std::vector<std::string> paths);

  // The peer's table holds that many bytes. If that is too little for us, every block spells everything out.
  void LimitTable(uint32_t bytes);
  // Appends the next block for the method paths[method].
  void Append(size_t method, std::string& out);

 private:
  struct Field {
    std::string name;
    uint64_t static_name;  // index of the name in HPACK's static table; 0: not there
    std::string value;
    int position = -1;  // among those in the peer's table, in the order of their arrival; -1: not there
  };

  void AppendField(Field& field, std::string& out);
  void AppendLiteral(const Field& field, uint8_t mark, int prefix_bits, std::string& out) const;
  void MakeConstants();

  std::vector<Field> fields_;  // the same for all methods
  std::vector<Field> paths_;
  std::vector<std::string> constants_;  // by method; empty: not yet
  int entries_ = 0;                     // in the peer's table
  bool spelled_out_ = false;
  bool announce_empty_table_ = false;
};

// Reads the header blocks of responses on one connection (HPACK by nghttp2). Blocks must come in the order in
// which they arrived.
class ResponseHeaders {
 public:
  struct Block {
    int http_status = 0;             // 0: none, as in trailers
    std::optional<int> grpc_status;  // present in trailers
    std::string grpc_message;        // still percent-encoded
  };

  ResponseHeaders();
  ~ResponseHeaders();
  ResponseHeaders(const ResponseHeaders&) = delete;
  ResponseHeaders& operator=(const ResponseHeaders&) = delete;

  // nullptr if the block is malformed: the connection is of no use any more. Valid until the next call.
  const Block* Read(std::string_view block);

 private:
  struct Known {
    std::string bytes;
    Block block;
  };
  struct Inflater;

  bool Inflate(std::string_view bytes, Block& block);

  const std::unique_ptr<Inflater> inflater_;
  std::deque<Known> known_;  // blocks that meant the same since the table last changed
  Block block_;
};

}  // namespace thermocline::load
