// Blocks, each behind two octets of length, against nghttp2's inflater, which reads every one.

#include <optional>
#include <string>

#include "server/rpc/hpack.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/server/rpc/http2_wire.h"

using thermocline::fuzz::Require;
using thermocline::server::rpc::BlockReader;
using thermocline::server::rpc::Fields;
using thermocline::server::rpc::HeaderDecoder;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input = thermocline::fuzz::Input(data, size);
  constexpr size_t kLimit = 2000;
  HeaderDecoder decoder(kLimit);
  BlockReader judge;
  Fields before;
  std::string_view last;
  bool has_before = false;
  while (input.size() >= 2) {
    const size_t length = static_cast<uint8_t>(input[0]) << 8 | static_cast<uint8_t>(input[1]);
    const std::string_view block = input.substr(2, length);
    input.remove_prefix(2 + block.size());
    const HeaderDecoder::Result result = decoder.Decode(block);
    const std::optional<Fields> expected = judge.Read(block);
    Require(expected.has_value() == (result != HeaderDecoder::Result::kCorrupt),
            "the judge finds it corrupt as well");
    if (!expected) return 0;
    size_t bytes = 0;
    for (const auto& [name, value] : *expected) bytes += name.size() + value.size() + 32;
    Require((bytes > kLimit) == (result == HeaderDecoder::Result::kTooLarge), "the limit");
    if (result == HeaderDecoder::Result::kTooLarge) {
      has_before = false;
      continue;
    }
    Fields fields;
    for (size_t i = 0; i < decoder.headers().size(); ++i) {
      fields.emplace_back(decoder.headers().name(i), decoder.headers().value(i));
    }
    // Planted: as if whatever comes twice in a row were the same, though it may change the table.
    Require(!thermocline::fuzz::canary || !has_before || block != last || fields == before, "the canary");
    last = block;
    Require(fields == *expected, "the fields");
    Require(!decoder.repeated() || (has_before && fields == before), "repeated");
    before = fields;
    has_before = true;
  }
  return 0;
}
