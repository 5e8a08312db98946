#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "storage/object/s3/http_client.h"

namespace thermocline::storage::s3 {

// What to do after an attempt. Pure functions; README.md has the table.
enum class Verdict : uint8_t {
  kDone,   // an answer of success
  kFinal,  // another attempt would be answered the same
  kRetry,
  kSlowDown,     // a retry, after more of a wait
  kCredentials,  // a retry with others, once
  kClock,        // a retry with the store's time, once
};
// `code` is that of the error answer; empty where there is none.
Verdict Judge(const HttpAnswer& answer, std::string_view code);

// How long to wait before attempt number `retry` (1 is the first retry): random, below a bound that doubles
// and stays at `most`. `random` is any number. What the store asks for (Retry-After) is added, up to 30 s.
std::chrono::milliseconds Backoff(int retry, Verdict verdict, std::string_view retry_after,
                                  std::chrono::milliseconds most, uint64_t random);

}  // namespace thermocline::storage::s3
