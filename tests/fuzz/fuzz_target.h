#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace thermocline::fuzz {

// Whether a target is to fail where it has planted a fault.
inline bool canary = std::getenv("THERMOCLINE_FUZZ_CANARY") != nullptr;
// How a target fails; smoke.cc may want to go on.
inline void (*on_failure)(const char* what) = [](const char* what) {
  std::fprintf(stderr, "failed: %s\n", what);
  std::abort();
};

inline void Require(bool holds, const char* what) {
  if (!holds) on_failure(what);
}

inline std::string_view Input(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace thermocline::fuzz
