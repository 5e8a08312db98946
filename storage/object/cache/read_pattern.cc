#include "storage/object/cache/read_pattern.h"

#include <algorithm>

namespace thermocline::storage::object_cache {
namespace {

// So often the next chunk must have followed before more than what is asked for is brought in.
constexpr uint32_t kSequential = 2;
constexpr uint32_t kFirstAhead = 2;

}  // namespace

ReadPattern::Reader& ReadPattern::Find(uint32_t first) {
  Reader* oldest = &readers_[0];
  for (Reader& reader : readers_) {
    if (first == reader.last || first == reader.last + 1) return reader;
    if (reader.used < oldest->used) oldest = &reader;
  }
  *oldest = Reader();
  return *oldest;
}

ReadPattern::Advice ReadPattern::Note(uint32_t first, uint32_t last) {
  MutexLock lock(mutex_);
  Reader& reader = Find(first);
  const bool is_new = reader.used == 0;
  reader.used = ++clock_;
  Advice advice = {is_new ? first : reader.last + 1};
  if (is_new) {
    reader.last = last;
    return advice;
  }
  if (last == reader.last) return advice;
  reader.last = std::max(last, reader.last);
  ++reader.run;
  if (reader.run < kSequential || most_ahead_ == 0) return advice;
  const uint32_t window =
      std::min<uint64_t>(most_ahead_, uint64_t{kFirstAhead} << std::min(reader.run - kSequential, 20u));
  const uint32_t begin = std::max(reader.ahead_end, reader.last + 1);
  const uint32_t end = std::min<uint64_t>(chunks_, uint64_t{reader.last} + 1 + window);
  // Not one by one: when half of the window is used up, or at the end of the object.
  if (begin >= end || (end - begin < (window + 1) / 2 && end < chunks_)) return advice;
  reader.ahead_end = advice.ahead_end = end;
  advice.ahead = begin;
  return advice;
}

}  // namespace thermocline::storage::object_cache
