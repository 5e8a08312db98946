// Header fields, a line each: a name, a colon, a value.

#include <algorithm>
#include <chrono>
#include <string>

#include "server/rpc/header_list.h"
#include "server/rpc/request_head.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/server/rpc/http2_wire.h"

namespace rpc = thermocline::server::rpc;
using thermocline::fuzz::Require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input = thermocline::fuzz::Input(data, size);
  rpc::HeaderList fields;
  while (!input.empty()) {
    const std::string_view line = input.substr(0, input.find('\n'));
    input.remove_prefix(std::min(input.size(), line.size() + 1));
    const size_t colon = std::min(line.find(':', 1), line.size());
    fields.Add(line.substr(0, colon), line.substr(std::min(line.size(), colon + 1)));
  }
  const rpc::RequestHead head = rpc::ReadRequestHead(fields);
  Require(head.http_status == 0 || (head.http_status >= 400 && head.http_status < 500), "a status of HTTP");
  if (head.timeout) Require(head.timeout->count() >= 0, "no timeout is negative");
  // Planted: a timeout of minutes.
  Require(!thermocline::fuzz::canary || !head.timeout || *head.timeout < std::chrono::minutes(1),
          "the canary");
  if (!head.status.ok()) {
    const std::string block = rpc::StatusFields(head.status, static_cast<int>(head.status.code()));
    Require(block.size() < 1000, "the answer is short");
    const auto read = rpc::BlockReader().Read(block);
    Require(read && !rpc::ValueOf(*read, "grpc-status").empty(), "the answer can be read");
    for (const char c : rpc::ValueOf(*read, "grpc-message"))
      Require(c >= ' ' && c <= '~', "the message travels");
  }
  for (const auto& [name, value] : head.metadata) {
    Require(rpc::Base64Decode(rpc::Base64Encode(value)) == value, "what is written in base64 comes back");
  }
  return 0;
}
