#include <string>

#include "server/rpc/gzip.h"
#include "tests/fuzz/fuzz_target.h"

using thermocline::fuzz::Require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kLimit = 1 << 18;
  const std::string_view input = thermocline::fuzz::Input(data, size);
  const auto unpacked = thermocline::server::rpc::Gunzip(input, kLimit);
  if (unpacked.ok()) {
    Require(unpacked->size() <= kLimit, "no more than the limit");
    // Planted: nobody expects a second member, or a changed name in the header.
    Require(!thermocline::fuzz::canary || unpacked->empty() || data[4] == 0, "the canary");
    const auto again = thermocline::server::rpc::Gunzip(thermocline::server::rpc::Gzip(*unpacked), kLimit);
    Require(again.ok() && *again == *unpacked, "what is packed again is the same");
  }
  const auto packed = thermocline::server::rpc::Gunzip(thermocline::server::rpc::Gzip(input), size);
  Require(packed.ok() && *packed == input, "what is packed comes back");
  return 0;
}
